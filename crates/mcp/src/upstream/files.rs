//! Servers that work on files of the workspace: they work in a copy, and what they change there in one
//! call is handed over to go down the road. Whatever becomes of the machine or of the server meanwhile,
//! nothing of it has been in the workspace by then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lictor::capability::{Change, Contract, EffectCeiling, EntryKind, WorkspaceView};
use lictor::context::WorkspacePath;
use lictor::executor::{Granted, HandlerError};
use lictor::handlers::{Stage, sweep};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The copy that a server works in.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    stage: Arc<Mutex<Stage>>,
    work: PathBuf,
}

/// Tells the copies of one process apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

impl Copy {
    /// An empty one. What crashes left of others is taken away.
    pub(super) fn new(scratch: &Path) -> Result<Self, HandlerError> {
        sweep(scratch);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let stage = Stage::new(scratch, &format!("{}-{count}", std::process::id()))?;
        let work = stage.work();
        Ok(Self { stage: Arc::new(Mutex::new(stage)), work })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.work
    }

    /// Makes it what the workspace is, as far as an action reads that. Nobody else has it until what
    /// comes back is dropped.
    pub(super) async fn filled(
        &self,
        granted: &Granted<'_>,
        most: &EffectCeiling,
    ) -> Result<Filled, HandlerError> {
        let mut stage = Arc::clone(&self.stage).lock_owned().await;
        stage.clear()?;
        for path in &granted.described().effects().reads {
            stage.copy_in(path, granted.view(), most)?;
        }
        Ok(Filled(stage))
    }
}

/// A copy that is as the workspace was.
pub(super) struct Filled(OwnedMutexGuard<Stage>);

impl Filled {
    /// What is another one in it now.
    pub(super) fn changes(&self) -> Result<Vec<Change>, HandlerError> {
        self.0.changes()
    }
}

/// What stands in a workspace for the copy: everything that neither a leading dot nor the policy hides.
pub(super) fn reads(view: &dyn WorkspaceView) -> Result<Vec<WorkspacePath>, HandlerError> {
    let listed = view.list(None)?;
    let seen =
        listed.iter().filter(|one| !one.name.starts_with('.') && one.kind != EntryKind::Special);
    let mut reads: Vec<_> = seen.filter_map(|one| WorkspacePath::parse(&one.name).ok()).collect();
    reads.retain(|path| !view.hides(path));
    reads.sort();
    Ok(reads)
}

/// Whether what a tool changes in the workspace is collected.
pub(super) fn works_on_files(contract: &Contract) -> bool {
    !contract.effects.fs.write.is_empty()
}

/// One folder under both its names: what is the workspace for clients is the copy for its server.
#[derive(Debug, Clone)]
pub(super) struct Led {
    root: PathBuf,
    copy: PathBuf,
}

impl Led {
    pub(super) fn new(root: &Path, copy: &Copy) -> Self {
        Self { root: root.to_owned(), copy: copy.folder().to_owned() }
    }

    /// What the server says, as clients know it.
    pub(super) fn out(&self, said: Value) -> Value {
        out_of_copy(said, &self.root, &self.copy)
    }

    /// A URI that a client names, as the server knows it.
    pub(super) fn uri_in(&self, uri: &str) -> String {
        let root = self.root.display().to_string();
        match uri.split_once(&root) {
            Some((before, rest)) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
                format!("{before}{}{rest}", self.copy.display())
            }
            _ => uri.to_owned(),
        }
    }
}

/// An input whose paths into the workspace lead into the copy.
pub(super) fn into_copy(input: Map<String, Value>, root: &Path, copy: &Path) -> Map<String, Value> {
    let (root, copy) = (root.display().to_string(), copy.display().to_string());
    let lead = |text: String| match text.strip_prefix(&root) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{copy}{rest}"),
        _ => text,
    };
    match with_texts(Value::Object(input), &lead) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// An answer that speaks of the workspace and not of the copy.
pub(super) fn out_of_copy(output: Value, root: &Path, copy: &Path) -> Value {
    let (root, copy) = (root.display().to_string(), copy.display().to_string());
    with_texts(output, &|text: String| {
        if text.contains(&copy) { text.replace(&copy, &root) } else { text }
    })
}

fn with_texts(value: Value, make: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(make(text)),
        Value::Array(items) => items.into_iter().map(|item| with_texts(item, make)).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (key, with_texts(value, make))).collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_into_the_workspace_lead_into_the_copy_and_back() {
        let (root, copy) = (Path::new("/w"), Path::new("/w/.lictor/servers/1/work"));
        let input = json!({ "path": "/w/a", "root": "/w", "other": "/way", "list": ["/w/b"], "text": "see /w/a" });
        let Value::Object(fields) = input else { panic!() };
        let led = into_copy(fields, root, copy);
        let at = copy.display();
        assert_eq!(
            Value::Object(led.clone()),
            json!({
                "path": format!("{at}/a"), "root": at.to_string(), "other": "/way",
                "list": [format!("{at}/b")], "text": "see /w/a",
            })
        );
        let back = out_of_copy(json!({ "text": format!("wrote {at}/a") }), root, copy);
        assert_eq!(back, json!({ "text": "wrote /w/a" }));
    }

    #[test]
    fn a_uri_of_the_workspace_is_one_of_the_copy_and_one_beside_it_is_not() {
        let led = Led { root: PathBuf::from("/w"), copy: PathBuf::from("/c") };
        assert_eq!(led.uri_in("file:///w/a"), "file:///c/a");
        assert_eq!(led.uri_in("file:///w"), "file:///c");
        assert_eq!(led.uri_in("file:///way/a"), "file:///way/a");
        assert_eq!(led.uri_in("note://one"), "note://one");
    }
}
