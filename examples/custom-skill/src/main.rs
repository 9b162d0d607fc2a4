//! A capability of your own: described, judged, done and undone like any other.
//!
//! The skill does not write. It *describes* the file as it would be, and Lictor does the rest:
//! the policy sees the path and both digests, the change is whole or not at all, and there is an
//! undo that nobody had to write.
#![expect(clippy::disallowed_methods, reason = "an example sets its own scratch workspace up")]

use std::error::Error;
use std::path::Path;

use async_trait::async_trait;
use lictor::capability::{Body, Change, Effects, ViewErrorKind, WorkspaceView};
use lictor::context::{Digest, Name, Principal, Session, SystemClock, WorkspacePath};
use lictor::document::Source;
use lictor::executor::{Granted, Handler, HandlerError, Request};
use lictor::{OnConflict, OwnSkill, Runtime, RuntimeOptions};
use serde_json::{Value, json};

const CONTRACT: &[u8] = include_bytes!("changelog.add.yaml");
const FILE: &str = "CHANGELOG.md";
const SECTION: &str = "## Unreleased";
const MAX_BYTES: u64 = 1 << 20;

/// Adds a line to the changelog.
struct ChangelogAdd;

#[async_trait]
impl Handler for ChangelogAdd {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let path = WorkspacePath::parse(FILE).map_err(HandlerError::failed)?;
        let before = present(request.view, &path)?;
        let (text, _) = with_entry(before.as_deref().unwrap_or_default(), request.input());
        let content = Body::new(text.into_bytes());
        let change = match before {
            // With the digest of what was read: whoever saves in between is not overwritten.
            Some(old) => {
                let before = Digest::of(old.as_bytes());
                Change::Modify { path: path.clone(), before, content, mode: None }
            }
            None => Change::Create { path: path.clone(), content, mode: None },
        };
        Ok(Effects { reads: vec![path], ..Effects::changing(&[change], request.view)? })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        // Nothing is written here, either: the change that was described is applied after this.
        let path = WorkspacePath::parse(FILE).map_err(HandlerError::failed)?;
        let before = present(granted.view(), &path)?.unwrap_or_default();
        let (_, line) = with_entry(&before, granted.input());
        Ok(json!({ "line": line }))
    }
}

/// The changelog as it is; nothing when there is none.
fn present(view: &dyn WorkspaceView, path: &WorkspacePath) -> Result<Option<String>, HandlerError> {
    match view.read(path, MAX_BYTES) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| HandlerError::failed(format!("{FILE} is not UTF-8"))),
        Err(error) if matches!(error.kind(), ViewErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The changelog with the entry under its section, and the line where that is.
fn with_entry(text: &str, input: &Value) -> (String, usize) {
    let entry = format!("- {}", input.get("entry").and_then(Value::as_str).unwrap_or_default());
    let mut lines: Vec<&str> = text.lines().collect();
    let at = match lines.iter().position(|line| *line == SECTION) {
        Some(section) => section + 1,
        None => {
            lines.insert(0, SECTION);
            1
        }
    };
    lines.insert(at, &entry);
    (lines.join("\n") + "\n", at + 1)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let folder = workspace(scratch.path())?;
    let skill = OwnSkill::new(&Source::new("changelog.add.yaml", CONTRACT), ChangelogAdd)?;
    let mut options = RuntimeOptions::new(&folder, scratch.path().join("keys"));
    options.own_skills.push(skill);
    let runtime = Runtime::open(options).await?;
    let agent = runtime.agent(&session()?);

    let entry = json!({ "entry": "`lictor undo` names what stands in its way" });
    let done = agent.call("changelog.add", entry).await?;
    say(&format!("added, line {}", done.record.output.pointer("/line").unwrap_or(&Value::Null)));
    show(&folder)?;

    // The contract's schema is the first gate, and it counts for your skill, too.
    let two_lines = agent.call("changelog.add", json!({ "entry": "one\ntwo" })).await;
    say(&format!("refused: {}", two_lines.err().ok_or("two lines went through")?));

    agent.undo(&[done.record.execution_id], OnConflict::Refuse, None).await?;
    say("undone");
    show(&folder)?;
    Ok(())
}

fn show(folder: &Path) -> Result<(), Box<dyn Error>> {
    for line in std::fs::read_to_string(folder.join(FILE))?.lines() {
        say(&format!("  | {line}"));
    }
    Ok(())
}

fn say(line: &str) {
    anstream::println!("{line}");
}

fn session() -> Result<Session, Box<dyn Error>> {
    let principal = Principal {
        org: Name::parse("acme")?,
        user: Name::parse("ann")?,
        agent: Name::parse("writer")?,
    };
    Ok(Session::new(principal, &SystemClock))
}

fn workspace(scratch: &Path) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let folder = scratch.join("project");
    std::fs::create_dir_all(folder.join(".lictor"))?;
    let policy = "version: 1\ndefault: deny\npaths: { allowed: [CHANGELOG.md] }\nrisk: { low: allow, medium: allow }\n";
    std::fs::write(folder.join(".lictor/policy.yaml"), policy)?;
    std::fs::write(folder.join(FILE), "## Unreleased\n- the first thing\n\n## 0.1.0\n")?;
    Ok(folder)
}
