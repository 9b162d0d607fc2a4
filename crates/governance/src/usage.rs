//! What was used: how often what was let through, and what it cost. A decision takes it as an
//! input; a warrant reserves its share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lictor_capability::Described;
use lictor_context::{ActionId, Timestamp, Usage};
use lictor_document::HumanDuration;
use serde::{Deserialize, Serialize};

use crate::policy::Scope;

/// Who used something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The organisation. Nothing is ever counted across organisations.
    pub org: String,
    /// The user.
    pub user: String,
    /// The agent.
    pub agent: String,
    /// The session.
    pub session: String,
}

impl Subject {
    /// The name that is counted by in a scope, beside the organisation.
    #[must_use]
    pub fn name(&self, scope: Scope) -> &str {
        match scope {
            Scope::Session => &self.session,
            Scope::Agent => &self.agent,
            Scope::User => &self.user,
            Scope::Org => &self.org,
        }
    }
}

/// Over what and since when something is counted. The end is open: what a clock that was set back
/// takes for the future counts as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageWindow {
    /// Over what.
    pub scope: Scope,
    /// How far back; ever since when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<HumanDuration>,
}

impl UsageWindow {
    /// What happened after this moment counts.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Timestamp {
        let Some(per) = self.per else { return Timestamp::from_micros(i64::MIN) };
        let micros = i64::try_from(per.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000);
        Timestamp::from_micros(now.as_micros().saturating_sub(micros))
    }
}

/// How often one capability was let through in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// How often.
    pub n: u64,
    /// The first time.
    pub oldest: Timestamp,
}

/// What was counted in one window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// By capability.
    pub calls: BTreeMap<String, Calls>,
    /// What was spent.
    pub spent: Usage,
}

impl Tally {
    /// Counts one use in.
    pub fn add(&mut self, capability: &str, at: Timestamp, usage: Usage) {
        let calls = self.calls.entry(capability.to_owned()).or_insert(Calls { n: 0, oldest: at });
        calls.n += 1;
        calls.oldest = calls.oldest.min(at);
        self.spent = self.spent.plus(usage);
    }
}

/// What is known of usage when a decision is made: an input of it, recorded with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tallies {
    /// By window, those that the policy asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<(UsageWindow, Tally)>,
    /// Why nothing is known, when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Tallies {
    /// What was counted in a window, if that is known.
    #[must_use]
    pub fn get(&self, window: &UsageWindow) -> Option<&Tally> {
        self.windows.iter().find(|(known, _)| known == window).map(|(_, tally)| tally)
    }
}

/// One use of a capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEntry {
    /// The action; it is counted once.
    pub action: ActionId,
    /// When it was let through.
    pub at: Timestamp,
    /// Who used it.
    pub subject: Subject,
    /// The capability.
    pub capability: String,
    /// What asking for it has cost.
    pub usage: Usage,
}

impl UsageEntry {
    pub(crate) fn of(described: &Described, at: Timestamp) -> Self {
        let action = described.action();
        let principal = action.session().principal();
        Self {
            action: action.id().clone(),
            at,
            subject: Subject {
                org: principal.org.to_string(),
                user: principal.user.to_string(),
                agent: principal.agent.to_string(),
                session: action.session().id().to_string(),
            },
            capability: described.contract().id.to_string(),
            usage: action.usage(),
        }
    }
}

/// A limit stands against it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {message}")]
pub struct UsageExceeded {
    /// The rule.
    pub rule: String,
    /// What it says.
    pub message: String,
}

/// Looks at what was counted, and says whether one more is fine.
pub type UsageCheck = Box<dyn FnOnce(&Tallies) -> Result<(), UsageExceeded> + Send>;

/// Counts what is used.
///
/// Implementations keep one promise that limits are only as good as: [`UsageStore::reserve`] counts
/// and writes in one step, across threads and processes.
pub trait UsageStore: Send + Sync + std::fmt::Debug {
    /// What was counted in some windows.
    ///
    /// # Errors
    /// When the store fails; then nothing is let through that had to be counted.
    fn tally(
        &self,
        subject: &Subject,
        windows: &[UsageWindow],
        now: Timestamp,
    ) -> Result<Tallies, UsageStoreError>;

    /// Counts, asks `check`, and writes the entry down if it agrees: all of it in one step.
    ///
    /// # Errors
    /// When the store fails, or the check does not agree; then nothing is written.
    fn reserve(
        &self,
        entry: UsageEntry,
        windows: Vec<UsageWindow>,
        check: UsageCheck,
    ) -> Result<(), ReserveError>;

    /// Adds what doing an action cost to what was reserved for it. An action for which nothing was
    /// reserved is not counted.
    ///
    /// # Errors
    /// When the store fails.
    fn report(&self, action: &ActionId, usage: Usage) -> Result<(), UsageStoreError>;
}

/// Where whoever does an action reports what doing it cost. It travels with the warrant.
#[derive(Debug, Clone)]
pub struct UsageMeter {
    store: Arc<dyn UsageStore>,
    action: ActionId,
}

impl UsageMeter {
    pub(crate) fn new(store: Arc<dyn UsageStore>, action: ActionId) -> Self {
        Self { store, action }
    }

    /// Adds what was spent. Once this answers, it counts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn report(&self, usage: Usage) -> Result<(), UsageStoreError> {
        if usage.is_zero() {
            return Ok(());
        }
        self.store.report(&self.action, usage)
    }
}

/// The store of usage did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("usage cannot be counted: {0}")]
pub struct UsageStoreError(pub String);

/// Nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// A limit stands against it.
    #[error(transparent)]
    Exceeded(UsageExceeded),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] UsageStoreError),
}

/// Counts in memory: for one process, as long as it lives, and growing with what is counted.
#[derive(Debug, Default)]
pub struct MemoryUsageStore {
    entries: Mutex<Vec<UsageEntry>>,
}

impl MemoryUsageStore {
    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Vec<UsageEntry>>, UsageStoreError> {
        // Whoever panicked here may have left a use uncounted: that is not trusted again.
        self.entries.lock().map_err(|_| UsageStoreError("the counters are poisoned".to_owned()))
    }
}

fn count(
    entries: &[UsageEntry],
    subject: &Subject,
    windows: &[UsageWindow],
    now: Timestamp,
) -> Tallies {
    let mut tallies = Tallies::default();
    for window in windows {
        let since = window.since(now);
        let mut tally = Tally::default();
        for entry in entries {
            let same = entry.subject.org == subject.org
                && entry.subject.name(window.scope) == subject.name(window.scope);
            if same && entry.at > since {
                tally.add(&entry.capability, entry.at, entry.usage);
            }
        }
        tallies.windows.push((*window, tally));
    }
    tallies
}

impl UsageStore for MemoryUsageStore {
    fn tally(
        &self,
        subject: &Subject,
        windows: &[UsageWindow],
        now: Timestamp,
    ) -> Result<Tallies, UsageStoreError> {
        Ok(count(&self.lock()?, subject, windows, now))
    }

    fn reserve(
        &self,
        entry: UsageEntry,
        windows: Vec<UsageWindow>,
        check: UsageCheck,
    ) -> Result<(), ReserveError> {
        let mut entries = self.lock()?;
        check(&count(&entries, &entry.subject, &windows, entry.at))
            .map_err(ReserveError::Exceeded)?;
        entries.push(entry);
        Ok(())
    }

    fn report(&self, action: &ActionId, usage: Usage) -> Result<(), UsageStoreError> {
        let mut entries = self.lock()?;
        if let Some(entry) = entries.iter_mut().rev().find(|entry| entry.action == *action) {
            entry.usage = entry.usage.plus(usage);
        }
        Ok(())
    }
}
