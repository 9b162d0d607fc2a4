//! What was not recorded although it happened: counted, and told in the trail as soon as it can
//! be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use lictor_context::{Clock, Event, EventFacts, EventType, Name, Principal, Session, Timestamp};
use lictor_store::Store;
use lictor_store::rusqlite::{self, Connection, Transaction, params};
use serde_json::{Value, json};

use crate::error::{AppendError, AppendErrorKind};
use crate::filter::to_i64;
use crate::logger::LoggerStats;
use crate::maker::PreparedEvents;
use crate::trail::{Appended, AuditLog};

/// Events that are missing in the trail, by organisation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps(BTreeMap<Name, Gap>);

/// What is missing of one organisation since its last `audit_gap`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    events: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Gaps {
    /// The gap that these events leave.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let mut gaps = Self::default();
        events.iter().for_each(|event| gaps.add(event));
        gaps
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many events are missing.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.values().map(|gap| gap.events).sum()
    }

    pub(crate) fn add(&mut self, event: &Event) {
        let at = event.timestamp();
        self.merge(event.org().clone(), Gap { events: 1, first: at, last: at });
    }

    pub(crate) fn extend(&mut self, more: Self) {
        more.0.into_iter().for_each(|(org, gap)| self.merge(org, gap));
    }

    fn merge(&mut self, org: Name, gap: Gap) {
        let now = self.0.entry(org).or_insert(Gap { events: 0, ..gap });
        now.events += gap.events;
        now.first = now.first.min(gap.first);
        now.last = now.last.max(gap.last);
    }

    /// The events `audit_gap` that tell of them, one an organisation.
    #[must_use]
    pub fn told(&self, clock: &dyn Clock) -> Vec<Event> {
        self.0.iter().filter_map(|(org, gap)| gap_event(org, gap, clock)).collect()
    }
}

fn gap_event(org: &Name, gap: &Gap, clock: &dyn Clock) -> Option<Event> {
    let own = Name::parse("audit-logger").ok()?;
    let principal = Principal { org: org.clone(), user: own.clone(), agent: own };
    let session = Session::new(principal, clock);
    let mut facts = EventFacts { success: Some(false), ..EventFacts::default() };
    let told: [(&str, Value); 3] =
        [("dropped", json!(gap.events)), ("first", json!(gap.first)), ("last", json!(gap.last))];
    for (name, value) in told {
        facts.metadata.insert(name.to_owned(), value);
    }
    Some(Event::new(&session, EventType::AuditGap, facts, clock))
}

/// Counts what became of events. Once nothing is under way, what was submitted is the sum of the
/// others.
#[derive(Debug, Default)]
pub struct Tally {
    submitted: AtomicU64,
    acknowledged: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
}

impl Tally {
    /// So many are on their way.
    pub fn submitted(&self, events: u64) {
        self.submitted.fetch_add(events, Ordering::SeqCst);
    }

    /// So many are recorded.
    pub fn acknowledged(&self, events: u64) {
        self.acknowledged.fetch_add(events, Ordering::SeqCst);
    }

    /// Of so many it was said that they are not recorded.
    pub fn rejected(&self, events: u64) {
        self.rejected.fetch_add(events, Ordering::SeqCst);
    }

    /// So many are not recorded, and nobody was kept from going on.
    pub fn dropped(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::SeqCst);
        ::metrics::counter!("lictor_audit_dropped_total").increment(events);
    }

    /// All of them.
    #[must_use]
    pub fn stats(&self) -> LoggerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        LoggerStats {
            submitted: read(&self.submitted),
            acknowledged: read(&self.acknowledged),
            rejected: read(&self.rejected),
            dropped: read(&self.dropped),
        }
    }
}

impl AppendError {
    /// Whether the trail could not be written just now, and nothing speaks against it but that: a
    /// file, a key of a person, random bytes. A trail that was changed or put back, and a key that
    /// is not there any more, are no outage.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self.kind() {
            AppendErrorKind::Guard(error) => error.is_io(),
            AppendErrorKind::Subject(error) => error.is_outage(),
            AppendErrorKind::Io(_) | AppendErrorKind::Random => true,
            AppendErrorKind::Store(_)
            | AppendErrorKind::Tampered
            | AppendErrorKind::NotAsWritten { .. }
            | AppendErrorKind::Key(_)
            | AppendErrorKind::Reserved(_)
            | AppendErrorKind::Overtaken => false,
        }
    }
}

/// Gaps are kept in the store, where a process that ends does not forget them. They are counts that
/// nobody signed; the `audit_gap` that tells of them is.
impl AuditLog<Store> {
    /// As [`append_in`](Self::append_in), with the gaps that are kept told first.
    ///
    /// # Errors
    /// As for [`append_in`](Self::append_in); the gaps are kept then.
    pub fn append_telling_in(
        &self,
        tx: &Transaction<'_>,
        events: PreparedEvents,
        clock: &dyn Clock,
    ) -> Result<Appended, AppendError> {
        let failed = |error: rusqlite::Error| match events.orgs.first() {
            Some((org, _)) => AppendError::new(org, error.into()),
            None => AppendError::new(&"*", error.into()),
        };
        let gaps = kept_gaps(tx).map_err(failed)?;
        if gaps.is_empty() {
            return self.append_in(tx, events);
        }
        let mut all = self.prepare(gaps.told(clock))?;
        let deleted = |error: rusqlite::Error| AppendError::new(&"*", error.into());
        all.extend(events);
        let appended = self.append_in(tx, all)?;
        tx.execute("DELETE FROM audit_dropped", []).map_err(deleted)?;
        Ok(appended)
    }

    /// Keeps gaps, in the transaction of what goes on without its events.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn keep_gaps_in(&self, tx: &Transaction<'_>, gaps: &Gaps) -> rusqlite::Result<()> {
        let mut keep = tx.prepare_cached(
            "INSERT INTO audit_dropped (org, events, first, last) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET events = events + excluded.events,
             first = min(first, excluded.first), last = max(last, excluded.last)",
        )?;
        for (org, gap) in &gaps.0 {
            let (first, last) = (gap.first.as_micros(), gap.last.as_micros());
            keep.execute(params![org.as_str(), to_i64(gap.events), first, last])?;
        }
        Ok(())
    }

    /// The gaps that the trail does not tell of yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn untold_gaps(&self) -> Result<Gaps, crate::stores::StoreError> {
        Ok(self.inner.store.read(kept_gaps)?)
    }
}

fn kept_gaps(connection: &Connection) -> rusqlite::Result<Gaps> {
    let mut statement =
        connection.prepare_cached("SELECT org, events, first, last FROM audit_dropped")?;
    let mut rows = statement.query([])?;
    let mut gaps = Gaps::default();
    while let Some(row) = rows.next()? {
        let (events, first, last): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(last));
        // Only we write the table, and only names.
        if let Ok(org) = Name::parse(&row.get::<_, String>(0)?) {
            gaps.merge(org, Gap { events: events.unsigned_abs(), first, last });
        }
    }
    Ok(gaps)
}
