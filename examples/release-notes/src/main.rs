//! A workflow with an approval: it pauses, a person answers, it goes on; and where they say no,
//! what it had written is gone again.
#![expect(clippy::disallowed_methods, reason = "an example sets its own scratch workspace up")]

use std::error::Error;
use std::path::{Path, PathBuf};

use lictor::context::{ApprovalId, Name, Principal, Session, SystemClock};
use lictor::document::Source;
use lictor::governance::{Channel, Says};
use lictor::workflow::{Resume, RunRecord, RunStatus, Workflow};
use lictor::{Runtime, RuntimeOptions};
use serde_json::json;

const FLOW: &[u8] = include_bytes!("release_notes.workflow.yaml");
const POLICY: &str = "\
version: 1
default: deny
paths: { allowed: [CHANGES.txt, LATEST.md, 'notes/**'] }
risk: { low: allow, medium: allow, high: need_approval }
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let folder = workspace(scratch.path())?;
    let options = RuntimeOptions::new(&folder, scratch.path().join("keys"));
    let runtime = Runtime::open(options).await?;
    // The first approver is whoever sets the workspace up. The token is shown once; here it stands
    // for the person who keeps it.
    let (_, token) = runtime.approvers().bootstrap(Name::parse("maria")?, Vec::new())?;
    let flow = Workflow::from_yaml(&Source::new("release_notes.workflow.yaml", FLOW))?;
    let session = session()?;
    runtime.validate_workflow(&session, &flow)?;
    let engine = runtime.engine(None);

    say("version 0.2.0");
    let run = engine.run(&session, &flow, json!({ "version": "0.2.0" })).await?;
    let question = waiting(&run)?;
    let view = runtime.approvals().view(&question)?.ok_or("nothing is kept of the question")?;
    say("paused; maria is shown:");
    for line in view.lines().filter(|line| line.contains("Publish")) {
        say(&format!("  {}", line.trim()));
    }
    let maria = runtime.approvers().authenticate(token.expose())?;
    runtime.answer(&question, maria, Channel::Token, Says::Approve, &session).await?;
    let run = engine.resume(&run.run_id, Resume::Continue).await?;
    tell(&run, &folder);

    say("version 0.3.0");
    let run = engine.run(&session, &flow, json!({ "version": "0.3.0" })).await?;
    let question = waiting(&run)?;
    let maria = runtime.approvers().authenticate(token.expose())?;
    let no = Says::Deny { reason: "not on a Friday".to_owned() };
    runtime.answer(&question, maria, Channel::Token, no, &session).await?;
    let run = engine.resume(&run.run_id, Resume::Continue).await?;
    tell(&run, &folder);

    let found = runtime.audit().verify_store(&Name::parse("acme")?)?;
    say(&format!("the trail is {}", found.verdict));
    Ok(())
}

/// The approval that a paused run waits for.
fn waiting(run: &RunRecord) -> Result<ApprovalId, Box<dyn Error>> {
    if run.status() != RunStatus::Paused {
        return Err(format!("{:?}, not paused: {:?}", run.status(), run.error).into());
    }
    let id = run.steps.iter().find_map(|step| step.waiting_for.as_deref());
    Ok(ApprovalId::parse(id.ok_or("no step waits")?)?)
}

fn tell(run: &RunRecord, folder: &Path) {
    say(&format!("{}", run.status()));
    for file in ["notes/0.2.0.md", "notes/0.3.0.md", "LATEST.md"] {
        let there = if folder.join(file).exists() { "there" } else { "not there" };
        say(&format!("  {file}: {there}"));
    }
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

fn workspace(scratch: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = scratch.join("project");
    std::fs::create_dir_all(folder.join(".lictor"))?;
    std::fs::write(folder.join(".lictor/policy.yaml"), POLICY)?;
    std::fs::write(folder.join("CHANGES.txt"), "- undo names what stands in its way\n")?;
    Ok(folder)
}
