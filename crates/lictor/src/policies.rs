//! Finding and reading the policies of all layers.

use std::io;
use std::path::{Path, PathBuf};

use lictor_document::{Limits, Source};
use lictor_governance::{Policy, PolicyLayer, PolicySet};

use crate::options::OpenError;

/// Where the policies of the upper layers lie. The workspace's own is `.lictor/policy.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyPlaces {
    /// The policy of whoever manages the machine, usually `/etc/lictor/policy.yaml`.
    pub managed: Option<PathBuf>,
    /// The policy of the user, usually `~/.config/lictor/policy.yaml`.
    pub user: Option<PathBuf>,
}

/// The files in which the policies of all layers stand, whether or not they are there.
pub(crate) fn policy_files(workspace: &Path, places: &PolicyPlaces) -> Vec<PathBuf> {
    let own = workspace.join(".lictor/policy.yaml");
    places.managed.iter().chain(&places.user).cloned().chain([own]).collect()
}

/// Reads the policies of all layers. A layer without a file says nothing; without any file
/// everything is denied.
///
/// # Errors
/// When a file is there and is not read or not a policy: a broken policy never counts as none.
pub fn load_policies(workspace: &Path, places: &PolicyPlaces) -> Result<PolicySet, OpenError> {
    let own = workspace.join(".lictor/policy.yaml");
    let layers = [
        (PolicyLayer::Managed, places.managed.as_deref()),
        (PolicyLayer::User, places.user.as_deref()),
        (PolicyLayer::Workspace, Some(own.as_path())),
    ];
    let mut policies = Vec::new();
    for (layer, path) in layers {
        let Some(path) = path else { continue };
        let Some(bytes) = read(path)? else { continue };
        let name = match layer {
            PolicyLayer::Workspace => "policy.yaml".to_owned(),
            PolicyLayer::Managed | PolicyLayer::User => path.display().to_string(),
        };
        policies.push(Policy::from_yaml(layer, &Source::new(&name, &bytes))?);
    }
    Ok(PolicySet::new(policies)?)
}

/// A file's bytes, one more than a policy may have so that the reader can say that it is too
/// large; `None` when there is no file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
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
