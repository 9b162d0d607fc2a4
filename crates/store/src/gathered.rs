//! What the jobs that share a commit leave to be done once, for all of them.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction};

/// Gathered by the jobs of one transaction, and done once for all of them. Jobs get at it by
/// [`Store::gather`](crate::Store::gather).
pub trait Gathered: Any + Send {
    /// Called in the transaction when all its jobs are done, right before the commit. What jobs
    /// wrote that were undone is not there any more, though they may have gathered.
    ///
    /// # Errors
    /// What the commit is to fail with, for every job.
    fn before_commit(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()>;

    /// Called when the commit has succeeded, before any job's caller is told.
    fn committed(&mut self) {}
}

/// What is gathered in the transaction that is under way, if it is one that jobs share.
#[derive(Default)]
pub(crate) struct Gathering {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the connection of the transaction lies: no other one can lie there meanwhile.
    connection: Option<usize>,
    things: Vec<Box<dyn Gathered>>,
}

fn place_of(connection: &Connection) -> usize {
    std::ptr::from_ref(connection).addr()
}

impl Gathering {
    /// From now on jobs of this connection's transaction share, until that is dropped.
    pub(crate) fn begin(&self, connection: &Connection) -> Shared<'_> {
        *self.lock() = State { connection: Some(place_of(connection)), things: Vec::new() };
        Shared { gathering: self }
    }

    /// Lets a job at what is gathered; `None` when it shares its transaction with nobody, or that
    /// is none of ours.
    pub(crate) fn with<T: Gathered, R>(
        &self,
        connection: &Connection,
        make: impl FnOnce() -> T,
        change: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let mut state = self.lock();
        if state.connection != Some(place_of(connection)) {
            return None;
        }
        let found = state.things.iter().position(|thing| (&**thing as &dyn Any).is::<T>());
        let at = match found {
            Some(at) => at,
            None => {
                state.things.push(Box::new(make()));
                state.things.len() - 1
            }
        };
        let thing: &mut dyn Any = &mut **state.things.get_mut(at)?;
        Some(change(thing.downcast_mut()?))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in `change` is that of a job, which is undone; what is gathered is only ever
        // compared with what is in the database.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gathering")
    }
}

/// While a transaction is shared.
pub(crate) struct Shared<'a> {
    gathering: &'a Gathering,
}

impl Shared<'_> {
    /// Does what was gathered; what is left is to be told of the commit.
    pub(crate) fn finish(&self, transaction: &Transaction<'_>) -> rusqlite::Result<Finished> {
        let mut things = std::mem::take(&mut *self.gathering.lock()).things;
        for thing in &mut things {
            // Foreign code; it may not end the writer.
            let done = catch_unwind(AssertUnwindSafe(|| thing.before_commit(transaction)));
            done.unwrap_or_else(|_| Err(panicked()))?;
        }
        Ok(Finished(things))
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let left = std::mem::take(&mut *self.gathering.lock());
        catch_unwind(AssertUnwindSafe(|| drop(left))).unwrap_or_default();
    }
}

/// What was done for a commit that is to come.
pub(crate) struct Finished(Vec<Box<dyn Gathered>>);

impl Finished {
    pub(crate) fn committed(self) {
        for mut thing in self.0 {
            catch_unwind(AssertUnwindSafe(|| thing.committed())).unwrap_or_default();
        }
    }
}

fn panicked() -> rusqlite::Error {
    let why = "what was to be done before the commit panicked";
    rusqlite::Error::ToSqlConversionFailure(why.into())
}
