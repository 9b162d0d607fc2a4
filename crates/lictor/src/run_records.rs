//! What is kept of runs in clear, and what is not.
//!
//! A run has to outlive its process, so everything that its templates see is in its record: what it
//! was given, what its steps gave. Where something in there is what the trail leaves out (a key that
//! names a secret, a pattern, a secret that was declared), the record in the database is without
//! it, and the whole record lies beside it, sealed under the key of whoever submitted the run. That key
//! lies outside of the workspace. Erasing the person erases it; so does time, once the run is over
//! and nothing of it can be undone any more.

use lictor_audit::{AuditLog, ContentError, Redactor};
use lictor_context::{Name, RunId};
use lictor_state::{KeptRun, RunRow, Runs};
use lictor_workflow::{AttemptRecord, EffectState, RunRecord, StepRecord, StoreError};
use serde_json::Value;

use crate::options::OpenError;
use crate::runtime::Runtime;

/// Records of an older version that are looked at in one transaction.
const AT_ONCE: u32 = 200;

/// What the whole record of a run is sealed for.
fn purpose(id: &RunId) -> String {
    format!("lictor/run/v1 {id}")
}

fn submitter(run: &RunRecord) -> (&Name, &Name) {
    (&run.session.principal.org, &run.session.principal.user)
}

fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// A run as it is kept, without what `redactor` leaves out.
pub(crate) fn row(
    audit: &AuditLog,
    redactor: &Redactor,
    place: &str,
    run: &RunRecord,
) -> Result<RunRow, StoreError> {
    let whole = serde_json::to_string(run).map_err(unavailable)?;
    let (record, sealed) = if hides(run, redactor) {
        let sealed = audit.seal_content(submitter(run), &purpose(&run.run_id), whole.as_bytes());
        let sealed = sealed.map_err(|error| {
            let help = "it holds a secret; give it as {secret: NAME}";
            unavailable(format!("the run cannot be kept ({help}): {error}"))
        })?;
        // What the run has as a secret under its name is one wherever a template has put it.
        let named = values(run).flat_map(|value| redactor.named(value));
        let redactor = redactor.clone().and(named).map_err(unavailable)?;
        (serde_json::to_string(&shown(run, &redactor)).map_err(unavailable)?, Some(sealed))
    } else {
        (whole, None)
    };
    Ok(RunRow {
        id: run.run_id.clone(),
        place: place.to_owned(),
        revision: run.revision,
        status: run.status().as_str().to_owned(),
        created_at: run.created_at.as_micros(),
        over_at: run.ended_at.map(lictor_context::Timestamp::as_micros),
        record,
        sealed,
    })
}

/// A run that was kept, in clear as far as it was.
pub(crate) fn in_clear(kept: &KeptRun) -> Result<RunRecord, StoreError> {
    serde_json::from_str(&kept.record).map_err(unavailable)
}

/// A run that was kept, whole. [`StoreError::Gone`] when what was sealed of it is erased.
pub(crate) fn whole(audit: &AuditLog, kept: &KeptRun) -> Result<RunRecord, StoreError> {
    let run = in_clear(kept)?;
    let Some(sealed) = &kept.sealed else { return Ok(run) };
    let gone = |reason: String| StoreError::Gone { run_id: run.run_id.clone(), reason };
    if sealed.is_empty() {
        return Err(gone("its secrets were kept for as long as it could be undone".to_owned()));
    }
    match audit.open_content(submitter(&run), &purpose(&run.run_id), sealed) {
        Ok(whole) => serde_json::from_slice(&whole).map_err(unavailable),
        Err(error @ ContentError::Erased { .. }) => Err(gone(error.to_string())),
        Err(error) => Err(unavailable(error)),
    }
}

/// What a run was given and what its steps gave.
pub(crate) fn values(run: &RunRecord) -> impl Iterator<Item = &Value> {
    let steps = run.steps.iter();
    let steps = steps.flat_map(|step| {
        [Some(&step.output), step.item.as_ref().map(|item| &item.value)].into_iter().flatten()
    });
    [&run.input, &run.output].into_iter().chain(steps)
}

/// Whether something of a run is not to be kept in clear.
fn hides(run: &RunRecord, redactor: &Redactor) -> bool {
    let attempt = |attempt: &AttemptRecord| {
        attempt.error.as_ref().is_some_and(|error| redactor.hides_text(&error.message))
            || stuck(&attempt.effect).iter().any(|text| redactor.hides_text(text))
    };
    let step = |step: &StepRecord| {
        step.error.as_ref().is_some_and(|error| redactor.hides_text(&error.message))
            || step.attempts.iter().chain(&step.compensation).any(attempt)
    };
    values(run).any(|value| redactor.hides(value))
        || redactor.hides_text(&run.workflow.source)
        || run.error.as_ref().is_some_and(|error| redactor.hides_text(&error.message))
        || run.rollback.stuck.iter().any(|one| redactor.hides_text(&one.reason))
        || run.steps.iter().any(step)
}

/// The run without what is not to be kept in clear.
fn shown(run: &RunRecord, redactor: &Redactor) -> RunRecord {
    let hide = |text: &mut String| *text = redactor.text(text);
    let mut run = run.clone();
    run.input = redactor.value(&run.input);
    run.output = redactor.value(&run.output);
    hide(&mut run.workflow.source);
    run.error.iter_mut().for_each(|error| hide(&mut error.message));
    run.rollback.stuck.iter_mut().for_each(|one| hide(&mut one.reason));
    for step in &mut run.steps {
        step.output = redactor.value(&step.output);
        step.item.iter_mut().for_each(|item| item.value = redactor.value(&item.value));
        step.error.iter_mut().for_each(|error| hide(&mut error.message));
        for attempt in step.attempts.iter_mut().chain(&mut step.compensation) {
            attempt.error.iter_mut().for_each(|error| hide(&mut error.message));
            if let EffectState::Partial { stuck } = &mut attempt.effect {
                stuck.iter_mut().for_each(hide);
            }
        }
    }
    run
}

fn stuck(effect: &EffectState) -> &[String] {
    match effect {
        EffectState::Partial { stuck } => stuck,
        EffectState::None
        | EffectState::PutBack
        | EffectState::Done { .. }
        | EffectState::Unknown
        | EffectState::TakenBack => &[],
    }
}

impl Runtime {
    /// Looks at the runs of databases of older versions, which kept everything in clear.
    pub(crate) fn look_at_old_runs(&self) -> Result<(), OpenError> {
        let failed = |error: &dyn std::fmt::Display| {
            OpenError::Recovery(format!("runs of an older version: {error}"))
        };
        let redactor = self.parts.audit.redactor();
        loop {
            let old = self.parts.runs.unlooked(AT_ONCE).map_err(|error| failed(&error))?;
            if old.is_empty() {
                return Ok(());
            }
            // What stood in clear stands in the log of the database until that is folded.
            self.parts.store.fold_on_close();
            let mut rows = Vec::with_capacity(old.len());
            for (id, record) in old {
                // One that cannot be read could not be read before either.
                let run = serde_json::from_str::<RunRecord>(&record);
                let row =
                    run.ok().map(|run| row(&self.parts.audit, &redactor, "", &run)).transpose();
                rows.push((id, row.map_err(|error| failed(&error))?));
            }
            let looked = self.parts.store.write(move |tx| {
                rows.iter().try_for_each(|(id, row)| Runs::look_in(tx, id, row.as_ref()))
            });
            looked.wait().map_err(|error| failed(&lictor_state::StateError::from(error)))?;
        }
    }

    /// Destroys what is sealed of runs that were over so long ago that nothing of them can be undone any
    /// more. How many there were.
    pub(crate) async fn forget_runs(&self) -> Result<usize, lictor_state::StateError> {
        let kept = self.parts.gate.policies().settings().undo_retention.age;
        let Some(kept) = kept.map(lictor_document::HumanDuration::as_duration) else {
            return Ok(0);
        };
        let kept = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        let now = self.parts.clock.now().as_micros();
        let before = lictor_context::Timestamp::from_micros(now.saturating_sub(kept));
        if !self.parts.runs.forgettable(before)? {
            return Ok(0);
        }
        self.parts.store.fold_on_close();
        Ok(self.parts.store.write(move |tx| Runs::forget_in(tx, before)).await?)
    }
}
