//! `undo` and `redo`.

use lictor::context::{ExecutionId, RunId, SessionId};
use lictor::{Agent, UndoDone, UndoRequest};
use serde_json::json;

use super::{Answer, judged, view};
use crate::args::{Consent, Redo, Undo};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{GREEN, Output};

pub(crate) async fn undo(wish: Undo, context: &Context, output: &Output) -> Answer {
    let request = request(&wish, context)?;
    let agent = history_agent(context).await?;
    let executions = agent.to_undo(&request)?;
    go(&agent, &executions, (wish.consent, wish.dry.dry_run, "undone"), context, output).await
}

pub(crate) async fn redo(wish: Redo, context: &Context, output: &Output) -> Answer {
    let agent = history_agent(context).await?;
    let execution = wish.id.as_deref().map(execution_id).transpose()?;
    let undo = agent.to_redo(execution.as_ref())?;
    go(&agent, &[undo], (wish.consent, wish.dry.dry_run, "redone"), context, output).await
}

/// Here `--session` says whose history, so the one who asks has a session of their own.
async fn history_agent(context: &Context) -> Result<Agent, Failure> {
    if !context.global.given.session {
        return context.agent().await;
    }
    let clock = lictor::context::SystemClock;
    let session = lictor::context::Session::new(context.principal.clone(), &clock);
    Ok(context.runtime().await?.agent(&session))
}

fn request(wish: &Undo, context: &Context) -> Result<UndoRequest, Failure> {
    let session = context.global.session.as_ref().filter(|_| context.global.given.session);
    match (&wish.id, wish.last, session) {
        (Some(_), _, Some(_)) | (None, Some(_), Some(_)) => {
            Err(Failure::usage("give an execution, --last or --session, not two of them"))
        }
        (Some(id), _, None) if id.starts_with("wfr_") => RunId::parse(id)
            .map(UndoRequest::Run)
            .map_err(|error| Failure::usage(error.to_string())),
        (Some(id), _, None) => execution_id(id).map(UndoRequest::Execution),
        (None, Some(0), None) => Err(Failure::usage("--last takes 1 or more")),
        (None, Some(n), None) => Ok(UndoRequest::Last(n)),
        (None, None, Some(session)) => SessionId::parse(session)
            .map(UndoRequest::Session)
            .map_err(|error| Failure::usage(error.to_string())),
        (None, None, None) => Ok(UndoRequest::Last(1)),
    }
}

fn execution_id(text: &str) -> Result<ExecutionId, Failure> {
    ExecutionId::parse(text).map_err(|error| Failure::usage(error.to_string()))
}

async fn go(
    agent: &Agent,
    executions: &[ExecutionId],
    (wish, dry, word): (Consent, bool, &str),
    context: &Context,
    output: &Output,
) -> Answer {
    if dry {
        let check = |execution| agent.check(agent.undo_action(execution)?);
        let checked = executions.iter().map(check).collect::<Result<Vec<_>, _>>()?;
        return judged(&checked, &agent.undo_conflicts(executions)?, agent, output);
    }
    let consent = match executions.first() {
        Some(first) => {
            let action = agent.undo_action(first)?;
            consent::in_advance(agent, &action, wish, context, output).await?
        }
        None => None,
    };
    let done = agent.undo(executions, consent.as_ref()).await?;
    show(&done, word, output);
    Ok(0)
}

fn show(done: &UndoDone, word: &str, output: &Output) {
    let json = json!({
        "undo_of": done.undo_of, "status": "undone", "executions": done.executions,
        "execution_id": done.executions.last(), "files": done.files,
        "decision": done.decisions.last(),
    });
    output.result(&json, || {
        let mut text = String::new();
        for (undone, by) in done.undo_of.iter().zip(&done.executions) {
            text.push_str(&format!("{GREEN}{word}{GREEN:#} {undone} by {by}\n"));
        }
        text.push_str(&view::files(&done.files));
        text
    });
}
