//! `grants`: what people agreed to in advance.

use lictor::Runtime;
use lictor::context::{Event, EventFacts, EventType, GrantId, Session};
use lictor::document::HumanDuration;
use lictor::governance::{Grant, GrantTerms, visible};
use serde_json::{Value, json};

use super::Answer;
use super::approvals::approval_failure;
use crate::args::{Approve, Grants};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// What `approve --grant` says.
pub(super) fn terms(wish: &Approve) -> Result<Option<GrantTerms>, Failure> {
    let (true, Some(until)) = (wish.grant, &wish.until) else { return Ok(None) };
    let lasts: HumanDuration = until
        .parse()
        .map_err(|error| Failure::usage(format!("`{}`: {error}", until.escape_debug())))?;
    Ok(Some(GrantTerms { paths: wish.paths.clone(), lasts: lasts.as_duration(), uses: wish.uses }))
}

/// A grant was given.
pub(super) fn created(grant: &Grant, session: &Session, runtime: &Runtime) -> Event {
    event(EventType::GrantCreated, grant, session, runtime)
}

fn event(kind: EventType, grant: &Grant, session: &Session, runtime: &Runtime) -> Event {
    let mut facts = EventFacts {
        action_name: Some(grant.capability().to_owned()),
        success: Some(true),
        ..EventFacts::default()
    };
    facts.metadata.insert("grant".to_owned(), json!(grant));
    Event::new(session, kind, facts, runtime.clock().as_ref())
}

pub(crate) async fn grants(wish: Grants, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    match wish {
        Grants::List { all } => {
            let found = runtime.approvals().grants().map_err(approval_failure)?;
            let found: Vec<_> =
                found.into_iter().filter(|(_, state)| all || *state == "open").collect();
            let list: Vec<Value> = found.iter().map(|(grant, state)| shown(grant, state)).collect();
            output.result(&json!({ "grants": list }), || {
                if found.is_empty() {
                    return "nothing is agreed to in advance".to_owned();
                }
                found.iter().map(|(grant, state)| line(grant, state)).collect()
            });
        }
        Grants::Revoke { id, dry } => {
            let id = GrantId::parse(&id).map_err(|error| Failure::usage(error.to_string()))?;
            if dry.dry_run {
                output.result(&json!({ "id": id }), || format!("would take back {id}"));
                return Ok(0);
            }
            let revoked = runtime.approvals().revoke_grant(&id, &context.principal.user);
            let revoked = revoked.map_err(approval_failure)?;
            let session = context.session()?;
            let event = event(EventType::GrantRevoked, &revoked, &session, &runtime);
            runtime.record(vec![event]).await?;
            output.result(&shown(&revoked, "revoked"), || format!("{id} is taken back"));
        }
    }
    Ok(0)
}

fn shown(grant: &Grant, state: &str) -> Value {
    let mut json = json!(grant);
    if let Value::Object(record) = &mut json {
        record.insert("state".to_owned(), json!(state));
    }
    json
}

fn line(grant: &Grant, state: &str) -> String {
    let principal = grant.principal();
    let uses = grant.max_uses().map_or_else(String::new, |most| format!(" of {most}"));
    let paths = visible(&grant.paths().join(" "));
    format!(
        "{} {state:<14} {} for {}/{}, by {}, until {}, used {}{uses}: {paths}\n",
        grant.id(),
        grant.capability(),
        principal.user,
        principal.agent,
        grant.granted_by().approver,
        grant.until(),
        grant.uses(),
    )
}
