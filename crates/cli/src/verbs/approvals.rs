//! `approvals` and `approvers`.

use std::path::Path;

use lictor::context::{ApprovalId, Event, EventFacts, EventType, Name};
use lictor::document::{Limits, from_json};
use lictor::governance::{
    Approval, ApprovalError, ApproverError, ApproverStoreError, Channel, Grant, GrantRefused,
    GrantTerms, JudgedError, PinError, Proof, ProvenApprover, SignedAnswer,
};
use lictor::{ErrorCode, Runtime};
use serde_json::{Value, json};

use super::{Answer, grants, view};
use crate::args::{Answer as Reply, Approvals, Approvers, DryRun};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{GREEN, Output, at_terminal, visible};
use crate::page::page;
use crate::pin;

/// The most that a signed answer may hold.
const MAX_ANSWER: u64 = 64 << 10;

pub(crate) async fn approvals(wish: Approvals, context: &Context, output: &Output) -> Answer {
    match wish {
        Approvals::List { all } => list(all, context, output).await,
        Approvals::Show(id) => {
            let asked = Asked::read(&context.runtime().await?, &id.id)?;
            if output.is_json() {
                output.result(&asked.to_json(), String::new);
            } else {
                page(&asked.full(), output);
            }
            Ok(0)
        }
        Approvals::Approve(wish) => {
            let runtime = context.runtime().await?;
            let terms = grants::terms(&wish)?;
            let how = How::Agree { terms };
            answer(&runtime, wish.answer, how, context, output).await
        }
        Approvals::Deny(reply) => {
            answer(&context.runtime().await?, reply, How::Refuse, context, output).await
        }
        Approvals::Answer { file, dry } => {
            take(&context.runtime().await?, &file, dry, context, output).await
        }
        Approvals::Cancel(reply) => {
            cancel(&context.runtime().await?, &reply, context, output).await
        }
    }
}

async fn list(all: bool, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let found = records.approvals(!all).map_err(Failure::failed)?;
    output.result(&json!({ "approvals": found }), || {
        if found.is_empty() {
            return "nothing waits for an answer".to_owned();
        }
        found.iter().map(summary).collect()
    });
    Ok(0)
}

fn get(runtime: &Runtime, id: &str) -> Result<Approval, Failure> {
    let id = ApprovalId::parse(id).map_err(|error| Failure::usage(error.to_string()))?;
    runtime.approvals().get(&id).map_err(approval_failure)
}

pub(super) fn approval_failure(error: ApprovalError) -> Failure {
    let code = match &error {
        ApprovalError::Unknown { .. } | ApprovalError::UnknownGrant { .. } => ErrorCode::NotFound,
        ApprovalError::Grant(GrantRefused::Pattern { .. } | GrantRefused::NoEnd) => {
            ErrorCode::InvalidInput
        }
        ApprovalError::PolicyChanged
        | ApprovalError::OtherDecision
        | ApprovalError::Judged(JudgedError::Damaged { .. }) => ErrorCode::Integrity,
        ApprovalError::NotAsked { .. }
        | ApprovalError::Refused(_)
        | ApprovalError::Grant(_)
        | ApprovalError::NoGrants
        | ApprovalError::Ask(_)
        | ApprovalError::Judged(_) => ErrorCode::Denied,
        ApprovalError::Store(_) => ErrorCode::Failed,
    };
    Failure::new(code, error.to_string())
}

/// Anybody may withdraw a request: the most that comes of it is that nothing happens.
async fn cancel(runtime: &Runtime, reply: &Reply, context: &Context, output: &Output) -> Answer {
    let asked = Asked::read(runtime, &reply.id)?;
    if reply.dry.dry_run {
        output.result(&asked.to_json(), || asked.full());
        return Ok(0);
    }
    let reason = reply.reason.as_deref().unwrap_or("it is not wanted any more");
    let session = context.session()?;
    let withdrawn = runtime.withdraw_approval(asked.approval.id(), reason, &session).await?;
    output.result(&json!(withdrawn), || format!("{} is withdrawn", withdrawn.id()));
    Ok(0)
}

/// An answer that was given elsewhere. Anybody may bring it: its signature says whose it is.
async fn take(
    runtime: &Runtime,
    file: &Path,
    dry: DryRun,
    context: &Context,
    output: &Output,
) -> Answer {
    let given = files::read(file, MAX_ANSWER)?;
    let source = given.source();
    let signed: SignedAnswer = from_json(&source, &Limits::default())
        .map_err(|error| Failure::input(error.to_string()))?;
    if dry.dry_run {
        // Whether its signature holds is seen when it is taken.
        let asked = Asked::read(runtime, signed.answer.approval_id.as_str())?;
        output.result(&asked.to_json(), || asked.full());
        return Ok(0);
    }
    let session = context.session()?;
    match runtime.take_answer(&signed, &session).await {
        Ok(settled) => {
            output.result(&json!(settled), || answered(&settled));
            Ok(0)
        }
        Err(error) => {
            Err(consent::refused("approvals.answer", error.into(), runtime, context).await)
        }
    }
}

fn answered(settled: &Approval) -> String {
    let given = settled.granted_by().len();
    format!(
        "{GREEN}{}{GREEN:#} {} ({given} of {} given)\nrepeat the call that asked for it",
        settled.state().as_str(),
        settled.id(),
        settled.needed()
    )
}

/// What a person answers.
enum How {
    /// Yes; with terms also in advance to what is like it.
    Agree {
        /// How far.
        terms: Option<GrantTerms>,
    },
    /// No.
    Refuse,
}

async fn answer(
    runtime: &Runtime,
    reply: Reply,
    how: How,
    context: &Context,
    output: &Output,
) -> Answer {
    let asked = Asked::read(runtime, &reply.id)?;
    if reply.dry.dry_run {
        output.result(&asked.to_json(), || asked.full());
        return Ok(0);
    }
    let approval = &asked.approval;
    let agree = !matches!(how, How::Refuse);
    let what = if agree { "approvals.approve" } else { "approvals.deny" };
    consent::show_before(what, &asked.full(), runtime, context, output).await?;
    let (approver, channel) = consent::answering(what, runtime, context, output).await?;
    let reason = reply.reason.as_deref().unwrap_or_default();
    let (approvals, id) = (runtime.approvals(), approval.id());
    let settled = match &how {
        How::Agree { terms: None } => {
            approvals.grant(id, &approver, channel).map(|approval| (approval, None))
        }
        How::Agree { terms: Some(terms) } => approvals
            .grant_in_advance(id, &approver, channel, terms)
            .map(|(approval, grant)| (approval, Some(grant))),
        How::Refuse => approvals.deny(id, &approver, reason).map(|approval| (approval, None)),
    };
    let (settled, grant) = match settled {
        Ok(settled) => settled,
        Err(error) => {
            return Err(consent::refused(what, approval_failure(error), runtime, context).await);
        }
    };
    let kind = if agree { EventType::ApprovalGranted } else { EventType::ApprovalDenied };
    let mut facts = EventFacts {
        action_name: Some(settled.action().capability.clone()),
        action_params: Some(settled.action().input.clone()),
        decision_id: Some(settled.decision().id.clone()),
        requires_approval: Some(true),
        approval_granted: Some(agree),
        ..EventFacts::default()
    };
    let about = json!({
        "id": settled.id(), "approver": approver.name(), "channel": channel, "reason": reason,
        "needed": settled.needed(), "granted_by": settled.granted_by(),
        "action_digest": settled.action_digest(),
    });
    facts.metadata.insert("approval".to_owned(), about);
    let session = context.session()?;
    let mut events = vec![Event::new(&session, kind, facts, runtime.clock().as_ref())];
    events.extend(grant.as_ref().map(|grant| grants::created(grant, &session, runtime)));
    runtime.record(events).await?;
    let mut json = json!(settled);
    if let (Value::Object(record), Some(grant)) = (&mut json, &grant) {
        record.insert("grant".to_owned(), json!(grant));
    }
    output.result(&json, || answered(&settled));
    Ok(0)
}

fn summary(approval: &Approval) -> String {
    let by = approval.requested_by();
    format!(
        "{} {:<8} {} asked by {}/{} ({} of {} given, until {})\n",
        approval.id(),
        approval.state().as_str(),
        visible(&approval.action().capability),
        by.user,
        by.agent,
        approval.granted_by().len(),
        approval.needed(),
        approval.expires_at()
    )
}

/// A request, with what people are shown of it.
struct Asked {
    approval: Approval,
    /// Made from what was judged, as it is kept with the request; nothing once it is settled.
    view: Option<String>,
}

impl Asked {
    fn read(runtime: &Runtime, id: &str) -> Result<Self, Failure> {
        let approval = get(runtime, id)?;
        let view = runtime.approvals().view(approval.id()).map_err(approval_failure)?;
        Ok(Self { approval, view })
    }

    fn to_json(&self) -> Value {
        let mut json = json!(self.approval);
        if let (Value::Object(record), Some(view)) = (&mut json, &self.view) {
            record.insert("view".to_owned(), json!(view));
        }
        json
    }

    fn full(&self) -> String {
        let approval = &self.approval;
        let by = approval.requested_by();
        let (id, state) = (approval.id(), approval.state().as_str());
        let mut text = format!("{id} ({state}), asked by {}/{} of {}", by.user, by.agent, by.org);
        text.push_str(&format!(" at {}\n", approval.requested_at()));
        match &self.view {
            Some(view) => text.push_str(view),
            None => {
                let action = approval.action();
                let what = format!("{} {}", action.capability, action.version);
                text.push_str(&format!("{}\n{}", visible(&what), view::asked_about(&action.files)));
                text.push_str("what it was in full is not kept, because it is settled\n");
            }
        }
        text.push_str(&visible(&approval.decision().explain()));
        text
    }
}

pub(crate) async fn approvers(wish: Approvers, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    match wish {
        Approvers::List => {
            let found = runtime.approvers().list().map_err(approver_failure)?;
            let shown: Vec<Value> = found
                .iter()
                .map(|one| {
                    json!({
                        "name": one.name, "roles": one.roles, "added_by": one.added_by,
                        "added_at": one.added_at, "revoked_at": one.revoked_at,
                    })
                })
                .collect();
            output.result(&json!({ "approvers": shown }), || {
                let line = |one: &lictor::governance::ApproverRecord| {
                    let state = if one.revoked_at.is_some() { "revoked" } else { "active" };
                    format!("{:<20} {state}\n", one.name)
                };
                found.iter().map(line).collect()
            });
        }
        Approvers::Add { name, role, dry } => {
            let parse = |text: &String| {
                Name::parse(text).map_err(|error| Failure::usage(error.to_string()))
            };
            let name = parse(&name)?;
            let roles = role.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            if dry.dry_run {
                output.result(&json!({ "name": name }), || format!("would enrol `{name}`"));
                return Ok(0);
            }
            let what = "approvers.add";
            let (by, channel) = consent::approver(what, &runtime, context, output).await?;
            let params = json!({ "name": name, "roles": roles });
            let (record, token) = match runtime.enroll_approver(name, roles, &by) {
                Ok(enrolled) => enrolled,
                Err(error) => {
                    let failure = approver_failure(error);
                    return Err(consent::refused(what, failure, &runtime, context).await);
                }
            };
            record_done(what, params, (&by, channel), &runtime, context).await?;
            let json = json!({ "name": record.name, "token": token.expose() });
            output.result(&json, || {
                format!(
                    "{} may approve. Their token, shown only now:\n\n  {}",
                    record.name,
                    token.expose()
                )
            });
        }
        Approvers::Pin(dry) => return set_pin(dry.dry_run, &runtime, context, output).await,
        Approvers::Revoke { name, dry } => {
            let name = Name::parse(&name).map_err(|error| Failure::usage(error.to_string()))?;
            if dry.dry_run {
                output.result(&json!({ "name": name }), || format!("would revoke `{name}`"));
                return Ok(0);
            }
            let what = "approvers.revoke";
            let (by, channel) = consent::approver(what, &runtime, context, output).await?;
            let session = context.session()?;
            let revoked = match runtime.revoke_approver(&name, &by, &session).await? {
                Ok(revoked) => revoked,
                Err(error) => {
                    let failure = approver_failure(error);
                    return Err(consent::refused(what, failure, &runtime, context).await);
                }
            };
            let grants: Vec<_> = revoked.grants.iter().map(Grant::id).collect();
            let withdrawn: Vec<_> = revoked.withdrawn.iter().map(Approval::id).collect();
            let params = json!({ "name": name, "grants": grants, "withdrawn": withdrawn });
            record_done(what, params, (&by, channel), &runtime, context).await?;
            let json = json!({
                "name": name, "revoked": true, "grants": grants, "withdrawn": withdrawn,
            });
            output.result(&json, || {
                let (grants, withdrawn) = (grants.len(), withdrawn.len());
                format!(
                    "`{name}` may not approve any more; ended with it: {grants} grant(s), {withdrawn} open request(s)"
                )
            });
        }
    }
    Ok(0)
}

/// Somebody sets their own PIN.
async fn set_pin(dry: bool, runtime: &Runtime, context: &Context, output: &Output) -> Answer {
    let what = "approvers.pin";
    if dry {
        output.result(&json!({ "name": context.os_user }), || "would ask for a PIN".to_owned());
        return Ok(0);
    }
    if !at_terminal() || output.is_json() {
        let failure = Failure::new(ErrorCode::Denied, "a PIN is typed at a terminal");
        return Err(consent::refused(what, failure, runtime, context).await);
    }
    let (by, channel) = consent::answering(what, runtime, context, output).await?;
    let set = match by.proof() {
        Proof::Terminal | Proof::Elicited => Err(PinError::NotProven.into()),
        _ => {
            let pin = pin::ask("The new PIN, six characters at least; it is not shown:", output)?;
            let again = pin::ask("The same again:", output)?;
            if *pin != *again {
                return Err(Failure::input("these are two PINs; nothing was changed"));
            }
            runtime.approvers().set_pin(&by, &pin)
        }
    };
    if let Err(error) = set {
        return Err(consent::refused(what, approver_failure(error), runtime, context).await);
    }
    let params = json!({ "name": by.name() });
    record_done(what, params, (&by, channel), runtime, context).await?;
    let name = by.name().clone();
    output.result(&json!({ "name": name, "pin": true }), || {
        format!("`{name}` is asked for the PIN at a terminal from now on")
    });
    Ok(0)
}

/// Who may approve has changed: that stands in the trail like anything else that was done.
pub(super) async fn record_done(
    what: &str,
    params: Value,
    (by, channel): (&ProvenApprover, Channel),
    runtime: &Runtime,
    context: &Context,
) -> Result<(), Failure> {
    let mut facts = EventFacts {
        action_name: Some(what.to_owned()),
        action_params: Some(params),
        success: Some(true),
        ..EventFacts::default()
    };
    let about = json!({ "approver": by.name(), "channel": channel });
    facts.metadata.insert("approval".to_owned(), about);
    let session = context.session()?;
    let event = Event::new(&session, EventType::ActionCompleted, facts, runtime.clock().as_ref());
    Ok(runtime.record(vec![event]).await?)
}

fn approver_failure(error: ApproverError) -> Failure {
    let code = match &error {
        ApproverError::NotRecognised
        | ApproverError::Revoked
        | ApproverError::WrongCode
        | ApproverError::PinMissing
        | ApproverError::NotEnrolling { .. }
        | ApproverError::Pin(
            PinError::NotProven | PinError::Wrong { .. } | PinError::Locked { .. },
        ) => ErrorCode::Denied,
        ApproverError::Pin(PinError::Weak)
        | ApproverError::Last
        | ApproverError::Store(ApproverStoreError::Exists) => ErrorCode::InvalidInput,
        ApproverError::Store(ApproverStoreError::Unknown) => ErrorCode::NotFound,
        ApproverError::Pin(PinError::Hash(_) | PinError::Store(_))
        | ApproverError::Randomness(_)
        | ApproverError::Store(ApproverStoreError::Unavailable(_)) => ErrorCode::Failed,
    };
    Failure::new(code, error.to_string())
}
