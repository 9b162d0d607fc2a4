//! One file for each family of verbs.

mod apply;
mod approvals;
mod audit;
mod call;
mod catalogue;
mod change;
mod demo;
mod diff;
mod doctor;
mod grants;
mod halt;
mod history;
mod import;
mod init;
mod keeping;
mod lock;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "mcp")]
mod mcp_clients;
#[cfg(feature = "mcp")]
mod mcp_gateway;
#[cfg(feature = "mcp")]
mod mcp_http;
#[cfg(feature = "mcp")]
mod mcp_import;
#[cfg(feature = "mcp")]
mod mcp_wrap;
mod patch;
mod policy;
mod policy_tools;
mod recover;
mod tools;
mod undo;
pub(crate) mod view;
mod workflow;

use clap::CommandFactory as _;
use lictor::capability::{Action, Conflict};
use lictor::governance::{DecisionRecord, Verdict};
use lictor::{Agent, Checked, ErrorCode};
use serde_json::{Map, Value, json};

use crate::args::{Change, Check, Cli, Verb};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, visible};

/// What a verb answers: the exit code of something that was done.
pub(crate) type Answer = Result<u8, Failure>;

/// Runs a verb.
pub(crate) async fn run(cli: Cli, output: &Output) -> Answer {
    let verb = match cli.verb {
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lictor", &mut script);
            output.line(String::from_utf8_lossy(&script).trim_end());
            return Ok(0);
        }
        Verb::Man { folder } => {
            let written = clap_mangen::generate_to(Cli::command(), folder);
            return written.map(|()| 0).map_err(Failure::failed);
        }
        verb => verb,
    };
    let context = Context::new(cli.global)?;
    let answer = verb_of(verb, &context, output).await;
    // Whatever it was, no server that it started is left.
    #[cfg(feature = "mcp")]
    context.upstreams.close().await;
    context.end().await;
    answer
}

async fn verb_of(verb: Verb, context: &Context, output: &Output) -> Answer {
    match verb {
        Verb::Init(wish) => init::init(wish, context, output).await,
        Verb::Apply(wish) => apply::apply(wish, context, output).await,
        Verb::Change(Change::Seal(proposal)) => change::seal(&proposal, output),
        Verb::Change(Change::FromDiff(proposal)) => change::from_diff(&proposal, context, output),
        Verb::Check(Check::Apply(proposal)) => apply::check(&proposal, context, output).await,
        Verb::Check(Check::Call(input)) => call::check(&input, context, output).await,
        Verb::Check(Check::Run(input)) => workflow::check(&input, context, output).await,
        Verb::Call(wish) => call::call(wish, context, output).await,
        Verb::Land(wish) => call::land(wish, context, output).await,
        Verb::Run(wish) => workflow::run(wish, context, output).await,
        Verb::Undo(wish) => undo::undo(wish, context, output).await,
        Verb::Redo(wish) => undo::redo(wish, context, output).await,
        Verb::Log(wish) => history::log(&wish, context, output).await,
        Verb::Show(id) => history::show(&id.id, context, output).await,
        Verb::Diff(id) => diff::diff(&id.id, context, output).await,
        Verb::Approvals(wish) => approvals::approvals(wish, context, output).await,
        Verb::Grants(wish) => grants::grants(wish, context, output).await,
        Verb::Approvers(wish) => approvals::approvers(wish, context, output).await,
        Verb::Capability(wish) => catalogue::capability(wish, context, output).await,
        Verb::Pack(wish) => catalogue::pack(wish, context, output).await,
        Verb::Facade(wish) => catalogue::facade(wish, context, output).await,
        Verb::Halt(wish) => halt::halt(&wish, context, output).await,
        Verb::Resume(wish) => halt::resume(&wish, context, output).await,
        Verb::Policy(wish) => policy::policy(&wish, context, output).await,
        Verb::Workflow(wish) => workflow::workflow(wish, context, output).await,
        Verb::Recover(wish) => recover::recover(wish, context, output).await,
        Verb::Lock(wish) => lock::lock(&wish, context, output).await,
        Verb::Audit(wish) => audit::audit(&wish, context, output).await,
        #[cfg(feature = "mcp")]
        Verb::Mcp(wish) => mcp::mcp(wish, context, output).await,
        Verb::Doctor => doctor::doctor(context, output).await,
        Verb::Demo(wish) => demo::demo(&wish, output),
        Verb::Completions { .. } | Verb::Man { .. } => Ok(0),
    }
}

/// What the gate would say to an action, as the answer of a dry run.
pub(crate) fn checked(agent: &Agent, action: Action, output: &Output) -> Answer {
    let checked = agent.check(action)?;
    let conflicts = checked.described.effects().conflicts.clone();
    judged(&[checked], &conflicts, agent, output)
}

/// The answer of a dry run: it ends as the real one would begin.
pub(crate) fn judged(
    all: &[Checked],
    conflicts: &[Conflict],
    agent: &Agent,
    output: &Output,
) -> Answer {
    let json = judgement(all, conflicts).into();
    refused_or(json, || judgement_text(all, agent), judgement_code(all, conflicts), output)
}

fn strictest(all: &[Checked]) -> Option<&DecisionRecord> {
    all.iter().map(|one| &one.decision).max_by_key(|decision| decision.verdict)
}

/// What a dry run says of itself.
pub(crate) fn judgement(all: &[Checked], conflicts: &[Conflict]) -> Map<String, Value> {
    let files: Vec<_> =
        all.iter().flat_map(|one| one.described.effects().changes.files()).collect();
    let mut json = Map::new();
    json.insert("decision".to_owned(), json!(strictest(all)));
    json.insert("files".to_owned(), json!(files));
    json.insert("conflicts".to_owned(), json!(conflicts));
    json
}

/// The same for people.
pub(crate) fn judgement_text(all: &[Checked], agent: &Agent) -> String {
    let text = all.iter().map(|one| {
        let described = view::described(agent, one);
        format!("{described}\n{}\n", visible(&one.decision.explain()))
    });
    text.collect()
}

/// Why the real one would not begin, if it would not.
pub(crate) fn judgement_code(
    all: &[Checked],
    conflicts: &[Conflict],
) -> Option<(ErrorCode, &'static str)> {
    match strictest(all).map(|decision| decision.verdict) {
        Some(Verdict::Deny) => Some((ErrorCode::Denied, "it would be denied")),
        _ if !conflicts.is_empty() => {
            Some((ErrorCode::Conflict, "the workspace holds something else than expected"))
        }
        Some(Verdict::NeedApproval) => {
            Some((ErrorCode::ApprovalRequired, "it would wait for approval"))
        }
        Some(Verdict::Allow) | None => None,
    }
}

/// The answer of a dry run, beside the error that the real one would end with.
pub(crate) fn refused_or(
    json: Value,
    shown: impl FnOnce() -> String,
    code: Option<(ErrorCode, &str)>,
    output: &Output,
) -> Answer {
    let Some((code, why)) = code else {
        output.result(&json, shown);
        return Ok(0);
    };
    if !output.is_json() {
        output.result(&json, shown);
    }
    let mut failure = Failure::new(code, why);
    if let Value::Object(known) = json {
        failure.known = known;
    }
    Err(failure)
}
