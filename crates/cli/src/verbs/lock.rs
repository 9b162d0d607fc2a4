//! `lock`.

use lictor::ErrorCode;
use lictor::context::{Event, EventFacts, EventType};
use lictor::lock::{BreakErrorKind, Broken, Status, WorkspaceLock};
use serde_json::{Value, json};

use super::Answer;
use crate::args::Lock;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn lock_of(context: &Context) -> WorkspaceLock {
    WorkspaceLock::new(context.workspace.join(".lictor/lock"))
}

pub(super) fn status(lock: &WorkspaceLock) -> Result<Value, Failure> {
    Ok(match lock.status().map_err(Failure::failed)? {
        Status::Free { last } => json!({ "held": false, "last": last }),
        Status::Held { holder } => json!({ "held": true, "holder": holder }),
    })
}

async fn lock_status(context: &Context, output: &Output) -> Answer {
    let lock = lock_of(context);
    let json = status(&lock)?;
    output.result(&json, || match lock.status() {
        Ok(Status::Free { last: None }) => "free; nobody held it yet".to_owned(),
        Ok(Status::Free { last: Some(last) }) if last.released => {
            format!("free; last held by {last}")
        }
        Ok(Status::Free { last: Some(last) }) => {
            format!("free; its last holder died: {last}\nthe next start recovers what it left")
        }
        Ok(Status::Held { holder: Some(holder) }) => format!("held by {holder}"),
        Ok(Status::Held { holder: None }) => "held, and the holder is not known".to_owned(),
        Err(error) => error.to_string(),
    });
    Ok(0)
}

pub(crate) async fn lock(wish: &Lock, context: &Context, output: &Output) -> Answer {
    let (execution, force, dry) = match wish {
        Lock::Status => return lock_status(context, output).await,
        Lock::Break { execution, force, dry } => (execution, *force, dry.dry_run),
    };
    if dry {
        return lock_status(context, output).await;
    }
    let lock = lock_of(context);
    // Without a name, whoever is shown there is meant.
    let shown = match lock.status().map_err(Failure::failed)? {
        Status::Free { last } => last,
        Status::Held { holder } => holder,
    };
    let execution = execution.clone().or_else(|| shown.map(|holder| holder.execution));
    let broken = lock.break_lock(execution.as_deref(), force).map_err(|error| {
        let code = match error.kind() {
            BreakErrorKind::Held { .. } | BreakErrorKind::Contended => ErrorCode::Busy,
            BreakErrorKind::OtherExecution { .. } => ErrorCode::Conflict,
            BreakErrorKind::Io(_) => ErrorCode::Failed,
        };
        Failure::new(code, format!("{error}: {}", error.kind())).with_step("lictor lock status")
    })?;
    let (what, holder) = match &broken {
        Broken::Nothing => ("nothing", None),
        Broken::Stale(holder) => ("stale", Some(holder)),
        Broken::Forced(holder) => ("forced", holder.as_ref()),
    };
    if !matches!(broken, Broken::Nothing) {
        let runtime = context.runtime().await?;
        let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
        facts.metadata.insert("broken".to_owned(), json!({ "how": what, "holder": holder }));
        let session = context.session()?;
        let event = Event::new(&session, EventType::LockBroken, facts, runtime.clock().as_ref());
        runtime.record(vec![event]).await?;
    }
    let json = json!({ "broken": what, "holder": holder });
    output.result(&json, || match holder {
        Some(holder) => format!("broken ({what}): {holder}"),
        None => "there was nothing to break".to_owned(),
    });
    Ok(0)
}
