//! One file for each family of verbs.

mod apply;
mod approvals;
mod audit;
mod call;
mod catalogue;
mod change;
mod demo;
mod doctor;
mod history;
mod init;
mod lock;
mod policy;
mod undo;
pub(crate) mod view;
mod workflow;

use clap::CommandFactory as _;
use lictor::capability::Action;
use lictor::{Agent, Done};
use serde_json::{Value, json};

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
            clap_complete::generate(shell, &mut Cli::command(), "lictor", &mut std::io::stdout());
            return Ok(0);
        }
        Verb::Man { folder } => {
            let written = clap_mangen::generate_to(Cli::command(), folder);
            return written.map(|()| 0).map_err(Failure::failed);
        }
        verb => verb,
    };
    let context = Context::new(cli.global)?;
    let (context, output) = (&context, output);
    match verb {
        Verb::Init(wish) => init::init(wish, context, output),
        Verb::Apply(wish) => apply::apply(wish, context, output).await,
        Verb::Change(Change::Seal(proposal)) => change::seal(&proposal, output),
        Verb::Change(Change::FromDiff(proposal)) => change::from_diff(&proposal, context, output),
        Verb::Check(Check::Apply(proposal)) => apply::check(&proposal, context, output).await,
        Verb::Check(Check::Call(input)) => call::check(&input, context, output).await,
        Verb::Check(Check::Run(input)) => workflow::check(&input, context, output).await,
        Verb::Call(wish) => call::call(wish, context, output).await,
        Verb::Run(wish) => workflow::run(wish, context, output).await,
        Verb::Undo(wish) => undo::undo(wish, context, output).await,
        Verb::Redo(wish) => undo::redo(wish, context, output).await,
        Verb::Log(wish) => history::log(&wish, context, output).await,
        Verb::Show(id) => history::show(&id.id, context, output).await,
        Verb::Diff(id) => history::diff(&id.id, context, output).await,
        Verb::Approvals(wish) => approvals::approvals(wish, context, output).await,
        Verb::Approvers(wish) => approvals::approvers(wish, context, output).await,
        Verb::Capability(wish) => catalogue::capability(&wish, context, output).await,
        Verb::Policy(wish) => policy::policy(&wish, context, output).await,
        Verb::Workflow(wish) => workflow::workflow(wish, context, output).await,
        Verb::Recover(wish) => lock::recover(wish, context, output).await,
        Verb::Lock(wish) => lock::lock(&wish, context, output).await,
        Verb::Audit(wish) => audit::audit(&wish, context, output).await,
        Verb::Doctor => doctor::doctor(context, output).await,
        Verb::Demo(wish) => demo::demo(&wish, output),
        Verb::Completions { .. } | Verb::Man { .. } => Ok(0),
    }
}

/// What is said of something that was done.
pub(crate) fn done(done: &Done) -> Value {
    let record = &done.record;
    json!({
        "execution_id": record.execution_id,
        "status": if done.duplicate { "duplicate" } else { "applied" },
        "decision": record.decision, "files": record.files, "output": record.output,
        "checks": done.checks, "plan_id": record.plan_id, "change_set_id": record.change_set_id,
    })
}

/// The verdict of a dry run, with the exit code that the real one would begin with.
pub(crate) fn checked(agent: &Agent, action: Action, output: &Output) -> Answer {
    use lictor::ErrorCode;
    use lictor::governance::Verdict;
    let checked = agent.check(action)?;
    let effects = checked.described.effects();
    let json = json!({
        "decision": checked.decision, "files": effects.changes.files(),
        "conflicts": effects.conflicts,
    });
    output.result(&json, || {
        let described = view::described(&checked.described, agent.runtime().workspace());
        visible(&format!("{described}\n{}", checked.decision.explain()))
    });
    Ok(match checked.decision.verdict {
        Verdict::Deny => ErrorCode::Denied.exit_code(),
        _ if !effects.conflicts.is_empty() => ErrorCode::Conflict.exit_code(),
        Verdict::NeedApproval => ErrorCode::ApprovalRequired.exit_code(),
        Verdict::Allow => 0,
    })
}
