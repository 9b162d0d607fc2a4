//! Finding and reading the policies of all layers.

use std::io;
use std::path::{Path, PathBuf};

use lictor_document::{Limits, Source};
use lictor_governance::{Policy, PolicyLayer, PolicySet};

use crate::options::{OpenError, RuntimeOptions};
use crate::own::OwnSkill;

/// Where the policies of the upper layers lie. The workspace's own is `.lictor/policy.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyPlaces {
    /// The policy of whoever manages the machine, usually `/etc/lictor/policy.yaml`.
    pub managed: Option<PathBuf>,
    /// The policy of the user, usually `~/.config/lictor/policy.yaml`.
    pub user: Option<PathBuf>,
    /// Where it lies by the record of the user, whatever the environment says: a file there counts
    /// even if `user` leads elsewhere.
    pub user_home: Option<PathBuf>,
}

/// The files in which the policies of all layers stand, whether or not they are there.
pub(crate) fn policy_files(workspace: &Path, places: &PolicyPlaces) -> Vec<PathBuf> {
    let folder = workspace.join(".lictor");
    let own = folder.join("policy.yaml");
    let upper = places.managed.iter().chain(&places.user).chain(&places.user_home);
    let mut files: Vec<PathBuf> = upper.cloned().collect();
    files.push(own);
    // A folder that cannot be listed is found out when it is read; it looks different then.
    files.extend(crate::cedar::files(&folder).unwrap_or_default());
    files
}

/// Reads the policies of all layers. A layer without a file says nothing; without any file
/// everything is denied.
///
/// # Errors
/// When a file is there and is not read or not a policy: a broken policy never counts as none.
pub fn load_policies(workspace: &Path, places: &PolicyPlaces) -> Result<PolicySet, OpenError> {
    load_policies_from(workspace, &workspace.join(".lictor"), places)
}

/// Reads the policies that a runtime with these options judges by: held against a catalogue in which
/// the program's own skills stand as well.
///
/// # Errors
/// As [`load_policies`].
pub(crate) fn load_policies_for(options: &RuntimeOptions) -> Result<PolicySet, OpenError> {
    let folder = options.workspace.join(".lictor");
    from_folder(&options.workspace, &folder, &options.policies, &options.own_skills)
}

/// Reads the policies of all layers, with those of a folder (`policy.yaml` and `policies/`) in the
/// place of the workspace's own.
///
/// # Errors
/// As [`load_policies`].
pub fn load_policies_from(
    workspace: &Path,
    folder: &Path,
    places: &PolicyPlaces,
) -> Result<PolicySet, OpenError> {
    from_folder(workspace, folder, places, &[])
}

fn from_folder(
    workspace: &Path,
    folder: &Path,
    places: &PolicyPlaces,
    skills: &[OwnSkill],
) -> Result<PolicySet, OpenError> {
    let own = read(&folder.join("policy.yaml"))?;
    let own = own.as_deref().map(|bytes| Source::new("policy.yaml", bytes));
    crate::cedar::add(layers(places, own.as_ref())?, folder, workspace, skills)
}

/// Reads the policies of all layers, with some text in the place of the workspace's `policy.yaml`.
///
/// # Errors
/// As [`load_policies`].
pub fn load_policies_with(
    workspace: &Path,
    places: &PolicyPlaces,
    own: &Source<'_>,
) -> Result<PolicySet, OpenError> {
    crate::cedar::add(layers(places, Some(own))?, &workspace.join(".lictor"), workspace, &[])
}

fn layers(places: &PolicyPlaces, own: Option<&Source<'_>>) -> Result<PolicySet, OpenError> {
    let mut policies = Vec::new();
    let managed = places.managed.as_ref().map(|path| found(path)).transpose()?.flatten();
    let upper = [(PolicyLayer::Managed, managed), (PolicyLayer::User, users(places)?)];
    for (layer, file) in upper {
        let Some((path, bytes)) = file else { continue };
        let name = path.display().to_string();
        policies.push(Policy::from_yaml(layer, &Source::new(&name, &bytes))?);
    }
    if let Some(source) = own {
        policies.push(Policy::from_yaml(PolicyLayer::Workspace, source)?);
    }
    Ok(PolicySet::new(policies)?)
}

/// The user's policy: from one place, or the same text in both. A layer only tightens, so nobody can
/// say which of two is meant, and the environment must not leave one out.
fn users(places: &PolicyPlaces) -> Result<Option<File>, OpenError> {
    let mut all = Vec::new();
    for path in places.user.iter().chain(&places.user_home) {
        all.extend(found(path)?);
    }
    let (last, first) = (all.pop(), all.pop());
    match (first, last) {
        (Some((one, text)), Some((other, same))) if text != same => {
            Err(OpenError::TwoUserPolicies(one, other))
        }
        (None, only) => Ok(only),
        (first, _) => Ok(first),
    }
}

/// A file with its bytes.
type File = (PathBuf, Vec<u8>);

fn found(path: &Path) -> Result<Option<File>, OpenError> {
    Ok(read(path)?.map(|bytes| (path.to_owned(), bytes)))
}

/// A file's bytes, one more than a policy may have so that the reader can say that it is too
/// large; `None` when there is no file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    use std::io::Read as _;
    let fail = |source| OpenError::PolicyFile { path: path.to_owned(), source };
    match std::fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            let limit = Limits::default().max_bytes + 1;
            file.take(limit).read_to_end(&mut bytes).map_err(fail)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}
