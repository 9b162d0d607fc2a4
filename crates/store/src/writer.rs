//! The thread that writes: takes all that is queued, commits once, wakes everybody.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::connection::{CommitPermit, Place, close_writer};
use crate::error::{NotCommitted, WriteError};
use crate::gathered::Gathering;
use crate::migration::transaction_ended;
use crate::options::{Access, StoreOptions};
use crate::pending::{Answer, Caller};

/// One caller's work, with its types forgotten.
pub(crate) trait Job: Send {
    /// Does it; `false` when what it wrote is to be undone.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;
    /// Whether its transaction is to be nobody else's.
    fn is_alone(&self) -> bool;
    /// Tells the caller how it ended.
    fn answer(self: Box<Self>, verdict: Verdict);
}

/// How a job's part in a batch ended.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// What the job itself returned stands.
    Settled,
    NotCommitted(NotCommitted),
    Closed,
}

pub(crate) struct Task<T, E, F> {
    job: Option<F>,
    result: Option<Answer<T, E>>,
    caller: Caller<T, E>,
    alone: bool,
}

impl<T, E, F> Task<T, E, F> {
    pub(crate) fn new(job: F, caller: Caller<T, E>, alone: bool) -> Self {
        Self { job: Some(job), result: None, caller, alone }
    }
}

impl<T, E, F> Job for Task<T, E, F>
where
    T: Send,
    E: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let Some(job) = self.job.take() else {
            return false;
        };
        // What the job leaves half changed is its own and dropped, or in the database and undone.
        let result = match catch_unwind(AssertUnwindSafe(|| job(transaction))) {
            Ok(result) => result.map_err(WriteError::Job),
            Err(_) => Err(WriteError::Panicked),
        };
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn is_alone(&self) -> bool {
        self.alone
    }

    fn answer(self: Box<Self>, verdict: Verdict) {
        // What is dropped in here is foreign code, and wakers are too: neither may end the
        // writer.
        catch_unwind(AssertUnwindSafe(move || {
            self.caller.answer(match (verdict, self.result) {
                // Its own failure says more than that of the commit.
                (_, Some(Err(error))) => Err(error),
                (Verdict::Settled, Some(Ok(value))) => Ok(value),
                (Verdict::NotCommitted(error), _) => Err(WriteError::NotCommitted(error)),
                (Verdict::Settled | Verdict::Closed, _) => Err(WriteError::Closed),
            });
        }))
        .unwrap_or_default();
    }
}

/// Jobs on their way to the writer.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    closed: bool,
}

impl Queue {
    pub(crate) fn push(&self, job: Box<dyn Job>) {
        let refused = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                Some(job)
            } else {
                state.jobs.push_back(job);
                None
            }
        };
        match refused {
            Some(job) => job.answer(Verdict::Closed),
            None => self.filled.notify_one(),
        }
    }

    /// No more jobs; those that are in are still done.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.filled.notify_one();
    }

    /// Up to `most` jobs; `None` when closed and empty.
    fn take(&self, most: usize) -> Option<Vec<Box<dyn Job>>> {
        let mut state = self
            .filled
            .wait_while(self.state.lock().unwrap_or_else(PoisonError::into_inner), |state| {
                state.jobs.is_empty() && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.jobs.is_empty() {
            return None;
        }
        let n = state.jobs.len().min(most);
        Some(state.jobs.drain(..n).collect())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) jobs: AtomicU64,
    pub(crate) largest_batch: AtomicU64,
    /// Whether the log is to be folded into the database when it is closed, however small it is.
    pub(crate) fold: AtomicBool,
}

pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) place: Place,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) options: StoreOptions,
    /// Without it each commit becomes a rollback, so that a job cannot end the transaction.
    pub(crate) commits: CommitPermit,
    pub(crate) gathering: Arc<Gathering>,
}

impl Writer {
    /// Until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(batch) = self.queue.take(self.options.max_batch) {
            let mut waiting = VecDeque::from(batch);
            // More than one turn only if a job ended the transaction for those before it, or wants
            // one of its own.
            while !waiting.is_empty() {
                self.turn(&mut waiting);
            }
        }
        let fold = self.counters.fold.load(Ordering::Relaxed);
        close_writer(&self.place, self.connection, fold);
    }

    /// One transaction: takes jobs off `waiting` and answers all that it took.
    fn turn(&mut self, waiting: &mut VecDeque<Box<dyn Job>>) {
        let mut done = Vec::with_capacity(waiting.len());
        let rules = (&self.commits, &self.options, &*self.gathering);
        let outcome = perform(&mut self.connection, waiting, &mut done, rules);
        let verdict = match outcome {
            Ok(0) => Verdict::Settled,
            Ok(kept) => {
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                self.counters.jobs.fetch_add(kept, Ordering::Relaxed);
                self.counters.largest_batch.fetch_max(kept, Ordering::Relaxed);
                Verdict::Settled
            }
            Err(error) => {
                // Not even begun: no use in trying for each of the rest.
                if done.is_empty() {
                    done.extend(waiting.drain(..));
                }
                Verdict::NotCommitted(error)
            }
        };
        for job in done {
            job.answer(verdict.clone());
        }
    }
}

/// Runs jobs into one transaction; says how many were kept and committed.
fn perform(
    connection: &mut Connection,
    waiting: &mut VecDeque<Box<dyn Job>>,
    done: &mut Vec<Box<dyn Job>>,
    (commits, options, gathering): (&CommitPermit, &StoreOptions, &Gathering),
) -> Result<u64, NotCommitted> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(NotCommitted::new)?;
    let alone = waiting.len() == 1 || waiting.front().is_some_and(|first| first.is_alone());
    // Nobody shares with one who is alone, who does at once what others leave to the end.
    let shared = (!alone).then(|| gathering.begin(&transaction));
    let mut kept = 0;
    while let Some(mut job) = next(waiting, done) {
        // From here on it is among those that share the outcome.
        let guarded = options.before(Access::Write).and_then(|()| {
            if alone { Ok(job.run(&transaction)) } else { savepoint(&transaction, &mut *job) }
        });
        done.push(job);
        if guarded.map_err(NotCommitted::new)? {
            kept += 1;
        }
        if transaction.is_autocommit() {
            return Err(NotCommitted::new(transaction_ended()));
        }
    }
    if kept == 0 {
        // Nothing to keep, so nothing to pay for. The transaction is undone when dropped.
        return Ok(0);
    }
    let finished = shared.as_ref().map(|shared| shared.finish(&transaction)).transpose();
    let finished = finished.map_err(NotCommitted::new)?;
    if transaction.is_autocommit() {
        return Err(NotCommitted::new(transaction_ended()));
    }
    options.before(Access::Commit).map_err(NotCommitted::of_commit)?;
    commits.commit(transaction).map_err(NotCommitted::of_commit)?;
    if let Some(finished) = finished {
        finished.committed();
    }
    Ok(kept)
}

/// The next job of the same transaction.
fn next(waiting: &mut VecDeque<Box<dyn Job>>, done: &[Box<dyn Job>]) -> Option<Box<dyn Job>> {
    let ends_here = done.last().is_some_and(|last| last.is_alone())
        || (!done.is_empty() && waiting.front().is_some_and(|next| next.is_alone()));
    if ends_here { None } else { waiting.pop_front() }
}

fn savepoint(transaction: &Transaction<'_>, job: &mut dyn Job) -> rusqlite::Result<bool> {
    let execute = |sql| transaction.prepare_cached(sql)?.execute(()).map(|_| ());
    execute("SAVEPOINT lictor_job")?;
    let keep = job.run(transaction);
    if transaction.is_autocommit() {
        // Gone with the transaction; the caller sees that, too.
        return Ok(false);
    }
    if !keep {
        execute("ROLLBACK TO lictor_job")?;
    }
    execute("RELEASE lictor_job")?;
    Ok(keep)
}
