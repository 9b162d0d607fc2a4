//! What the appends of one transaction share: those that come alone are done all at once, and the
//! ends of logs are signed once, right before the commit.
//!
//! Between one append and the next the stored end has no note. Nobody but the jobs of that
//! transaction ever sees it so: without its note the transaction is not committed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use lictor_context::Name;
use lictor_store::Gathered;
use lictor_store::rusqlite::{self, Transaction, params};

use crate::error::{AppendError, AppendErrorKind};
use crate::filter::to_i64;
use crate::log::{Checkpoint, Tree};
use crate::maker::{Cursor, Prepared};
use crate::metrics::Measured;
use crate::stores::{Head, StoreError, Tables, TrailReader as _, TrailStore, TrailWriter};
use crate::trail::{Appended, AppendedTo, Inner};

const SIGN_HEAD: &str = "UPDATE audit_head SET checkpoint_note = ?2 WHERE org = ?1 AND size = ?3 \
    AND checkpoint_note = ''";

/// Where whoever only appends finds what came of it, once it is committed.
pub(crate) type Slot = Arc<Mutex<Option<Result<Appended, AppendError>>>>;

/// Whoever appends.
pub(crate) trait Appends: Send {
    fn append(
        &self,
        writer: &mut dyn TrailWriter,
        org: &Name,
        events: &[Prepared],
    ) -> Result<AppendedTo, AppendErrorKind>;

    /// Tells one trail from another one that is open at the same time.
    fn place(&self) -> usize;
}

/// Somebody's events, to be appended with those of others.
struct Enlisted {
    events: usize,
    measured: Vec<Measured>,
    slot: Slot,
}

impl Enlisted {
    fn settle(mut self, result: Result<AppendedTo, AppendError>) {
        let measured = std::mem::take(&mut self.measured);
        self.say(result.map(|to| Appended { logs: vec![to], measured }));
    }

    fn say(&self, appended: Result<Appended, AppendError>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(appended);
    }
}

/// All who append to one log.
struct Party {
    log: Box<dyn Appends>,
    org: Name,
    events: Vec<Prepared>,
    members: Vec<Enlisted>,
}

impl Party {
    /// Appends what all of them have, at the price of one. What does not go together is appended
    /// one by one, so that nobody's failure is another's.
    fn append(self, tables: &mut Tables<'_>) -> rusqlite::Result<()> {
        let Self { log, org, events, members } = self;
        let all = attempt(tables, |tables| log.append(tables, &org, &events))?;
        let (mut next, mut rest) = (all.as_ref().map_or(0, |all| all.first_seq), &*events);
        for member in members {
            let (own, others) = rest.split_at_checked(member.events).unwrap_or((rest, &[]));
            rest = others;
            let result = match &all {
                Ok(all) => {
                    let (first_seq, events) = (next, own.len() as u64);
                    next += events;
                    Ok(AppendedTo { first_seq, events, ..all.clone() })
                }
                Err(_) => attempt(tables, |tables| log.append(tables, &org, own))?,
            };
            member.settle(result.map_err(|kind| AppendError::new(&org, kind)));
        }
        Ok(())
    }
}

/// Does something in the transaction, or leaves nothing of it.
fn attempt<T, E>(
    tables: &mut Tables<'_>,
    work: impl FnOnce(&mut Tables<'_>) -> Result<T, E>,
) -> rusqlite::Result<Result<T, E>> {
    tables.execute("SAVEPOINT audit_party")?;
    let result = work(tables);
    if result.is_err() {
        tables.execute("ROLLBACK TO audit_party")?;
    }
    tables.execute("RELEASE audit_party")?;
    Ok(result)
}

/// Whoever appended signs.
pub(crate) trait SignsEnds: Send + Sync {
    fn sign_end(&self, org: &Name, tree: &Tree) -> (String, Checkpoint);
    fn committed(&self, checkpoint: &Checkpoint);
}

impl<S: TrailStore> SignsEnds for Inner<S> {
    fn sign_end(&self, org: &Name, tree: &Tree) -> (String, Checkpoint) {
        let signed = self.maker.sign(org, tree);
        self.know(org, signed.clone());
        signed
    }

    fn committed(&self, checkpoint: &Checkpoint) {
        if let Some(guard) = &self.guard {
            guard.learn(checkpoint);
        }
    }
}

/// An end that was left unsigned, and who signs it.
struct Left {
    cursor: Cursor,
    signer: Arc<dyn SignsEnds>,
}

/// Those who only append, and the ends that the appends of one transaction left unsigned.
#[derive(Default)]
pub struct SharedEnds {
    /// Those who only append.
    parties: Vec<Party>,
    /// All of each log: an append may be undone, and the one before it is the end again.
    left: BTreeMap<Name, Vec<Left>>,
    signed: Vec<(Checkpoint, Arc<dyn SignsEnds>)>,
}

impl SharedEnds {
    /// Takes somebody in who only appends, to one log.
    pub(crate) fn enlist(
        &mut self,
        log: Box<dyn Appends>,
        (org, mut events): (Name, Vec<Prepared>),
        measured: Vec<Measured>,
        slot: Slot,
    ) {
        let member = Enlisted { events: events.len(), measured, slot };
        // Until it is done, it is not.
        member.say(Err(AppendError::new(&org, StoreError::Closed.into())));
        let same = |party: &&mut Party| party.org == org && party.log.place() == log.place();
        match self.parties.iter_mut().find(same) {
            Some(party) => {
                party.events.append(&mut events);
                party.members.push(member);
            }
            None => self.parties.push(Party { log, org, events, members: vec![member] }),
        }
    }

    pub(crate) fn leave(&mut self, org: &Name, cursor: Cursor, signer: Arc<dyn SignsEnds>) {
        self.left.entry(org.clone()).or_default().push(Left { cursor, signer });
    }

    /// The end that is stored without a note, if it was left so in this very transaction.
    pub(crate) fn find(&self, org: &Name, head: &Head) -> Option<Cursor> {
        Some(self.found(org, head)?.cursor.clone())
    }

    fn found(&self, org: &Name, head: &Head) -> Option<&Left> {
        // The running chain says all of what stands before it, so that no two ends are alike.
        let is_end = |left: &&Left| left.cursor.head("") == *head;
        self.left.get(org)?.iter().rev().find(is_end)
    }
}

impl Gathered for SharedEnds {
    fn before_commit(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let parties = std::mem::take(&mut self.parties);
        let mut tables = Tables::finishing(transaction, std::mem::take(self));
        let appended = parties.into_iter().try_for_each(|party| party.append(&mut tables));
        *self = tables.into_ends();
        appended?;
        self.sign(transaction)
    }

    fn committed(&mut self) {
        for (checkpoint, signer) in &self.signed {
            signer.committed(checkpoint);
        }
    }
}

impl SharedEnds {
    fn sign(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        for org in self.left.keys() {
            let head = Tables::of(transaction).head(org).map_err(refused)?;
            // Everything was undone, or a later append that signs by itself was the last one.
            let Some(head) = head.filter(|head| head.note.is_empty()) else { continue };
            let left = self.found(org, &head).ok_or_else(|| refused(StoreError::HeadMoved))?;
            let (note, checkpoint) = left.signer.sign_end(org, &left.cursor.tree);
            let place = params![org.as_str(), note, to_i64(checkpoint.size)];
            if transaction.prepare_cached(SIGN_HEAD)?.execute(place)? != 1 {
                return Err(refused(StoreError::HeadMoved));
            }
            self.signed.push((checkpoint, Arc::clone(&left.signer)));
        }
        Ok(())
    }
}

impl fmt::Debug for SharedEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedEnds").finish_non_exhaustive()
    }
}

fn refused(error: StoreError) -> rusqlite::Error {
    match error {
        StoreError::Sqlite(error) => error,
        other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
    }
}
