//! A scripted agent that edits a real crate through the library, and is reined in.
//!
//! What a model would propose stands in `script.json`; everything else is as it would be with a
//! model. Each proposal goes down the road, and what comes back is what the model would be told.
#![expect(clippy::disallowed_methods, reason = "an example sets its own scratch workspace up")]

use std::error::Error;
use std::path::{Path, PathBuf};

use lictor::capability::{ChangeDocument, Plan, ToolFormat, UnifiedDiff};
use lictor::context::{Name, Principal, Session, SystemClock};
use lictor::document::{Limits, Source};
use lictor::governance::Channel;
use lictor::{ActError, Agent, Consent, Done, OnConflict, Runtime, RuntimeOptions, Seen};
use serde_json::{Value, json};

const SCRIPT: &str = include_str!("../script.json");
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../crate/Cargo.toml.txt")),
    ("Cargo.lock", include_str!("../crate/Cargo.lock.txt")),
    ("src/lib.rs", include_str!("../crate/lib.rs.txt")),
    ("tests/parse.rs", include_str!("../crate/parse.rs.txt")),
    (".env", "TOKEN=1\n"),
    (".lictor/policy.yaml", include_str!("../crate/policy.yaml")),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let folder = workspace(scratch.path())?;
    let options = RuntimeOptions::new(&folder, scratch.path().join("keys"));
    let runtime = Runtime::open(options).await?;
    let principal = Principal {
        org: Name::parse("acme")?,
        user: Name::parse("ann")?,
        agent: Name::parse("coder")?,
    };
    let agent = runtime.agent(&Session::new(principal, &SystemClock));
    let (_, token) = runtime.approvers().bootstrap(Name::parse("maria")?, Vec::new())?;
    let tools = agent.graph().tools(ToolFormat::Anthropic);
    say(&format!(
        "the model is offered {} tools",
        if tools.tools.is_empty() { "no" } else { "its" }
    ));

    let before = code(&folder)?;
    let mut executions = Vec::new();
    let script: Vec<Value> = serde_json::from_str(SCRIPT)?;
    for proposal in &script {
        say(&format!("\nagent: {}", text(proposal, "say")));
        match propose(&agent, proposal).await? {
            Ok(done) => {
                say(&told(&done));
                executions
                    .extend((!done.record.files.is_empty()).then_some(done.record.execution_id));
            }
            Err(error) => {
                // The model is told all of it; here the first line is enough.
                let told = error.to_string();
                let first = told.lines().next().unwrap_or_default();
                say(&format!("  {}: {first}", error.code().as_str()));
            }
        }
    }

    say("\na person: I take all of that back.");
    executions.reverse();
    // The policy wants changes of code verified. An undo brings no tests along, and so it asks; the
    // person who proves who they are is there to answer, for what they have looked at.
    let approver = runtime.approvers().authenticate(token.expose())?;
    let undos = agent.check_undo(&executions, OnConflict::Refuse)?;
    let seen = Seen::Actions(undos.iter().map(|one| one.decision.action_digest).collect());
    let consent = Consent { approver, channel: Channel::Token, seen };
    let undone = agent.undo(&executions, OnConflict::Refuse, Some(&consent)).await?;
    say(&format!("  {} executions undone", undone.undo_of.len()));
    say(&format!(
        "  the code is {}",
        if code(&folder)? == before { "as it was" } else { "changed" }
    ));
    say(&format!(
        "  the trail is {}",
        runtime.audit().verify_store(&Name::parse("acme")?)?.verdict
    ));
    Ok(())
}

/// Takes what the model proposes down the road: a call of a tool, or a change of several files
/// that the tests of the crate have to verify.
async fn propose(
    agent: &Agent,
    proposal: &Value,
) -> Result<Result<Done, ActError>, Box<dyn Error>> {
    if let Some(tool) = proposal.get("tool").and_then(Value::as_str) {
        let capability = agent.graph().by_tool_name(tool).ok_or("there is no such tool")?;
        let action =
            agent.action(capability, proposal.get("arguments").cloned().unwrap_or_default());
        return Ok(agent.act(action, None).await);
    }
    let diff = Source::new("proposal.diff", text(proposal, "diff").as_bytes());
    let workspace = agent.runtime().workspace();
    let diff = UnifiedDiff::parse(&diff, &Limits::default())?;
    let changes = diff.into_changes(workspace.as_ref())?;
    let plan: Plan = serde_json::from_value(json!({
        "id": lictor::context::PlanId::generate(&SystemClock),
        "intent": text(proposal, "intent"),
        "risk": "low",
        "verification": ["tests"],
    }))?;
    let document = ChangeDocument::seal(Some(plan), changes)?;
    Ok(agent.act(agent.apply_action(&document)?, None).await)
}

/// What the model is told of something that was done.
fn told(done: &Done) -> String {
    let mut lines = Vec::new();
    for file in &done.record.files {
        let op = format!("{:?}", file.op).to_lowercase();
        lines.push(format!("  {op} {}", file.path));
    }
    for check in &done.checks {
        lines.push(format!("  {}: {}", check.name, if check.passed { "passed" } else { "failed" }));
    }
    if lines.is_empty() { "  done".to_owned() } else { lines.join("\n") }
}

fn text<'a>(proposal: &'a Value, key: &str) -> &'a str {
    proposal.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The code as it stands.
fn code(folder: &Path) -> Result<[String; 2], Box<dyn Error>> {
    let read = |path| std::fs::read_to_string(folder.join(path));
    Ok([read("src/lib.rs")?, read("tests/parse.rs")?])
}

fn say(line: &str) {
    anstream::println!("{line}");
}

fn workspace(scratch: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = scratch.join("dates");
    for (name, content) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    std::fs::write(scratch.join("outside.txt"), "not yours\n")?;
    Ok(folder)
}
