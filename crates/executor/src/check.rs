//! Looking at a change after it was made: verification commands and health checks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Described, Risk};
use lictor_context::Clock;
use serde::Serialize;

use crate::caught::{Caught, Panicked};

/// When a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckPhase {
    /// Whether the change is right.
    Verification,
    /// Whether the system is well with it.
    Health,
}

/// A check that could not be passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CheckFailure {
    reason: String,
}

impl CheckFailure {
    /// Why it was not passed; output of a command is cut to what a person reads.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Does one check.
#[async_trait]
pub trait CheckRun: Send + Sync {
    /// Looks, and says what was seen.
    ///
    /// # Errors
    /// When the check is not passed, or could not be made; both count the same.
    async fn run(&self) -> Result<String, CheckFailure>;
}

/// A named check with a time limit.
#[derive(Clone)]
pub struct Check {
    /// Its name in the policy.
    pub name: String,
    /// When it is made.
    pub phase: CheckPhase,
    /// How long it may take.
    pub timeout: Duration,
    /// Who makes it.
    pub run: Arc<dyn CheckRun>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("name", &self.name).field("phase", &self.phase).finish()
    }
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub phase: CheckPhase,
    /// Whether it was passed.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// Knows which checks an action has to pass.
pub trait CheckSource: Send + Sync {
    /// The checks of an action at its effective risk.
    ///
    /// # Errors
    /// When the action names a check that does not exist, with what exists.
    fn checks(&self, described: &Described, risk: Risk) -> Result<Vec<Check>, CheckFailure>;
}

/// No checks at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoChecks;

impl CheckSource for NoChecks {
    fn checks(&self, _: &Described, _: Risk) -> Result<Vec<Check>, CheckFailure> {
        Ok(Vec::new())
    }
}

/// How much of an execution's time is left.
#[derive(Clone, Copy)]
pub(crate) struct Deadline<'a> {
    pub(crate) clock: &'a dyn Clock,
    /// By the clock's monotonic time; `None` is no limit.
    pub(crate) until: Option<Duration>,
}

impl Deadline<'_> {
    /// `limit`, or what is left when that is less.
    fn at_most(&self, limit: Duration) -> Duration {
        match self.until {
            Some(until) => limit.min(until.saturating_sub(self.clock.monotonic())),
            None => limit,
        }
    }
}

/// Makes the checks in order and stops at the first that is not passed, or when the execution's
/// time is over.
pub(crate) async fn run_all(checks: &[Check], deadline: Deadline<'_>) -> (Vec<CheckReport>, bool) {
    let mut reports = Vec::with_capacity(checks.len());
    for check in checks {
        let limit = deadline.at_most(check.timeout);
        let outcome = match tokio::time::timeout(limit, Caught(check.run.run())).await {
            Ok(outcome) => outcome.unwrap_or_else(|Panicked| Err(CheckFailure::new("it panicked"))),
            Err(_) if limit < check.timeout => {
                Err(CheckFailure::new("the time of the whole execution is over"))
            }
            Err(_) => Err(CheckFailure::new(format!("not done within {:?}", check.timeout))),
        };
        let passed = outcome.is_ok();
        let detail = outcome.unwrap_or_else(|failure| failure.to_string());
        reports.push(CheckReport { name: check.name.clone(), phase: check.phase, passed, detail });
        if !passed {
            return (reports, false);
        }
    }
    (reports, true)
}
