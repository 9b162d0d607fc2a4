//! The Cedar policies of a workspace: `.lictor/policies`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lictor_capability::Contract;
use lictor_document::Source;
use lictor_governance::{CedarFiles, PolicySet};

use crate::options::OpenError;
use crate::own::{OwnSkill, with_own};
use crate::policies::read;

/// The file that says who has which role.
const ROLES: &str = "roles.yaml";

/// A file by its name in messages, and its bytes.
type Text = (String, Vec<u8>);

/// The folder and the files in it that say something, whether or not they are there.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = folder.join("policies");
    let mut found = vec![folder.join(ROLES)];
    match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                let hidden =
                    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                let named = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("cedar"));
                if named && !hidden {
                    found.push(path);
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Adds the Cedar policies that stand in a folder like `.lictor`, held against the catalogue of a
/// workspace and the program's own skills.
pub(crate) fn add(
    set: PolicySet,
    folder: &Path,
    workspace: &Path,
    own: &[OwnSkill],
) -> Result<PolicySet, OpenError> {
    let listed = files(folder);
    let listed =
        listed.map_err(|source| OpenError::PolicyFile { path: folder.join("policies"), source })?;
    let (mut policies, mut roles): (Vec<Text>, Option<Text>) = (Vec::new(), None);
    for path in listed {
        let Some(bytes) = read(&path)? else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = (format!("policies/{name}"), bytes);
        if name == ROLES {
            roles = Some(text);
        } else {
            policies.push(text);
        }
    }
    if policies.is_empty() && roles.is_none() {
        return Ok(set);
    }
    let sources: Vec<Source<'_>> = policies.iter().map(source).collect();
    let files = CedarFiles { policies: &sources, roles: roles.as_ref().map(source) };
    let contracts = contracts(workspace, own)?;
    Ok(set.with_cedar(files, contracts.iter().map(Arc::as_ref))?)
}

fn source((name, bytes): &Text) -> Source<'_> {
    Source::new(name, bytes)
}

/// The contracts that a workspace knows, whatever became of them: those that are part of the
/// program, and the documents in it.
fn contracts(workspace: &Path, own: &[OwnSkill]) -> Result<Vec<Arc<Contract>>, OpenError> {
    let mut contracts = with_own(crate::runtime::builtins()?, own)?;
    contracts.extend(crate::catalogue::documented(&workspace.join(".lictor")));
    Ok(contracts)
}

/// The schema that Cedar policies of a workspace are held against, in Cedar's own language; with the
/// skills of the program that embeds this, if it has any.
///
/// # Errors
/// In a build without the feature `cedar`.
pub fn cedar_schema(workspace: &Path, own: &[OwnSkill]) -> Result<String, OpenError> {
    let contracts = contracts(workspace, own)?;
    Ok(PolicySet::cedar_schema(contracts.iter().map(Arc::as_ref))?)
}

/// Reads one Cedar policy alone, as a workspace would.
///
/// # Errors
/// When it is no policy, or does not fit the catalogue of the workspace.
pub fn load_cedar(
    workspace: &Path,
    own: &[OwnSkill],
    policy: &Source<'_>,
) -> Result<PolicySet, OpenError> {
    let roles = read(&workspace.join(".lictor/policies").join(ROLES))?;
    let roles = roles.map(|bytes| (format!("policies/{ROLES}"), bytes));
    let policies = [*policy];
    let files = CedarFiles { policies: &policies, roles: roles.as_ref().map(source) };
    let contracts = contracts(workspace, own)?;
    Ok(PolicySet::empty().with_cedar(files, contracts.iter().map(Arc::as_ref))?)
}
