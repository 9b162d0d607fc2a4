//! What most of these tests begin with: a workspace with a policy, opened, and somebody who asks.

use std::path::Path;

use lictor::context::{Name, Principal, Session, SystemClock};
use lictor::{Runtime, RuntimeOptions};

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A session of somebody of `acme`, through one of their agents.
pub(crate) fn session_of(user: &str, agent: &str) -> Session {
    let principal = Principal { org: name("acme"), user: name(user), agent: name(agent) };
    Session::new(principal, &SystemClock)
}

/// Opens a workspace under a policy, with the signing key in `keys`.
pub(crate) async fn open(
    (workspace, keys): (&Path, &Path),
    policy: &str,
    change: impl FnOnce(&mut RuntimeOptions),
) -> Runtime {
    std::fs::create_dir_all(workspace.join(".lictor")).unwrap();
    std::fs::write(workspace.join(".lictor/policy.yaml"), policy).unwrap();
    let mut options = RuntimeOptions::new(workspace, keys);
    change(&mut options);
    Runtime::open(options).await.unwrap()
}
