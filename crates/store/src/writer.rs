//! The thread that writes: takes all that is queued, commits once, wakes everybody.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::connection::{CommitPermit, Patience, Place, close_writer};
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
    pub(crate) fn new(job: F, caller: Caller<T, E>) -> Self {
        Self { job: Some(job), result: None, caller, alone: false }
    }

    pub(crate) fn alone(self) -> Self {
        Self { alone: true, ..self }
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
        if self.put(job) {
            self.wake();
        }
    }

    /// As [`push`](Self::push), without waking the writer; says whether it was taken.
    pub(crate) fn put(&self, job: Box<dyn Job>) -> bool {
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
            Some(job) => {
                job.answer(Verdict::Closed);
                false
            }
            None => true,
        }
    }

    /// Tells the writer's thread that there is something to do.
    fn wake(&self) {
        self.filled.notify_one();
    }

    /// No more jobs; those that are in are still done.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.filled.notify_one();
    }

    /// Waits until there is something to do; `false` when closed and empty.
    fn wait(&self) -> bool {
        let state = self
            .filled
            .wait_while(self.state.lock().unwrap_or_else(PoisonError::into_inner), |state| {
                state.jobs.is_empty() && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        !state.jobs.is_empty()
    }

    /// Up to `most` jobs, those that came first.
    fn take(&self, most: usize) -> VecDeque<Box<dyn Job>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let n = state.jobs.len().min(most);
        state.jobs.drain(..n).collect()
    }

    /// Puts jobs back that were taken and not begun.
    fn put_back(&self, jobs: VecDeque<Box<dyn Job>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for job in jobs.into_iter().rev() {
            state.jobs.push_front(job);
        }
    }

    fn is_empty(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.is_empty()
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
    pub(crate) counters: Arc<Counters>,
    pub(crate) options: StoreOptions,
    /// Without it each commit becomes a rollback, so that a job cannot end the transaction.
    pub(crate) commits: CommitPermit,
    pub(crate) gathering: Arc<Gathering>,
    /// Whether another process that writes is waited for.
    pub(crate) patience: Patience,
}

/// Where the writer is: one thread at a time works with it, mostly its own.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) queue: Arc<Queue>,
    /// Nothing once it is closed.
    writer: Arc<Mutex<Option<Writer>>>,
}

impl Desk {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { queue: Arc::default(), writer: Arc::new(Mutex::new(Some(writer))) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Writer>> {
        // Jobs that panic are caught; an open transaction is undone when it is dropped.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's own thread, until the queue is closed and empty.
    pub(crate) fn run(self) {
        while self.queue.wait() {
            if let Some(writer) = self.lock().as_mut() {
                writer.batch(self.queue.take(writer.options.max_batch));
            }
        }
        if let Some(writer) = self.lock().take() {
            let fold = writer.counters.fold.load(Ordering::Relaxed);
            close_writer(&writer.place, writer.connection, fold);
        }
    }

    /// Does one batch on this thread, if nobody is at it and no other process keeps it waiting. What
    /// is left then, or comes meanwhile, is the writer's own thread's.
    pub(crate) fn help(&self) {
        match self.writer.try_lock() {
            Ok(mut writer) => self.help_with(writer.as_mut()),
            Err(TryLockError::Poisoned(poisoned)) => self.help_with(poisoned.into_inner().as_mut()),
            Err(TryLockError::WouldBlock) => {}
        }
        // INVARIANT: who could not do its own job wakes one who can.
        if !self.queue.is_empty() {
            self.queue.wake();
        }
    }

    fn help_with(&self, writer: Option<&mut Writer>) {
        let Some(writer) = writer else { return };
        writer.patience.lose();
        let left = writer.batch_at_once(self.queue.take(writer.options.max_batch));
        writer.patience.regain();
        self.queue.put_back(left);
    }
}

impl Writer {
    fn batch(&mut self, mut waiting: VecDeque<Box<dyn Job>>) {
        // More than one turn only if a job ended the transaction for those before it, or wants
        // one of its own.
        while !waiting.is_empty() {
            self.turn(&mut waiting, true);
        }
    }

    /// The same; gives back what would have to wait for another process.
    fn batch_at_once(&mut self, mut waiting: VecDeque<Box<dyn Job>>) -> VecDeque<Box<dyn Job>> {
        let mut goes_on = true;
        while goes_on && !waiting.is_empty() {
            goes_on = self.turn(&mut waiting, false);
        }
        waiting
    }

    /// One transaction: takes jobs off `waiting` and answers all that it took. `false` when another
    /// process writes, and it may not be told so to anybody.
    fn turn(&mut self, waiting: &mut VecDeque<Box<dyn Job>>, tells_busy: bool) -> bool {
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
                let busy = error.sqlite().sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
                if busy && done.is_empty() && !tells_busy {
                    return false;
                }
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
        true
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
