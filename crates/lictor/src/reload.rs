//! Policies that change while the runtime is open: a changed file counts from the next decision
//! on, if it is a policy. Else the last good one stays, and every decision says so.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lictor_context::{Digest, Event, EventFacts, EventType, Session};
use lictor_governance::{Policy, PolicySet};
use serde_json::json;

use crate::error::{ActError, ActErrorKind};
use crate::options::{OpenError, RuntimeOptions};
use crate::policies::policy_files;
use crate::runtime::Runtime;

/// What tells a file from its successor without reading it; `None` where there is none.
type Mark = Option<(u64, u64, u64, i64, i64)>;

/// What is known of the policy files.
#[derive(Debug)]
pub(crate) struct PolicyWatch {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    marks: Vec<Mark>,
    /// The policies whose texts are known to be kept.
    kept: Option<Digest>,
    /// What the trail has not been told yet of policies that were read again.
    owed: Vec<EventFacts>,
}

impl PolicyWatch {
    /// Looks at the files. To be called before they are read: what changes in between is seen
    /// the next time.
    pub(crate) fn new(options: &RuntimeOptions) -> Self {
        Self { seen: Mutex::new(Seen { marks: marks(options), kept: None, owed: Vec::new() }) }
    }

    /// Whether a file is another one than when this was asked last.
    fn changed(&self, options: &RuntimeOptions) -> bool {
        let found = marks(options);
        let mut seen = self.lock();
        let changed = seen.marks != found;
        seen.marks = found;
        changed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Each field is exchanged whole, and a wrong guess only means reading once more.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn marks(options: &RuntimeOptions) -> Vec<Mark> {
    policy_files(&options.workspace, &options.policies).iter().map(|path| mark(path)).collect()
}

fn mark(path: &Path) -> Mark {
    let found = std::fs::metadata(path).ok()?;
    let micros = |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
    Some((
        found.dev(),
        found.ino(),
        found.len(),
        micros(found.mtime(), found.mtime_nsec()),
        micros(found.ctime(), found.ctime_nsec()),
    ))
}

impl Runtime {
    /// Judges by the policy files as they are now. The trail is told with the next thing that is
    /// recorded.
    ///
    /// # Errors
    /// When one is not a policy; then the old ones stay in force, and decisions say so.
    pub fn reload_policies(&self) -> Result<(), OpenError> {
        let parts = &self.parts;
        parts.watch.changed(&parts.options);
        let before = parts.gate.policies().digest();
        let loaded = self.read_policies_again();
        if let Err(error) = &loaded {
            parts.gate.keep_although(&error.to_string());
        }
        let now = parts.gate.policies().digest();
        if before != now || loaded.is_err() {
            let mut facts = EventFacts { success: Some(loaded.is_ok()), ..EventFacts::default() };
            facts.error_message = loaded.as_ref().err().map(ToString::to_string);
            facts.metadata.insert("policy_digest".to_owned(), json!(now));
            facts.metadata.insert("policy_before".to_owned(), json!(before));
            parts.watch.lock().owed.push(facts);
        }
        loaded
    }

    fn read_policies_again(&self) -> Result<(), OpenError> {
        let parts = &self.parts;
        let policies = crate::policies::load_policies_for(&parts.options)?;
        self.nothing_gone(&policies)?;
        parts.audit.set_redactor(crate::runtime::redactor(&parts.options, &policies)?);
        parts.ledger.trailing().follow(&policies);
        parts.gate.reload(std::sync::Arc::new(policies));
        Ok(())
    }

    /// A layer whose file vanished would leave what it forbids to the others: whoever takes it away on
    /// purpose starts anew.
    fn nothing_gone(&self, loaded: &PolicySet) -> Result<(), OpenError> {
        let in_force = self.parts.gate.policies();
        let there = |layer| loaded.layers().iter().any(|one| one.layer() == layer);
        let mut layers = in_force.layers().iter().map(Policy::layer);
        layers.find(|layer| !there(*layer)).map_or(Ok(()), |gone| Err(OpenError::PolicyGone(gone)))
    }

    /// What comes before a decision: looks whether a policy file changed, and keeps the texts of
    /// the policies in force, so that the decision can be judged again.
    pub(crate) fn refresh_policies(&self) -> Result<(), ActError> {
        let parts = &self.parts;
        if parts.watch.changed(&parts.options)
            && let Err(error) = self.reload_policies()
        {
            tracing::warn!(%error, "the last good policy stays in force");
        }
        let policies = parts.gate.policies();
        if parts.watch.lock().kept != Some(policies.digest()) {
            let sources = policies.sources();
            let kept =
                parts.decisions.keep_policies(policies.digest(), &sources, parts.clock.now());
            kept.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
            parts.watch.lock().kept = Some(policies.digest());
        }
        Ok(())
    }

    /// The events that are owed for policies that were read again, whoever noticed: they go
    /// before what is recorded next. Once.
    pub(crate) fn policies_told(&self, session: &Session) -> Vec<Event> {
        let owed = std::mem::take(&mut self.parts.watch.lock().owed);
        let clock = self.parts.clock.as_ref();
        let event = |facts| Event::new(session, EventType::PolicyLoaded, facts, clock);
        owed.into_iter().map(event).collect()
    }
}
