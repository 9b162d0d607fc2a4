//! Looking at a change after it was made: verification commands and health checks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Described, Retry, Risk};
use lictor_context::{Clock, WorkspacePath};
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
    transient: bool,
}

impl CheckFailure {
    /// Why it was not passed. It stands: looking again would show the same.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), transient: false }
    }

    /// A failure that may pass by itself, such as a server that is still starting.
    #[must_use]
    pub fn transient(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), transient: true }
    }
}

/// So much of an output is kept, from its end: that is where the reason stands.
const MAX_OUTPUT: usize = 2000;

/// One attempt of a check: how long it may take, and where its output goes. What was said is kept
/// also when the attempt is dropped because its time is over.
#[derive(Debug)]
pub struct Attempt {
    time_left: Duration,
    tree: Option<PathBuf>,
    output: Mutex<Vec<u8>>,
}

impl Attempt {
    fn new(time_left: Duration, tree: Option<&Path>) -> Self {
        Self { time_left, tree: tree.map(Path::to_owned), output: Mutex::default() }
    }

    /// Where the staged tree lies, for a check that is made before anything is published; `None`
    /// is the workspace itself.
    #[must_use]
    pub fn tree(&self) -> Option<&Path> {
        self.tree.as_deref()
    }

    /// How long it may take; it is dropped then.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.time_left
    }

    /// Keeps the last of an output, for people.
    pub fn say(&self, bytes: &[u8]) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.extend_from_slice(bytes);
        // Four bytes a character at most, and room so that not every byte moves all others.
        if output.len() > MAX_OUTPUT * 8 {
            let cut = output.len() - MAX_OUTPUT * 4;
            output.drain(..cut);
        }
    }

    fn into_output(self) -> String {
        let output = self.output.into_inner().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&output);
        let text = text.trim();
        let skip = text.chars().count().saturating_sub(MAX_OUTPUT);
        text.chars().skip(skip).collect()
    }
}

/// Does one check.
#[async_trait]
pub trait CheckRun: Send + Sync {
    /// Looks once, and says what was seen.
    ///
    /// # Errors
    /// When the check is not passed, or could not be made; both count the same.
    async fn run(&self, attempt: &Attempt) -> Result<String, CheckFailure>;
}

/// A named check with a time limit.
#[derive(Clone)]
pub struct Check {
    /// Its name in the policy.
    pub name: String,
    /// When it is made.
    pub phase: CheckPhase,
    /// How long it may take, with all its attempts and the pauses between them.
    pub timeout: Duration,
    /// How often transient failures are tried again.
    pub retry: Retry,
    /// When it is made on a copy of the workspace that has the change in it, before anything of
    /// the change is visible; otherwise in the workspace, after it was published.
    pub staged: Option<Staged>,
    /// Who makes it.
    pub run: Arc<dyn CheckRun>,
}

/// How a check wants the staged tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staged {
    /// What need not be copied, with all that is in it, unless the change touches it.
    pub leave_out: Vec<WorkspacePath>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("name", &self.name).field("phase", &self.phase).finish()
    }
}

/// What a check showed at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// It was not looked at then.
    NotMade,
    /// It was passed.
    Passed,
    /// It was not passed.
    Failed,
}

impl Shown {
    fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
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
    /// Whether it was made on a copy with the change in it, before anything was published.
    pub staged: bool,
    /// What it showed before anything was published. Health checks are looked at once then, so
    /// that what was ill already is told apart, and it decides nothing; of a staged check it decides.
    pub before: Shown,
    /// What it showed after that; this decides, but for a staged check.
    pub after: Shown,
    /// How many attempts were made when it was to decide.
    pub attempts: u32,
    /// How long they took, with the pauses between them.
    pub duration_ms: u64,
    /// The end of what the last attempt printed.
    pub output: String,
}

impl CheckReport {
    /// A check that the executor itself did not pass.
    pub(crate) fn failed(name: &str, detail: String) -> Self {
        Self {
            name: name.to_owned(),
            phase: CheckPhase::Verification,
            passed: false,
            detail,
            staged: false,
            before: Shown::NotMade,
            after: Shown::Failed,
            attempts: 1,
            duration_ms: 0,
            output: String::new(),
        }
    }

    /// Why it was not passed, as a person reads it.
    pub(crate) fn reason(&self) -> String {
        let mut reason = self.detail.clone();
        if !self.output.is_empty() {
            reason.push_str(": ");
            reason.push_str(&self.output);
        }
        if self.attempts > 1 {
            reason.push_str(&format!(" ({} attempts)", self.attempts));
        }
        if self.staged {
            reason.push_str(" (on the staged tree; nothing was published)");
        } else if self.before == Shown::Failed {
            reason.push_str(" (it was not passed before the change either)");
        }
        reason
    }
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
    pub(crate) fn at_most(&self, limit: Duration) -> Duration {
        match self.until {
            Some(until) => limit.min(until.saturating_sub(self.clock.monotonic())),
            None => limit,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= self.clock.monotonic())
    }
}

/// What came of a check with all its attempts.
struct Made {
    outcome: Result<String, CheckFailure>,
    attempts: u32,
    took: Duration,
    output: String,
}

/// Looks at the health checks once, without trying again: what each shows before the change.
pub(crate) async fn look_before(checks: &[Check], deadline: Deadline<'_>) -> Vec<Shown> {
    let mut shown = Vec::with_capacity(checks.len());
    for check in checks {
        shown.push(match check.phase {
            CheckPhase::Verification => Shown::NotMade,
            CheckPhase::Health => Shown::of(make(check, 1, deadline, None).await.outcome.is_ok()),
        });
    }
    shown
}

/// Makes the checks in order and stops at the first that is not passed, or when the execution's
/// time is over. `before` is what each showed before the change; `tree` is where the staged tree
/// lies, before anything is published.
pub(crate) async fn run_all(
    checks: &[Check],
    before: &[Shown],
    deadline: Deadline<'_>,
    tree: Option<&Path>,
) -> (Vec<CheckReport>, bool) {
    let mut reports = Vec::with_capacity(checks.len());
    for (at, check) in checks.iter().enumerate() {
        let Made { outcome, attempts, took, output } =
            make(check, check.retry.attempts, deadline, tree).await;
        let passed = outcome.is_ok();
        let (before, after) = match tree {
            Some(_) => (Shown::of(passed), Shown::NotMade),
            None => (before.get(at).copied().unwrap_or(Shown::NotMade), Shown::of(passed)),
        };
        reports.push(CheckReport {
            name: check.name.clone(),
            phase: check.phase,
            passed,
            detail: outcome.unwrap_or_else(|failure| failure.to_string()),
            staged: tree.is_some(),
            before,
            after,
            attempts,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            output,
        });
        if !passed {
            return (reports, false);
        }
    }
    (reports, true)
}

/// Makes a check, and makes it again after transient failures, all within its time.
async fn make(check: &Check, at_most: u32, deadline: Deadline<'_>, tree: Option<&Path>) -> Made {
    let limit = deadline.at_most(check.timeout);
    let began = tokio::time::Instant::now();
    let mut attempts = 0;
    let mut seen_last: Option<String> = None;
    loop {
        attempts += 1;
        let attempt = Attempt::new(limit.saturating_sub(began.elapsed()), tree);
        let run = Caught(check.run.run(&attempt));
        let ended = tokio::time::timeout(attempt.time_left(), run).await;
        let outcome = match ended {
            Ok(outcome) => outcome.unwrap_or_else(|Panicked| Err(CheckFailure::new("it panicked"))),
            Err(_) => Err(time_is_over(check, limit, seen_last.take())),
        };
        let output = attempt.into_output();
        let pause = check.retry.pause(attempts);
        match outcome {
            Err(failure)
                if failure.transient
                    && attempts < at_most
                    && began.elapsed().saturating_add(pause) < limit =>
            {
                seen_last = Some(failure.reason);
                tokio::time::sleep(pause).await;
            }
            outcome => return Made { outcome, attempts, took: began.elapsed(), output },
        }
    }
}

fn time_is_over(check: &Check, limit: Duration, seen_last: Option<String>) -> CheckFailure {
    let mut reason = match limit < check.timeout {
        true => "the time of the whole execution is over".to_owned(),
        false => format!("not done within {:?}", check.timeout),
    };
    if let Some(last) = seen_last {
        reason.push_str("; the attempt before: ");
        reason.push_str(&last);
    }
    CheckFailure::new(reason)
}
