//! Isolated workspaces over one database, and the flow that runs in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lictor::context::{Name, Principal, Session, SystemClock};
use lictor::document::Source;
use lictor::store::Durability;
use lictor::workflow::{Engine, Hooks, RunRecord, Workflow};
use lictor::{Runtime, RuntimeOptions, SharedState};
use serde_json::{Value, json};

use crate::Failure;

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
                      risk: { low: allow, medium: allow }\n";

/// What the seed of this project ran: two steps that only look, one that writes, one that looks.
const FLOW: &str = r#"
id: flow
version: 1.0.0
steps:
  - { id: now, use: time.now }
  - id: render
    use: text.render
    needs: [now]
    with:
      template: "run {{ n }} at {{ when }}\n"
      variables: { n: "{{ input.n }}", when: "{{ steps.now.output.time }}" }
  - id: write
    use: fs.write
    needs: [render]
    with: { path: "{{ input.path }}", content: "{{ steps.render.output.text }}" }
    #back
  - { id: hash, use: fs.hash, needs: [write], with: { path: "{{ input.check }}" } }
"#;

/// The same with something to call back.
const BACK: &str =
    "compensate: { use: fs.write, with: { path: \"{{ input.path }}.back\", content: back } }";

/// The flow, with or without a compensation.
pub(crate) fn flow(compensated: bool) -> Result<Workflow, Failure> {
    let text = if compensated { FLOW.replace("#back", BACK) } else { FLOW.to_owned() };
    Ok(Workflow::from_yaml(&Source::new("flow.workflow.yaml", text.as_bytes()))?)
}

/// The input of the `n`-th run; with `fails`, its last step looks for what is not there.
pub(crate) fn input(n: u64, fails: bool) -> Value {
    let path = format!("out-{n}.txt");
    let check = if fails { format!("missing-{n}.txt") } else { path.clone() };
    json!({ "n": n, "path": path, "check": check })
}

/// Workspaces beneath a folder, with their database beside them.
#[derive(Debug)]
pub(crate) struct Places {
    folder: PathBuf,
    shared: SharedState,
}

/// One workspace.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) session: Session,
}

impl Places {
    pub(crate) fn open(folder: &Path, durability: Durability) -> Result<Self, Failure> {
        let mut options = RuntimeOptions::new(folder, folder.join("keys"));
        let state = folder.join("state");
        fs::create_dir_all(&state)?;
        options.state_dir = Some(state);
        options.durability = durability;
        Ok(Self { folder: folder.to_owned(), shared: SharedState::open(&options)? })
    }

    pub(crate) fn shared(&self) -> &SharedState {
        &self.shared
    }

    /// The `n`-th workspace, made when it is not there.
    pub(crate) async fn place(&self, n: usize) -> Result<Place, Failure> {
        let root = self.folder.join(format!("w{n}"));
        fs::create_dir_all(root.join(".lictor"))?;
        fs::write(root.join(".lictor/policy.yaml"), POLICY)?;
        let mut options = RuntimeOptions::new(&root, self.folder.join("keys"));
        options.shared = Some(self.shared.clone());
        options.state_dir = Some(self.folder.join("state"));
        let runtime = Runtime::open(options).await?;
        let principal = Principal {
            org: Name::parse("bench")?,
            user: Name::parse("bench")?,
            agent: Name::parse("bench")?,
        };
        let session = Session::new(principal, &SystemClock);
        Ok(Place { root, runtime, session })
    }
}

impl Place {
    pub(crate) fn engine(&self, hooks: Option<Arc<dyn Hooks>>) -> Engine {
        let engine = self.runtime.engine(None);
        match hooks {
            Some(hooks) => engine.with_hooks(hooks),
            None => engine,
        }
    }

    /// What the file of a run holds.
    pub(crate) fn file(&self, run: &RunRecord) -> Option<String> {
        let path = run.input.get("path").and_then(Value::as_str).unwrap_or_default();
        fs::read_to_string(self.root.join(path)).ok()
    }
}

/// What the file of a run has to hold.
pub(crate) fn expected(run: &RunRecord) -> Option<&str> {
    run.step("render").and_then(|step| step.output.get("text")).and_then(Value::as_str)
}
