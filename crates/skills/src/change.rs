//! `change.apply`: a change set that comes with the action.

use lictor_capability::{Action, ChangeSet, Effects, Plan, WorkspaceView};
use lictor_context::{ChangeSetId, Digest, PlanId};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::skill::{Skill, changing, parse};

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    change_set: Named<'a>,
    plan: Value,
}

#[derive(Deserialize)]
struct Named<'a> {
    id: &'a str,
    plan_id: &'a str,
    checksum: &'a str,
}

pub(crate) struct Apply;

impl Skill for Apply {
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let change_set = attached(request.action, request.input())?;
        changing(change_set.changes(), request.view)
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        Ok(json!({ "change_set_id": input.change_set.id, "files": effects.changes.files() }))
    }
}

/// The change set that the action brings. The input, which approvals show and bind to, has to be
/// about the very same plan and changes.
fn attached<'a>(action: &'a Action, input: &Value) -> Result<&'a ChangeSet, HandlerError> {
    let (Some(plan), Some(change_set)) = (action.plan(), action.change_set()) else {
        return Err(HandlerError::input(
            "the action brings no change set; give the plan and the change set as one document",
        ));
    };
    let Input { change_set: named, plan: stated } = parse(input)?;
    let other = |what: &str| {
        Err(HandlerError::input(format!(
            "{what} in the input is not the one that the action brings; both have to be about the \
             same plan and changes"
        )))
    };
    if !ChangeSetId::parse(named.id).is_ok_and(|id| id == *change_set.id()) {
        return other("`change_set.id`");
    }
    if !PlanId::parse(named.plan_id).is_ok_and(|id| id == *change_set.plan_id()) {
        return other("`change_set.plan_id`");
    }
    if !Digest::parse(named.checksum).is_ok_and(|checksum| checksum == change_set.checksum()) {
        return other("`change_set.checksum`");
    }
    if !Plan::deserialize(stated).is_ok_and(|stated| stated == *plan) {
        return other("`plan`");
    }
    if plan.id != *change_set.plan_id() {
        return Err(HandlerError::input("the change set belongs to another plan"));
    }
    Ok(change_set)
}
