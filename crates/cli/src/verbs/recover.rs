//! `recover`: transactions first, and then the workflow runs that nobody drives.

use std::fmt::Write as _;

use lictor::ErrorCode;
use lictor::context::RunId;
use lictor::executor::{Recovered, Recovery};
use lictor::workflow::{EngineError, RunRecord, RunStatus};
use serde_json::{Value, json};

use super::Answer;
use super::lock::{lock_of, status};
use super::workflow::is_incomplete;
use crate::args::DryRun;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// How many runs are taken up at a time.
const AT_ONCE: usize = 4;

type Taken = (RunId, Result<RunRecord, EngineError>);

pub(crate) async fn recover(wish: DryRun, context: &Context, output: &Output) -> Answer {
    if wish.dry_run {
        let status = status(&lock_of(context))?;
        output.result(&status, || {
            "would finish or put back what a crash left, if anything".to_owned()
        });
        return Ok(0);
    }
    let runtime = context.runtime().await?;
    // What opening has settled already counts as well: the person asked for it all the same.
    let mut recovered = runtime.recovered().to_vec();
    recovered.extend(runtime.recover().await?);
    let runs = runtime.engine(None).recover(AT_ONCE).await.map_err(Failure::failed)?;
    let executions_json: Vec<Value> = recovered.iter().map(execution_json).collect();
    let runs_json: Vec<Value> = runs.iter().map(run_json).collect();
    let unsettled = recovered.iter().any(|one| one.recovery == Recovery::Incomplete)
        || runs.iter().any(|(_, run)| run.as_ref().map_or(true, is_incomplete));
    if unsettled {
        let mut failure = Failure::new(ErrorCode::Incomplete, "not everything could be settled");
        failure.known.insert("recovered".to_owned(), json!(executions_json));
        failure.known.insert("runs".to_owned(), json!(runs_json));
        if !output.is_json() {
            output.note(&text(&recovered, &runs));
        }
        return Err(failure);
    }
    output.result(&json!({ "recovered": executions_json, "runs": runs_json }), || {
        text(&recovered, &runs)
    });
    Ok(0)
}

fn execution_json(one: &Recovered) -> Value {
    json!({
        "execution_id": one.execution_id, "recovery": one.recovery, "stuck": one.stuck,
        "capability": one.record.as_ref().map(|record| &record.capability),
    })
}

fn run_json((run_id, outcome): &Taken) -> Value {
    match outcome {
        Ok(run) => json!({
            "run_id": run_id, "status": run.status(), "rollback": run.rollback, "run_error": run.error,
        }),
        Err(error) => json!({ "run_id": run_id, "status": null, "problem": error.to_string() }),
    }
}

fn text(recovered: &[Recovered], runs: &[Taken]) -> String {
    if recovered.is_empty() && runs.is_empty() {
        return "there was nothing to recover".to_owned();
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |id: &dyn std::fmt::Display, what: &str| {
        writeln!(text, "{id} {what}").unwrap_or_default();
    };
    for one in recovered {
        line(
            &one.execution_id,
            match one.recovery {
                Recovery::Discarded => "had not begun; what was prepared is gone",
                Recovery::Finished => "finished",
                Recovery::PutBack => "put back",
                Recovery::Incomplete => "NOT SETTLED",
            },
        );
    }
    for (run_id, outcome) in runs {
        match outcome {
            Err(error) => line(run_id, &format!("NOT TAKEN UP: {error}")),
            Ok(run) if is_incomplete(run) => line(run_id, "NOT TAKEN BACK IN FULL"),
            Ok(run) => line(
                run_id,
                match run.status() {
                    RunStatus::Completed => "completed",
                    RunStatus::RolledBack => "taken back",
                    RunStatus::Paused => "waits",
                    _ => "ended",
                },
            ),
        }
    }
    text
}
