//! Checks on the staged tree: a private copy of the workspace with the change in it, before
//! anything of the change is visible. What fails here has nothing to take back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lictor_capability::Described;
use lictor_context::WorkspacePath;

use crate::check::{Check, CheckReport, Deadline, run_all};
use crate::error::{ExecuteError, ExecuteErrorKind};
use crate::port::{ApplyError, StagedTree, ToStage};
use crate::record::ExecutionRecord;
use crate::service::{Executor, blocking};

impl Executor {
    /// Makes the checks that want the staged tree, all on one copy. It is gone when this answers.
    pub(crate) async fn check_staged(
        &self,
        described: &Described,
        record: &ExecutionRecord,
        checks: &[Check],
        deadline: Deadline<'_>,
    ) -> Result<Vec<CheckReport>, ExecuteError> {
        if checks.is_empty() {
            return Ok(Vec::new());
        }
        let fail = |kind| ExecuteError::not_begun(kind).with_record(record.clone());
        let Some(tree) = self.stage_tree(described, record, checks, deadline).await? else {
            let over = self.in_time(record, deadline).err();
            let over = over.unwrap_or_else(|| ExecuteErrorKind::Stopped("staging".to_owned()));
            return Err(fail(over));
        };
        let (reports, passed) = run_all(checks, &[], deadline, Some(tree.path())).await;
        remove(tree).await;
        if passed {
            return Ok(reports);
        }
        let failed = reports.iter().find(|check| !check.passed);
        let (name, detail) = failed
            .map(|check| (check.name.clone(), check.reason()))
            .unwrap_or_else(|| ("unknown".to_owned(), String::new()));
        Err(fail(ExecuteErrorKind::Check { name, detail }).checked(reports))
    }

    /// `None` when the time of the whole execution was over before it was made.
    async fn stage_tree(
        &self,
        described: &Described,
        record: &ExecutionRecord,
        checks: &[Check],
        deadline: Deadline<'_>,
    ) -> Result<Option<Box<dyn StagedTree>>, ExecuteError> {
        let wish = Arc::new(ToStage {
            execution: record.execution_id.clone(),
            changes: described.effects().changes.clone(),
            leave_out: all_leave_out(checks),
            stop: AtomicBool::new(false),
        });
        let (applier, wished) = (Arc::clone(&self.parts.applier), Arc::clone(&wish));
        let mut staging = Box::pin(blocking(move || applier.stage_tree(&wished)));
        let staged = match tokio::time::timeout(deadline.at_most(Duration::MAX), &mut staging).await
        {
            Ok(staged) => staged,
            Err(_) => {
                wish.stop.store(true, Ordering::Relaxed);
                let staged = staging.await.map_err(|error| error.with_record(record.clone()))?;
                if let Ok(tree) = staged {
                    remove(tree).await;
                }
                return Ok(None);
            }
        };
        let staged = staged.map_err(|error| error.with_record(record.clone()))?;
        staged.map(Some).map_err(|error: ApplyError| {
            ExecuteError::not_begun(ExecuteErrorKind::Apply(error)).with_record(record.clone())
        })
    }
}

/// What none of the checks needs.
fn all_leave_out(checks: &[Check]) -> Vec<WorkspacePath> {
    let mut wishes = checks.iter().filter_map(|check| check.staged.as_ref());
    let mut all = wishes.next().map(|staged| staged.leave_out.clone()).unwrap_or_default();
    for other in wishes {
        all.retain(|path| other.leave_out.iter().any(|left_out| path.is_within(left_out)));
    }
    all
}

async fn remove(tree: Box<dyn StagedTree>) {
    match tokio::task::spawn_blocking(move || tree.remove()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a staged tree is left for the next recovery"),
        Err(error) => tracing::warn!(%error, "a staged tree is left for the next recovery"),
    }
}
