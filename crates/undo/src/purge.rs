//! Purging undo records: the only place where bytes die.
//!
//! Undos share slots with what they take back, so records that share any are one family: it is as
//! old as its newest member, and goes whole or stays whole. Before a slot dies its content is held
//! against every state that the journals know for it; what somebody wrote there through a handle
//! that was open before is theirs, and keeps the family.
//!
//! A record goes by one rename, the newest of a family first, each durable before the next: killed
//! anywhere, a record is whole or gone, and no journal names slots that went before it. The rest
//! of a removal that was cut short is swept by recovery and by the next purge.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use lictor_capability::State;
use lictor_context::{ExecutionId, Timestamp};
use lictor_lock::Lease;
use lictor_workspace::state_at;
use serde::Serialize;

use crate::journal::{self, End, JournalError, JournalItem};
use crate::store::{SlotRef, TxRoot};
use crate::transaction::Transactions;

/// How much of the undo records is kept. What is over any of these may go, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// What was last used longer ago than this may go.
    pub age: Option<Duration>,
    /// So many records stay.
    pub count: Option<u64>,
    /// So many bytes stay.
    pub bytes: Option<u64>,
}

/// What the undo records take up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// The records.
    pub records: u64,
    /// Their bytes: journals, slots and kept texts.
    pub bytes: u64,
    /// The oldest record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<ExecutionId>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<Timestamp>,
}

/// A record that was to go and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spared {
    /// Whose record.
    pub execution: ExecutionId,
    /// Why it stays.
    pub reason: String,
}

/// What a purge would do, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Whose records go.
    pub purged: Vec<ExecutionId>,
    /// What was to go and stays.
    pub kept: Vec<Spared>,
    /// The bytes that go.
    pub bytes: u64,
}

/// What may go by a policy, worked out under the lock. Nothing was done yet.
#[derive(Debug)]
pub struct PurgePlan {
    due: Vec<Family>,
    kept: Vec<Spared>,
    /// The states that slots may hold.
    known: HashMap<SlotRef, Vec<State>>,
}

/// Records that share slots.
#[derive(Debug, Default)]
struct Family {
    /// The newest first.
    members: Vec<ExecutionId>,
    last: Option<Timestamp>,
    bytes: u64,
    /// Why it has to stay, whatever the policy says.
    held: Option<Spared>,
}

/// One record, as far as a purge goes.
struct Found {
    execution: ExecutionId,
    at: Timestamp,
    bytes: u64,
    end: End,
    items: Vec<JournalItem>,
}

impl PurgePlan {
    /// Whose records are to go.
    #[must_use]
    pub fn due(&self) -> Vec<ExecutionId> {
        self.due.iter().flat_map(|family| family.members.clone()).collect()
    }

    /// What it would come to.
    #[must_use]
    pub fn outcome(&self) -> Purged {
        Purged {
            purged: self.due(),
            kept: self.kept.clone(),
            bytes: self.due.iter().map(|family| family.bytes).sum(),
        }
    }
}

impl Transactions {
    /// What the undo records take up.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn stored(&self) -> io::Result<Stored> {
        let root = self.root()?;
        let mut stored = Stored::default();
        for execution in root.list()? {
            let Some(bytes) = root.size(&execution)? else { continue };
            stored.records += 1;
            stored.bytes += bytes;
            if stored.oldest.is_none() {
                let text = root.get(&execution).ok().flatten().map(|tx| tx.read_journal());
                let text = text.transpose()?.flatten().unwrap_or_default();
                let journal = journal::parse(&text).ok();
                stored.oldest_at = journal.map(|journal| journal.header.record.started_at);
                stored.oldest = Some(execution);
            }
        }
        Ok(stored)
    }

    /// The bytes of one undo record; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stored_of(&self, execution: &ExecutionId) -> io::Result<Option<u64>> {
        self.root()?.size(execution)
    }

    /// When a purge that nobody asked for last looked at the records.
    #[must_use]
    pub fn last_purge(&self) -> Option<Timestamp> {
        let noted = self.root().and_then(|root| root.read_note()).ok()??;
        Timestamp::parse(String::from_utf8(noted).ok()?.trim()).ok()
    }

    /// Notes that one does now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_purge(&self, now: Timestamp) -> io::Result<()> {
        self.root()?.write_note(&now.to_string())
    }

    /// Works out what may go, at most about `at_most` records, the oldest first. Only what is
    /// closed goes, and what `held` gives no reason to keep: that the ledger does not have it, or
    /// that something under way may still need it. Nothing is done.
    ///
    /// # Errors
    /// When a record cannot be read: what it refers to is not known then, so nothing may go.
    pub fn plan_purge(
        &self,
        retention: &Retention,
        now: Timestamp,
        at_most: usize,
        held: &dyn Fn(&ExecutionId) -> Option<String>,
    ) -> io::Result<PurgePlan> {
        let root = self.root()?;
        let found = read_all(&root)?;
        let known = known_states(&found);
        let mut plan = PurgePlan { due: Vec::new(), kept: Vec::new(), known };
        let mut due = over(retention, now, families(found, held));
        due.reverse();
        let mut n = 0;
        for family in due {
            if n >= at_most {
                break;
            }
            n += family.members.len();
            match family.held.clone() {
                Some(held) => plan.kept.push(held),
                None => match stranger(&root, &family, &plan.known) {
                    Some(spared) => plan.kept.push(spared),
                    None => plan.due.push(family),
                },
            }
        }
        Ok(plan)
    }

    /// Carries a plan out, under the lock it was made under. What cannot be removed is told.
    ///
    /// # Errors
    /// When the lock was lost or nothing can be made durable: then nothing was removed.
    pub fn purge(&self, lease: &Lease, plan: PurgePlan) -> io::Result<Purged> {
        let check = || lease.check().map_err(|error| io::Error::other(error.to_string()));
        let root = self.root()?;
        check()?;
        if let Err(error) = root.sweep() {
            tracing::warn!(%error, "what an earlier removal left is still there");
        }
        // `done` is not synced when it is written, and no recovery may find a journal open whose
        // slots are gone.
        root.barrier()?;
        let mut outcome = Purged { kept: plan.kept, ..Purged::default() };
        'all: for family in plan.due {
            // Somebody may have written since it was planned.
            if let Some(spared) = stranger(&root, &family, &plan.known) {
                outcome.kept.push(spared);
                continue;
            }
            for execution in family.members {
                let bytes = root.size(&execution)?.unwrap_or_default();
                match check().and_then(|()| root.purge(&execution)) {
                    Ok(()) => {
                        outcome.bytes += bytes;
                        outcome.purged.push(execution);
                    }
                    Err(error) => {
                        let reason = format!("it could not be removed: {error}");
                        outcome.kept.push(Spared { execution, reason });
                        break 'all;
                    }
                }
            }
        }
        Ok(outcome)
    }
}

fn read_all(root: &TxRoot) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for execution in root.list()? {
        let unreadable = |why: &dyn std::fmt::Display| {
            io::Error::other(format!(
                "nothing is purged, because the undo record of `{execution}` cannot be read, and \
                 so not what it needs of others: {why}"
            ))
        };
        let tx = root.get(&execution).map_err(|error| unreadable(&error))?;
        let text = match &tx {
            Some(tx) => tx.read_journal().map_err(|error| unreadable(&error))?,
            None => None,
        };
        // Without a journal it was never begun, and is for the recovery.
        let Some(text) = text else { continue };
        let journal = match journal::parse(&text) {
            Ok(journal) => journal,
            Err(JournalError::NotCommitted) => continue,
            Err(error) => return Err(unreadable(&error)),
        };
        let bytes = root.size(&execution)?.unwrap_or_default();
        let at = journal.header.record.started_at;
        all.push(Found { execution, at, bytes, end: journal.end, items: journal.items });
    }
    Ok(all)
}

/// What each slot may hold: what was to arrive from it, and what was set aside in it.
fn known_states(found: &[Found]) -> HashMap<SlotRef, Vec<State>> {
    let mut known: HashMap<SlotRef, Vec<State>> = HashMap::new();
    for item in found.iter().flat_map(|one| &one.items) {
        for slot in [&item.stage, &item.keep].into_iter().flatten() {
            known
                .entry(slot.clone())
                .or_default()
                .extend([item.before, item.after].iter().flatten());
        }
    }
    known
}

/// Records that share slots, put together; the newest family first.
fn families(found: Vec<Found>, held: &dyn Fn(&ExecutionId) -> Option<String>) -> Vec<Family> {
    let index: HashMap<ExecutionId, usize> =
        found.iter().enumerate().map(|(n, one)| (one.execution.clone(), n)).collect();
    let mut parents: Vec<usize> = (0..found.len()).collect();
    for (n, one) in found.iter().enumerate() {
        for slot in one.items.iter().flat_map(|item| [&item.stage, &item.keep]).flatten() {
            let Some(other) = index.get(&slot.execution) else { continue };
            let (a, b) = (root_of(&parents, n), root_of(&parents, *other));
            if let Some(parent) = parents.get_mut(a) {
                *parent = b;
            }
        }
    }
    let mut families: BTreeMap<usize, Family> = BTreeMap::new();
    // Listed by id, so the oldest come first.
    for (n, one) in found.into_iter().enumerate().rev() {
        let family = families.entry(root_of(&parents, n)).or_default();
        let why = if one.end != End::Done {
            Some("it is not settled yet".to_owned())
        } else {
            held(&one.execution)
        };
        if let Some(reason) = why {
            family.held = Some(Spared { execution: one.execution.clone(), reason });
        }
        family.last = family.last.max(Some(one.at));
        family.bytes = family.bytes.saturating_add(one.bytes);
        family.members.push(one.execution);
    }
    let mut families: Vec<Family> = families.into_values().collect();
    families.sort_by(|a, b| (b.last, &b.members).cmp(&(a.last, &a.members)));
    families
}

fn root_of(parents: &[usize], mut n: usize) -> usize {
    while let Some(parent) = parents.get(n)
        && *parent != n
    {
        n = *parent;
    }
    n
}

/// What is over the limits, of families with the newest first.
fn over(retention: &Retention, now: Timestamp, families: Vec<Family>) -> Vec<Family> {
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let is_over = |family: &Family| {
        count = count.saturating_add(u64::try_from(family.members.len()).unwrap_or(u64::MAX));
        bytes = bytes.saturating_add(family.bytes);
        let age = family.last.map_or(Duration::ZERO, |last| now.since(last));
        retention.age.is_some_and(|most| age > most)
            || retention.count.is_some_and(|most| count > most)
            || retention.bytes.is_some_and(|most| bytes > most)
    };
    let mut is_over = is_over;
    families.into_iter().filter(|family| is_over(family)).collect()
}

/// What in a family's folders no journal knows: it is somebody's.
fn stranger(
    root: &TxRoot,
    family: &Family,
    known: &HashMap<SlotRef, Vec<State>>,
) -> Option<Spared> {
    family.members.iter().find_map(|execution| {
        let reason = match unknown(root, execution, known) {
            Ok(None) => return None,
            Ok(Some(name)) => format!(
                "`.lictor/tx/{execution}/{name}` holds what no transaction has put there; move it \
                 away to let the record go"
            ),
            Err(error) => format!("it cannot be looked at: {error}"),
        };
        Some(Spared { execution: execution.clone(), reason })
    })
}

fn unknown(
    root: &TxRoot,
    execution: &ExecutionId,
    known: &HashMap<SlotRef, Vec<State>>,
) -> io::Result<Option<String>> {
    let Some(tx) = root.get(execution)? else { return Ok(None) };
    if let Some(name) = tx.foreign_entry()? {
        return Ok(Some(name));
    }
    for name in tx.slot_names()? {
        let slot = name.parse().ok().map(|index| SlotRef { execution: execution.clone(), index });
        let states = slot.filter(|slot| slot.name() == name).and_then(|slot| known.get(&slot));
        let found =
            state_at(&tx.slots, &name).map_err(|error| io::Error::other(error.to_string()))?;
        let Some(found) = found else { continue };
        let ours = match found {
            State::Directory { .. } => tx.slot_is_empty(&name)?,
            _ => true,
        };
        let like = |state: &State| match (&found, state) {
            (State::File { .. }, State::File { .. })
            | (State::Symlink { .. }, State::Symlink { .. }) => found.digest() == state.digest(),
            (State::Directory { .. }, State::Directory { .. }) => true,
            _ => false,
        };
        if !ours || !states.is_some_and(|states| states.iter().any(like)) {
            return Ok(Some(format!("s/{name}")));
        }
    }
    Ok(None)
}
