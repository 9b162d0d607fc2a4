//! `undo` and `redo`.

use std::collections::HashMap;

use lictor::capability::{Effects, LeftAlone};
use lictor::context::{ExecutionId, RunId, SessionId, WorkspacePath};
use lictor::governance::Verdict;
use lictor::undo_records::{Content, History, OnConflict, UNDO_CAPABILITY};
use lictor::{ActError, Agent, Compensated, ErrorCode, UndoDone, UndoRequest};
use serde_json::json;

use super::patch::patch;
use super::{Answer, judgement, judgement_code, judgement_text, refused_or, view};
use crate::args::{Consent, Redo, Undo, UndoWay};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{GREEN, Output, name, visible};

pub(crate) async fn undo(wish: Undo, context: &Context, output: &Output) -> Answer {
    if wish.purge {
        return purge(wish.dry.dry_run, context, output).await;
    }
    let request = request(&wish, context)?;
    let agent = history_agent(context).await?;
    let dry = wish.dry.dry_run || wish.way.diff;
    let executions = on_record(&agent, agent.to_undo(&request), dry).await?;
    let way = (wish.way, wish.consent, dry, "undone");
    go(&agent, &executions, way, context, output).await
}

pub(crate) async fn redo(wish: Redo, context: &Context, output: &Output) -> Answer {
    let agent = history_agent(context).await?;
    let execution = wish.id.as_deref().map(execution_id).transpose()?;
    let dry = wish.dry.dry_run || wish.way.diff;
    let undo = on_record(&agent, agent.to_redo(execution.as_ref()), dry).await?;
    go(&agent, &[undo], (wish.way, wish.consent, dry, "redone"), context, output).await
}

/// What is refused before there is an action is on record as well, unless it was only asked what
/// would be done.
async fn on_record<T>(agent: &Agent, found: Result<T, ActError>, dry: bool) -> Result<T, Failure> {
    if let (Err(error), false) = (&found, dry) {
        agent.record_refusal(UNDO_CAPABILITY, &error.to_string()).await?;
    }
    Ok(found?)
}

/// Removes what the policy does not keep.
async fn purge(dry_run: bool, context: &Context, output: &Output) -> Answer {
    if context.global.session.is_some() && context.global.given.session {
        return Err(Failure::usage("--purge goes by the policy; it takes no --session"));
    }
    let agent = context.agent().await?;
    let purged = agent.purge_undo(dry_run).await?;
    output.result(&json!(purged), || {
        let word = if dry_run { "would purge" } else { "purged" };
        let bytes = size(purged.bytes);
        let mut text = format!("{word} {} undo record(s), {bytes}\n", purged.purged.len());
        text.extend(purged.purged.iter().map(|execution| format!("  {word} {execution}\n")));
        for kept in &purged.kept {
            text.push_str(&format!("  kept {}: {}\n", kept.execution, visible(&kept.reason)));
        }
        text
    });
    Ok(0)
}

/// A number of bytes, for people.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, bits)| bytes >> bits > 0) {
        Some((unit, bits)) => format!("{}.{}{unit}", bytes >> bits, ((bytes * 10) >> bits) % 10),
        None => format!("{bytes}B"),
    }
}

/// Here `--session` says whose history, so the one who asks has a session of their own.
async fn history_agent(context: &Context) -> Result<Agent, Failure> {
    if !context.global.given.session {
        return context.agent().await;
    }
    let clock = lictor::context::SystemClock;
    let session = lictor::context::Session::new(context.principal.clone(), &clock);
    Ok(context.runtime().await?.agent(&session).ending())
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

fn on_conflict(way: UndoWay) -> OnConflict {
    match (way.keep_both, way.merge) {
        (true, _) => OnConflict::KeepBoth,
        (false, true) => OnConflict::Merge,
        (false, false) => OnConflict::Refuse,
    }
}

async fn go(
    agent: &Agent,
    executions: &[ExecutionId],
    (way, wish, dry, word): (UndoWay, Consent, bool, &str),
    context: &Context,
    output: &Output,
) -> Answer {
    let on_conflict = on_conflict(way);
    if dry {
        let ran = dry_run(agent, executions, way, output);
        return ran.map_err(|failure| explained(failure, agent, executions));
    }
    on_record(agent, agent.made_up_for(executions), dry).await?;
    let check = || agent.check_undo(executions, on_conflict);
    let consent = consent::in_advance(agent, check, wish, context, output).await?;
    let done = agent.undo(executions, on_conflict, consent.as_ref()).await;
    let done = done.map_err(|error| explained(error.into(), agent, executions))?;
    show(&done, word, output);
    Ok(0)
}

/// What would be done. It ends as the real one would begin.
fn dry_run(agent: &Agent, executions: &[ExecutionId], way: UndoWay, output: &Output) -> Answer {
    let on_conflict = on_conflict(way);
    let checked = agent.check_undo(executions, on_conflict)?;
    let compensated = agent.made_up_for(executions)?;
    let plans: Vec<&Effects> = checked.iter().map(|one| one.described.effects()).collect();
    let conflicts: Vec<_> = plans.iter().flat_map(|plan| plan.conflicts.clone()).collect();
    let denied = checked.iter().any(|one| one.decision.verdict == Verdict::Deny);
    let diff = match way.diff && !denied {
        true => Some(planned_diff(agent, &plans)?),
        false => None,
    };
    let kept: Vec<_> = plans.iter().flat_map(|plan| &plan.left).collect();
    let mut json = judgement(&checked, &conflicts);
    json.insert("undo_of".to_owned(), json!(executions));
    json.insert("kept".to_owned(), json!(kept));
    json.insert("compensated".to_owned(), json!(compensated));
    json.extend(diff.clone().map(|diff| ("diff".to_owned(), json!(diff))));
    let shown = || match &diff {
        Some(diff) => visible(diff),
        None => {
            let mut text = judgement_text(&checked, agent);
            text.extend(kept.iter().map(|one| left(one)));
            text.extend(compensated.iter().map(|one| made_up_for("would make", one)));
            text
        }
    };
    refused_or(json.into(), shown, judgement_code(&checked, &conflicts), output)
}

/// What plans would change, as a unified diff.
fn planned_diff(agent: &Agent, plans: &[&Effects]) -> Result<String, Failure> {
    let runtime = agent.runtime();
    let history = History::open(runtime.transactions()).map_err(Failure::failed)?;
    let mut planned: HashMap<WorkspacePath, Content> = HashMap::new();
    let mut text = String::new();
    for plan in plans {
        for item in &plan.changes.items {
            let old = match &item.from {
                None => Content::Absent,
                Some(from) => match planned.get(from) {
                    Some(content) => content.clone(),
                    None => history.standing(from, item.before),
                },
            };
            let new = match (&item.to, &item.content) {
                (None, _) => Content::Absent,
                (Some(_), None) => old.clone(),
                (Some(_), Some(content)) => {
                    history.coming(content, item.after).map_err(Failure::failed)?
                }
            };
            text.push_str(&patch(item, &old, &new));
            planned.extend(item.from.clone().map(|from| (from, Content::Absent)));
            planned.extend(item.to.clone().map(|to| (to, new)));
        }
    }
    Ok(text)
}

/// A conflict with what a later execution did can be had out of the way.
fn explained(mut failure: Failure, agent: &Agent, executions: &[ExecutionId]) -> Failure {
    let ([execution], ErrorCode::Conflict) = (executions, failure.code) else { return failure };
    let Ok(plans) = agent.undo_plans(executions, OnConflict::Refuse) else { return failure };
    let conflicts: Vec<_> = plans.into_iter().flat_map(|plan| plan.conflicts).collect();
    // Making the change anew is nothing that an undo could do.
    failure.next_steps.clear();
    match agent.in_the_way(execution, &conflicts) {
        Ok(later) if !later.is_empty() => {
            let ids: Vec<&str> = later.iter().map(ExecutionId::as_str).collect();
            let step =
                format!("undo what was done to the same files later first: {}", ids.join(", "));
            failure.known.insert("in_the_way".to_owned(), json!(later));
            failure.with_step(step)
        }
        _ => failure
            .with_step("--keep-both leaves what was changed since, and puts the old beside it")
            .with_step("--merge merges text line by line"),
    }
}

fn made_up_for(made: &str, one: &Compensated) -> String {
    format!("  {made} up for {} by {}\n", one.execution, one.by)
}

fn left(left: &LeftAlone) -> String {
    match &left.beside {
        Some(beside) => {
            let (path, beside) = (name(left.path.as_str()), name(beside.as_str()));
            format!("  kept   {path} (the old one is {beside})\n")
        }
        None => format!("  kept   {}\n", name(left.path.as_str())),
    }
}

fn show(done: &UndoDone, word: &str, output: &Output) {
    let json = json!({
        "undo_of": done.undo_of, "status": "undone", "executions": done.executions,
        "execution_id": done.executions.last(), "files": done.files, "kept": done.kept,
        "merged": done.merged, "compensated": done.compensated, "decision": done.decisions.last(),
    });
    output.result(&json, || {
        let mut text = String::new();
        for (undone, by) in done.undo_of.iter().zip(&done.executions) {
            text.push_str(&format!("{GREEN}{word}{GREEN:#} {undone} by {by}\n"));
        }
        text.extend(done.compensated.iter().map(|one| made_up_for("made", one)));
        if done.files.is_empty() && done.compensated.is_empty() {
            text.push_str("  nothing was left to put back: all of it was as it was before\n");
        }
        text.push_str(&view::files(&done.files));
        text.extend(done.kept.iter().map(left));
        text.extend(done.merged.iter().map(|path| format!("  merged {}\n", name(path))));
        text
    });
}
