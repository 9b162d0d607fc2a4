//! What a run has as a secret under its name is one for the rest of the run, under whichever name and
//! within whichever text a template passes it on. Records and events of the run are without it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use lictor_audit::{AuditLog, Redactor};
use lictor_context::{Event, RunId};
use lictor_workflow::RunRecord;
use serde_json::Value;

use crate::run_records::values;

/// The secrets of the runs that this process drives.
#[derive(Debug, Clone)]
pub(crate) struct RunSecrets {
    audit: AuditLog,
    runs: Arc<RwLock<HashMap<RunId, Known>>>,
}

/// What is known of one run.
struct Known {
    texts: BTreeSet<String>,
    /// What leaves them out as well, and what it was made from.
    redactor: Arc<Redactor>,
    base: Arc<Redactor>,
}

impl RunSecrets {
    pub(crate) fn new(audit: AuditLog) -> Self {
        Self { audit, runs: Arc::default() }
    }

    /// Looks for secrets in what a run was given, or in what a step of it was given or gave.
    pub(crate) fn learn<'a>(&self, run: &RunId, values: impl IntoIterator<Item = &'a Value>) {
        let base = self.audit.redactor();
        let found: Vec<String> = values.into_iter().flat_map(|value| base.named(value)).collect();
        if found.is_empty() {
            return;
        }
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let texts = runs.get(run).map(|known| &known.texts);
        if texts.is_some_and(|texts| found.iter().all(|text| texts.contains(text))) {
            return;
        }
        let texts = texts.into_iter().flatten().cloned().chain(found).collect();
        runs.extend(Known::new(texts, base).map(|known| (run.clone(), known)));
    }

    /// Looks for secrets in all of a run that is about to be kept or driven.
    pub(crate) fn take_up(&self, run: &RunRecord) {
        self.learn(&run.run_id, values(run));
        if let Some(caller) = run.parent.as_ref().and_then(|parent| parent.run_id.as_ref()) {
            self.inherit(&run.run_id, caller);
        }
    }

    /// A run that was begun by a step of another one has the other's secrets.
    fn inherit(&self, run: &RunId, from: &RunId) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let Some(texts) = runs.get(from).map(|known| known.texts.clone()) else { return };
        let own = runs.get(run).into_iter().flat_map(|known| &known.texts).cloned();
        let texts = texts.into_iter().chain(own).collect();
        runs.extend(Known::new(texts, self.audit.redactor()).map(|known| (run.clone(), known)));
    }

    /// The run rests; whoever takes it up again looks again.
    pub(crate) fn forget(&self, run: &RunId) {
        self.runs.write().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    /// What leaves out the secrets of a run, and what is left out everywhere.
    pub(crate) fn redactor(&self, run: Option<&RunId>) -> Arc<Redactor> {
        let base = self.audit.redactor();
        let Some(run) = run else { return base };
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = runs.get(run) else { return base };
        if Arc::ptr_eq(&known.base, &base) {
            return Arc::clone(&known.redactor);
        }
        // The policy has changed since.
        let texts = known.texts.clone();
        drop(runs);
        let Some(known) = Known::new(texts, Arc::clone(&base)) else { return base };
        let redactor = Arc::clone(&known.redactor);
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = runs.get_mut(run) {
            *older = known;
        }
        redactor
    }

    /// Events without the secrets of their runs. What is left out everywhere is the trail's matter.
    pub(crate) fn leave_out(&self, events: Vec<Event>) -> Vec<Event> {
        if self.runs.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return events;
        }
        let left = |event: Event| match event.facts().run_id.clone() {
            Some(run) => self.redactor(Some(&run)).event(event),
            None => event,
        };
        events.into_iter().map(left).collect()
    }
}

impl Known {
    fn new(texts: BTreeSet<String>, base: Arc<Redactor>) -> Option<Self> {
        let made = Redactor::clone(&base).and(&texts);
        // Then the run cannot be kept either, which is said to whoever asked for it.
        let redactor = made.inspect_err(|error| tracing::warn!(%error, "secrets of a run")).ok()?;
        Some(Self { texts, redactor: Arc::new(redactor), base })
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // INVARIANT: never the secrets.
        f.debug_struct("Known").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}
