//! `mcp clients`: who may come in over HTTP.

use lictor::context::{Event, EventFacts, EventType, Principal};
use lictor::governance::{ClientError, ClientRecord, ClientStoreError};
use lictor::{ErrorCode, Runtime};
use serde_json::{Value, json};

use super::Answer;
use crate::context::Context;
use crate::failure::Failure;
use crate::mcp_args::McpClients;
use crate::output::Output;

pub(crate) async fn clients(
    wish: McpClients,
    principal: Principal,
    context: &Context,
    output: &Output,
) -> Answer {
    let runtime = context.runtime().await?;
    match wish {
        McpClients::List => list(&runtime, output),
        McpClients::Add(dry) => {
            if dry.dry_run {
                let json = json!({ "client": principal });
                output.result(&json, || format!("would let `{}` in", named(&principal)));
                return Ok(0);
            }
            let token = runtime.clients().add(principal.clone()).map_err(failure)?;
            record("mcp.clients.add", &principal, &runtime, context).await?;
            let json = json!({ "client": principal, "token": token.expose() });
            output.result(&json, || shown_once(&principal, token.expose()));
            Ok(0)
        }
        McpClients::Revoke(dry) => {
            let json = json!({ "client": principal, "revoked": !dry.dry_run });
            if dry.dry_run {
                output.result(&json, || format!("would revoke `{}`", named(&principal)));
                return Ok(0);
            }
            runtime.clients().revoke(&principal).map_err(failure)?;
            record("mcp.clients.revoke", &principal, &runtime, context).await?;
            output.result(&json, || format!("`{}` does not come in any more", named(&principal)));
            Ok(0)
        }
    }
}

fn list(runtime: &Runtime, output: &Output) -> Answer {
    let found = runtime.clients().list().map_err(failure)?;
    let about = |one: &ClientRecord| -> Value {
        json!({
            "client": one.principal, "added_at": one.added_at, "revoked_at": one.revoked_at,
        })
    };
    let shown: Vec<Value> = found.iter().map(about).collect();
    output.result(&json!({ "clients": shown }), || {
        let line = |one: &ClientRecord| {
            let state = if one.revoked_at.is_some() { "revoked" } else { "active" };
            format!("{:<40} {state}\n", named(&one.principal))
        };
        found.iter().map(line).collect()
    });
    Ok(0)
}

/// The token of a client, for people.
pub(crate) fn shown_once(principal: &Principal, token: &str) -> String {
    format!("`{}` may come in. Its token, shown only now:\n\n  {token}\n", named(principal))
}

fn named(principal: &Principal) -> String {
    format!("{}/{}/{}", principal.org, principal.user, principal.agent)
}

/// Who may come in has changed: that stands in the trail like anything else that was done.
pub(crate) async fn record(
    what: &str,
    principal: &Principal,
    runtime: &Runtime,
    context: &Context,
) -> Result<(), Failure> {
    let facts = EventFacts {
        action_name: Some(what.to_owned()),
        action_params: Some(json!({ "client": principal })),
        success: Some(true),
        ..EventFacts::default()
    };
    let session = context.session()?;
    let event = Event::new(&session, EventType::ActionCompleted, facts, runtime.clock().as_ref());
    Ok(runtime.record(vec![event]).await?)
}

pub(crate) fn failure(error: ClientError) -> Failure {
    let code = match &error {
        ClientError::NotRecognised => ErrorCode::Denied,
        ClientError::Store(ClientStoreError::Exists) => ErrorCode::InvalidInput,
        ClientError::Store(ClientStoreError::Unknown) => ErrorCode::NotFound,
        ClientError::Randomness(_) | ClientError::Store(ClientStoreError::Unavailable(_)) => {
            ErrorCode::Failed
        }
    };
    Failure::new(code, error.to_string())
}
