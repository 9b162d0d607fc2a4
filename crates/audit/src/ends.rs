//! Ends of logs that are signed once for all appends of a transaction, right before its commit.
//!
//! Between one append and the next the stored end has no note. Nobody but the jobs of that
//! transaction ever sees it so: without its note the transaction is not committed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lictor_context::Name;
use lictor_store::Gathered;
use lictor_store::rusqlite::{self, Transaction, params};

use crate::filter::to_i64;
use crate::log::{Checkpoint, Tree};
use crate::maker::Cursor;
use crate::stores::{Head, StoreError, Tables, TrailReader as _, TrailStore};
use crate::trail::Inner;

const SIGN_HEAD: &str = "UPDATE audit_head SET checkpoint_note = ?2 WHERE org = ?1 AND size = ?3 \
    AND checkpoint_note = ''";

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

/// The ends that the appends of one transaction left unsigned.
#[derive(Default)]
pub struct SharedEnds {
    /// All of each log: an append may be undone, and the one before it is the end again.
    left: BTreeMap<Name, Vec<Left>>,
    signed: Vec<(Checkpoint, Arc<dyn SignsEnds>)>,
}

impl SharedEnds {
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

    fn committed(&mut self) {
        for (checkpoint, signer) in &self.signed {
            signer.committed(checkpoint);
        }
    }
}

impl fmt::Debug for SharedEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedEnds").field("orgs", &self.left.len()).finish_non_exhaustive()
    }
}

fn refused(error: StoreError) -> rusqlite::Error {
    match error {
        StoreError::Sqlite(error) => error,
        other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
    }
}
