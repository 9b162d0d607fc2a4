//! `halt` and `resume`: the kill switch.

use lictor::ErrorCode;
use lictor::Runtime;
use lictor::context::{HaltId, Name, Session, SessionId, SystemClock};
use lictor::governance::{Halt as Thrown, HaltScope};
use serde_json::json;

use super::Answer;
use crate::args::{Halt, Resume};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{GREEN, Output, RED};

/// Whom the flags of the command line name.
fn scope(context: &Context) -> Result<HaltScope, Failure> {
    let (global, given) = (&context.global, context.global.given);
    let name = |text: Option<&String>, given: bool| -> Result<Option<Name>, Failure> {
        let name = text.filter(|_| given).map(|text| Name::parse(text));
        name.transpose().map_err(|error| Failure::usage(error.to_string()))
    };
    let session = global.session.as_ref().filter(|_| given.session);
    let session = session.map(|id| SessionId::parse(id)).transpose();
    Ok(HaltScope {
        org: name(Some(&global.org), given.org)?,
        user: name(global.user.as_ref(), given.user)?,
        agent: name(Some(&global.agent), given.agent)?,
        session: session.map_err(|error| Failure::usage(error.to_string()))?,
    })
}

/// Who throws the switch: the flags say whom it is to stop, not who speaks.
fn speaker(context: &Context) -> Result<Session, Failure> {
    let given = context.global.given;
    let mut principal = context.principal.clone();
    if given.user {
        principal.user = context.os_user.clone();
    }
    if given.agent {
        principal.agent = Name::parse("cli").map_err(|error| Failure::usage(error.to_string()))?;
    }
    if given.session || given.agent || given.user {
        return Ok(Session::new(principal, &SystemClock));
    }
    context.session()
}

pub(crate) async fn halt(wish: &Halt, context: &Context, output: &Output) -> Answer {
    let scope = scope(context)?;
    if wish.reason.trim().is_empty() {
        return Err(Failure::usage("--reason says why, for whoever is to lift it"));
    }
    let runtime = context.runtime().await?;
    if wish.dry.dry_run {
        output.result(&json!({ "scope": scope }), || format!("would halt {scope}"));
        return Ok(0);
    }
    let session = speaker(context)?;
    let (halt, withdrawn) = runtime.halt(scope, &wish.reason, &session).await?;
    let ids: Vec<_> = withdrawn.iter().map(lictor::governance::Approval::id).collect();
    output.result(&json!({ "halt": halt, "withdrawn": ids }), || {
        let n = ids.len();
        format!(
            "{RED}halted{RED:#} {}: nothing new begins for {}; {n} open request(s) withdrawn\n\
             a person lifts it: lictor resume {}",
            halt.id, halt.scope, halt.id
        )
    });
    Ok(0)
}

pub(crate) async fn resume(wish: &Resume, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    let halt = meant(wish, &runtime)?;
    if wish.dry.dry_run {
        output.result(&json!({ "halt": halt }), || format!("would lift {halt}"));
        return Ok(0);
    }
    let (by, channel) = consent::approver("resume", &runtime, context, output).await?;
    let session = context.session()?;
    let reason = wish.reason.as_deref().unwrap_or_default();
    let lifted = runtime.resume(&halt.id, &by, channel, reason, &session).await?;
    output.result(&json!({ "halt": lifted }), || {
        format!("{GREEN}resumed{GREEN:#}: {} goes on", lifted.scope)
    });
    Ok(0)
}

/// The halt that is to be lifted.
fn meant(wish: &Resume, runtime: &Runtime) -> Result<Thrown, Failure> {
    let all = runtime.halts().in_force().map_err(Failure::failed)?;
    let found = match &wish.id {
        Some(id) => {
            let id = HaltId::parse(id).map_err(|error| Failure::usage(error.to_string()))?;
            all.into_iter().find(|halt| halt.id == id)
        }
        None if all.len() > 1 => {
            let ids: Vec<_> = all.iter().map(|halt| halt.id.as_str()).collect();
            return Err(Failure::usage(format!(
                "several halts are in force; name one of {}",
                ids.join(", ")
            ))
            .with_details(json!({ "halts": ids })));
        }
        None => all.into_iter().next(),
    };
    found.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such halt is in force"))
}
