//! The library under test: a workspace of its own, and one session in it.

use std::fs;
use std::path::{Path, PathBuf};

use lictor::capability::{Body, Change, ChangeDocument};
use lictor::context::{Digest, ExecutionId, Name, Principal, Session, SystemClock, WorkspacePath};
use lictor::{Agent, OnConflict, Runtime, RuntimeOptions};
use serde_json::json;

/// Everything is allowed but secrets.
const POLICY: &str =
    "version: 1\ndefault: deny\npaths: { allowed: ['**'], forbidden: ['**/.env'] }\n";

pub(crate) struct Ours {
    agent: Agent,
    tokio: tokio::runtime::Runtime,
}

/// A runtime over a workspace that is made when it is not there; its keys lie beside it.
pub(crate) async fn open(root: &Path) -> Runtime {
    fs::create_dir_all(root.join(".lictor")).unwrap();
    fs::write(root.join(".lictor/policy.yaml"), POLICY).unwrap();
    let mut keys = root.to_owned().into_os_string();
    keys.push("-keys");
    Runtime::open(RuntimeOptions::new(root, PathBuf::from(keys))).await.unwrap()
}

pub(crate) fn agent_of(runtime: &Runtime) -> Agent {
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("bench"), user: name("ann"), agent: name("a") };
    runtime.agent(&Session::new(principal, &SystemClock))
}

pub(crate) fn two_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl Ours {
    pub(crate) fn at(root: &Path) -> Self {
        let tokio = two_threads();
        let agent = tokio.block_on(async { agent_of(&open(root).await) });
        Self { agent, tokio }
    }

    /// The n-th file, in one of ten directories.
    pub(crate) fn path(n: usize) -> String {
        format!("d{}/f{n}", n % 10)
    }

    /// The document that turns n files from one text to another.
    pub(crate) fn document(n: usize, old: &str, new: &str) -> ChangeDocument {
        let before = Digest::of(old.as_bytes());
        let changes = (0..n).map(|i| Change::Modify {
            path: WorkspacePath::parse(&Self::path(i)).unwrap(),
            before,
            content: Body::new(new.to_owned().into_bytes()),
            mode: None,
        });
        ChangeDocument::seal(None, changes.collect()).unwrap()
    }

    pub(crate) fn apply(&self, document: &ChangeDocument) -> ExecutionId {
        let action = self.agent.apply_action(document).unwrap();
        let done = self.tokio.block_on(self.agent.act(action, None)).expect("applied");
        done.record.execution_id
    }

    /// Undoes an execution; undoing an undo is the redo.
    pub(crate) fn undo(&self, execution: &ExecutionId) -> ExecutionId {
        let action = self.agent.undo_action(execution, OnConflict::Refuse).unwrap();
        let done = self.tokio.block_on(self.agent.act(action, None)).expect("undone");
        done.record.execution_id
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let input = json!({ "path": path, "content": content });
        let _done = self.tokio.block_on(self.agent.call("fs.write", input)).expect("written");
    }
}
