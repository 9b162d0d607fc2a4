//! `apply` and `check apply`.

use lictor::capability::{Action, Change, ChangeDocument, UnifiedDiff, WorkspaceView as _};
use lictor::context::{Digest, WorkspacePath};
use lictor::{Agent, Done};

use super::change::{self, Proposed, Read};
use super::{Answer, checked, view};
use crate::args::{Apply, Proposal};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{GREEN, Output};

/// What becomes of a proposal.
enum Judged {
    /// An action to take down the road.
    Action(Box<Action>),
    /// It was done before, and its effect stands.
    Standing(Box<Done>),
}

pub(crate) async fn apply(wish: Apply, context: &Context, output: &Output) -> Answer {
    if wish.dry.dry_run {
        return check(&wish.proposal, context, output).await;
    }
    let agent = consent::under(context.agent().await?, &wish.under)?;
    let read = change::read(&wish.proposal);
    let judged = match read {
        Ok(read) => judge(read, &agent).await,
        Err(failure) => Err(failure),
    };
    let judged = match judged {
        Ok(judged) => judged,
        Err(failure) => {
            // Also what never became an action is a refusal, and stands in the trail.
            agent.record_refusal("change.apply", failure.recorded()).await?;
            return Err(failure);
        }
    };
    let outcome = match judged {
        Judged::Standing(done) => {
            agent.record_repeat(&done).await?;
            *done
        }
        Judged::Action(action) => {
            let check = || Ok(vec![agent.check((*action).clone())?]);
            let consent = consent::in_advance(&agent, check, wish.consent, context, output).await?;
            agent.act(*action, consent.as_ref()).await?
        }
    };
    show(&outcome, output);
    Ok(0)
}

pub(crate) async fn check(proposal: &Proposal, context: &Context, output: &Output) -> Answer {
    let agent = context.agent().await?;
    match judge(change::read(proposal)?, &agent).await? {
        Judged::Action(action) => checked(&agent, *action, output),
        Judged::Standing(done) => {
            show(&done, output);
            Ok(0)
        }
    }
}

async fn judge(read: Read, agent: &Agent) -> Result<Judged, Failure> {
    let Read { proposed, key } = read;
    let document = match proposed {
        Proposed::Document(document) => *document,
        Proposed::Diff(diff) => {
            if let Some(hidden) = first_hidden(&diff.diff, agent) {
                // Matching hunks would read the file and tell what it holds: the gate answers
                // before anybody looks.
                let action = touching(&hidden, agent)?;
                return Ok(Judged::Action(Box::new(action)));
            }
            if let Some(done) = agent.find_standing(key).await? {
                return Ok(Judged::Standing(Box::new(done)));
            }
            change::resolve_diff(*diff, agent.runtime().workspace().as_ref())?
        }
    };
    if document.derived_plan_id
        && let Some(done) = agent.find_standing(key).await?
    {
        return Ok(Judged::Standing(Box::new(done)));
    }
    let action = agent.apply_action(&document)?;
    Ok(Judged::Action(Box::new(if document.derived_plan_id {
        action.with_remembered_key(key)
    } else {
        action
    })))
}

fn first_hidden(diff: &UnifiedDiff, agent: &Agent) -> Option<WorkspacePath> {
    let policies = agent.runtime().gate().policies();
    diff.paths().into_iter().find(|path| policies.hides(path)).cloned()
}

/// An action that touches a path and says nothing of its content: enough for the gate to refuse.
fn touching(path: &WorkspacePath, agent: &Agent) -> Result<Action, Failure> {
    let there = agent.runtime().workspace().entry(path).is_ok_and(|entry| entry.is_some());
    let change = if there {
        Change::Delete { path: path.clone(), before: Digest::of(b"") }
    } else {
        Change::Create {
            path: path.clone(),
            content: lictor::capability::Body::new(*b""),
            mode: None,
        }
    };
    let document = ChangeDocument::seal(None, vec![change]).map_err(Failure::input)?;
    Ok(agent.apply_action(&document)?)
}

fn show(outcome: &Done, output: &Output) {
    output.result(&outcome.to_json(), || {
        let word = if outcome.duplicate { "already applied" } else { "applied" };
        let id = &outcome.record.execution_id;
        let mut text =
            format!("{GREEN}{word}{GREEN:#} {id}\n{}", view::files(&outcome.record.files));
        if outcome.record.files.is_empty() {
            text.push_str("  nothing was left to do: all of it was so already\n");
        } else if !outcome.duplicate {
            text.push_str(&format!("take it back with: lictor undo {id}\n"));
        }
        text
    });
}
