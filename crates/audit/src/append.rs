//! Appending: the lines, what is kept beside them, and the signed end.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use lictor_context::{Event, Name};
use lictor_store::Store;
use lictor_store::rusqlite::{self, Transaction};

use crate::ends::{Appends, SignsEnds, Slot};
use crate::error::{AppendError, AppendErrorKind};
use crate::fault::point;
use crate::filter::to_i64;
use crate::line::{line_action_name, line_time};
use crate::log::{Tree, leaf_hash};
use crate::maker::{Cursor, Made, Maker, Prepared, PreparedEvents, is_own};
use crate::stores::{
    Beside, Head, NewLine, StoreError, Tables, TrailReader, TrailStore, TrailWriter,
};
use crate::trail::{Appended, AppendedTo, AuditLog};

impl AuditLog<Store> {
    /// Appends events inside somebody's transaction: they are there if and only if the rest of it
    /// is. All or none of them; each organisation's get one signed checkpoint.
    ///
    /// The end of the log is read inside the transaction, so that many processes never fork it.
    /// What was written is read again before it is signed. When the transaction is committed,
    /// call [`confirm`](Self::confirm). What takes time is done in [`prepare`](Self::prepare),
    /// where nobody waits for it.
    ///
    /// # Errors
    /// When SQLite refuses, the log is not what was signed last, a person's key is not to be had,
    /// or one of the events is of a type that the trail writes by itself.
    pub fn append_in(
        &self,
        tx: &Transaction<'_>,
        events: PreparedEvents,
    ) -> Result<Appended, AppendError> {
        let Some((first, _)) = events.orgs.first() else {
            return Ok(Appended { logs: Vec::new(), measured: events.measured });
        };
        let first = first.clone();
        let failed = |error: rusqlite::Error| AppendError::new(&first, error.into());
        // A caller that goes on after our error must not commit half of our rows.
        run(tx, "SAVEPOINT audit_append").map_err(failed)?;
        let appended = self.append_with(&mut Tables::shared(&self.inner.store, tx), events);
        if appended.is_err() {
            // The first error says more than one of undoing would.
            run(tx, "ROLLBACK TO audit_append").unwrap_or_default();
            run(tx, "RELEASE audit_append").unwrap_or_default();
        } else {
            run(tx, "RELEASE audit_append").map_err(failed)?;
        }
        appended
    }
}

fn run(tx: &Transaction<'_>, sql: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(sql)?.execute([]).map(|_| ())
}

impl<S: TrailStore> Appends for AuditLog<S> {
    fn append(
        &self,
        writer: &mut dyn TrailWriter,
        org: &Name,
        events: &[Prepared],
    ) -> Result<AppendedTo, AppendErrorKind> {
        self.append_org(writer, org, events, Signing::Together)
    }

    fn place(&self) -> usize {
        Arc::as_ptr(&self.inner).addr()
    }
}

/// When the end of a log is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// Whatever else is in the transaction.
    AtOnce,
    /// Once for all appends of the transaction, when there are others.
    Together,
}

impl<S: TrailStore> AuditLog<S> {
    /// Leaves out what is not to stand in events, seals what only some may read, and writes the
    /// rest: all that can be done before it is known where they will stand.
    ///
    /// # Errors
    /// When a person's key is not to be had.
    pub fn prepare(&self, events: Vec<Event>) -> Result<PreparedEvents, AppendError> {
        self.inner.maker.prepare(events)
    }

    /// Appends what others may write. When it fails, the caller takes back what was written.
    pub(crate) fn append_with<W: TrailWriter + ?Sized>(
        &self,
        writer: &mut W,
        events: PreparedEvents,
    ) -> Result<Appended, AppendError> {
        match events.find(is_own) {
            Some(event) => {
                Err(AppendError::new(event.org(), AppendErrorKind::Reserved(event.event_type())))
            }
            None => self.append_prepared(writer, events, Signing::Together),
        }
    }

    /// As [`append_with`](Self::append_with), for one who only appends: where others do in the same
    /// transaction, all of it is done at once at its end, and what came of it is left in `slot`.
    pub(crate) fn append_among<W: TrailWriter + ?Sized>(
        &self,
        writer: &mut W,
        events: PreparedEvents,
        slot: Slot,
    ) -> Result<Appended, AppendError> {
        if events.orgs.len() != 1 || events.find(is_own).is_some() || !writer.share(&mut |_| {}) {
            return self.append_with(writer, events);
        }
        let PreparedEvents { mut orgs, measured } = events;
        let mut waiting = orgs.pop().map(|own| (own, measured, slot));
        writer.share(&mut |ends| {
            if let Some((own, measured, slot)) = waiting.take() {
                ends.enlist(Box::new(self.clone()), own, measured, slot);
            }
        });
        Ok(Appended { logs: Vec::new(), measured: Vec::new() })
    }

    /// As [`append_with`](Self::append_with), whatever the types.
    pub(crate) fn append_own<W: TrailWriter + ?Sized>(
        &self,
        writer: &mut W,
        events: Vec<Event>,
    ) -> Result<Appended, AppendError> {
        let events = self.prepare(events)?;
        self.append_prepared(writer, events, Signing::AtOnce)
    }

    fn append_prepared<W: TrailWriter + ?Sized>(
        &self,
        writer: &mut W,
        events: PreparedEvents,
        signing: Signing,
    ) -> Result<Appended, AppendError> {
        let PreparedEvents { orgs, measured } = events;
        let mut logs = Vec::with_capacity(orgs.len());
        for (org, own) in orgs {
            let appended = self.append_org(writer, &org, &own, signing);
            logs.push(appended.map_err(|kind| AppendError::new(&org, kind))?);
        }
        Ok(Appended { logs, measured })
    }

    pub(crate) fn append_org<W: TrailWriter + ?Sized>(
        &self,
        writer: &mut W,
        org: &Name,
        events: &[Prepared],
        signing: Signing,
    ) -> Result<AppendedTo, AppendErrorKind> {
        let mut cursor = self.end(writer, org)?;
        let before = cursor.tree.clone();
        let mut sessions = HashMap::new();
        let goes_on = |session: &str| match writer.next_session_seq(org, session) {
            Err(StoreError::Damaged(_)) => Err(AppendErrorKind::Tampered),
            next => Ok(next?),
        };
        let lines = Maker::lines(&mut cursor, events, &mut sessions, goes_on)?;
        point("append: before the rows")?;
        for made in &lines {
            insert(writer, org, made)?;
        }
        point("append: before the sessions")?;
        for (session, next) in &sessions {
            writer.put_session(org, session, *next)?;
        }
        // INVARIANT: what is signed is what is stored. A bit that flipped on the way would
        // otherwise make a log that nobody can ever verify.
        read_back(writer, org, before.clone(), &cursor)?;
        point("append: before it is signed")?;
        let checkpoint = match signing {
            Signing::Together if writer.share(&mut |_| {}) => {
                writer.put_head(org, before.size(), &cursor.head(""))?;
                let (mut left, signer) = (Some(cursor.clone()), &self.inner);
                writer.share(&mut |ends| {
                    if let Some(left) = left.take() {
                        ends.leave(org, left, Arc::clone(signer) as Arc<dyn SignsEnds>);
                    }
                });
                self.inner.maker.checkpoint(org, &cursor.tree)
            }
            Signing::Together | Signing::AtOnce => {
                let (note, checkpoint) = self.inner.maker.sign(org, &cursor.tree);
                writer.put_head(org, before.size(), &cursor.head(&note))?;
                self.inner.know(org, (note, checkpoint.clone()));
                checkpoint
            }
        };
        point("append: before the commit")?;
        let events = cursor.tree.size() - before.size();
        Ok(AppendedTo { org: org.clone(), first_seq: before.size(), events, checkpoint })
    }

    /// The end of the log as this writer sees it, if it is what was signed, or what an append
    /// before this one left in the same transaction.
    fn end<W: TrailWriter + ?Sized>(
        &self,
        writer: &mut W,
        org: &Name,
    ) -> Result<Cursor, AppendErrorKind> {
        let Some(head) = writer.head(org)? else { return self.checked(writer, org, None) };
        if !head.note.is_empty() {
            return self.checked(writer, org, Some(head));
        }
        // INVARIANT: everything was checked when the first append of this transaction found its
        // end signed, and nobody else can have written since.
        let mut left = None;
        writer.share(&mut |ends| left = ends.find(org, &head));
        left.ok_or(AppendErrorKind::Tampered)
    }

    fn checked<W: TrailWriter + ?Sized>(
        &self,
        writer: &mut W,
        org: &Name,
        head: Option<Head>,
    ) -> Result<Cursor, AppendErrorKind> {
        let origin = self.origin(org);
        self.follow_key(writer.key()?.as_deref())?;
        let (cursor, root) = match head {
            None => (Cursor::start(), Tree::new().root()),
            Some(head) => {
                let (tree, chain) = head.parts().ok_or(AppendErrorKind::Tampered)?;
                let signed = self.open_note(org, head.note).ok_or(AppendErrorKind::Tampered)?;
                let root = tree.root();
                let same =
                    signed.origin == origin && signed.size == tree.size() && signed.root == root;
                // INVARIANT: nothing is signed that does not follow from what was signed before;
                // whoever rewrote the log has it refused here, not confirmed.
                if !same {
                    return Err(AppendErrorKind::Tampered);
                }
                (Cursor { tree, chain }, root)
            }
        };
        if let Some(guard) = &self.inner.guard {
            guard.check(&origin, cursor.tree.size(), &root)?;
        }
        writer.complete(org, cursor.tree.size())?;
        Ok(cursor)
    }
}

impl Cursor {
    /// The log that ends here, with its signed checkpoint.
    pub(crate) fn head(&self, note: &str) -> Head {
        Head {
            size: self.tree.size(),
            chain: self.chain.to_vec(),
            frontier: self.tree.frontier(),
            note: note.to_owned(),
        }
    }
}

fn insert<W: TrailWriter + ?Sized>(
    writer: &mut W,
    org: &Name,
    made: &Made<'_>,
) -> Result<(), AppendErrorKind> {
    let event = &made.prepared.event;
    let (principal, facts) = (event.session().principal(), event.facts());
    let action_name = line_action_name(event);
    let beside = Beside {
        seq: to_i64(made.place.seq),
        session: event.session().id().as_str(),
        session_seq: to_i64(made.place.session_seq),
        event_type: event.event_type().as_str(),
        timestamp: line_time(event).as_micros(),
        user: principal.user.as_str(),
        agent: principal.agent.as_str(),
        action_name: action_name.as_deref(),
        execution: facts.execution_id.as_ref().map(|id| id.as_str()),
        run: facts.run_id.as_ref().map(|id| id.as_str()),
        success: facts.success,
        leaf: &made.leaf,
        chain: &made.chain,
    };
    writer.insert(org, &NewLine { bytes: &made.bytes, beside })?;
    for (node, hash) in &made.nodes {
        writer.put_node(org, *node, hash)?;
    }
    for content in &made.prepared.sealed {
        writer.put_sealed(org, made.place.seq, &content.pointer, &content.ciphertext)?;
    }
    Ok(())
}

/// Reads what was written, hashes it again, and compares.
fn read_back<R: TrailReader + ?Sized>(
    reader: &R,
    org: &Name,
    mut tree: Tree,
    cursor: &Cursor,
) -> Result<(), AppendErrorKind> {
    let first = tree.size();
    let mut wrong = None;
    reader.lines(org, first..u64::MAX, &mut |line| {
        let due = tree.size();
        let leaf = leaf_hash(line.bytes);
        if line.seq != due || line.leaf.is_some_and(|stored| stored != leaf) {
            wrong = Some(due);
            return ControlFlow::Break(());
        }
        tree.push(leaf);
        ControlFlow::Continue(())
    })?;
    match wrong {
        Some(seq) => Err(AppendErrorKind::NotAsWritten { seq }),
        None if tree == cursor.tree => Ok(()),
        None => Err(AppendErrorKind::NotAsWritten { seq: first }),
    }
}
