//! Runs in our store, and who drives them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lictor_audit::AuditLog;
use lictor_context::{Clock, Event, RunId, SessionId, Timestamp};
use lictor_state::{ClaimedRow, KeptRun, LeaseRow, RunRow, Runs, StateError};
use lictor_workflow::{
    Claimed, Lease, Owner, RunRecord, RunStatus, RunStore, Save, StoreError, Wish,
};

use crate::run_records::{in_clear, row, whole};
use crate::run_secrets::RunSecrets;
use crate::runtime::Runtime;

/// This process, as others can see that it is alive: from its first run on it holds a lock on a
/// file beside the database, and the kernel lets go of it whatever the process ends by.
#[derive(Debug)]
pub(crate) struct Owners {
    folder: PathBuf,
    name: String,
    n_engines: AtomicU64,
    held: Mutex<Option<File>>,
}

impl Owners {
    pub(crate) fn new(state_folder: &Path, clock: &dyn Clock) -> Self {
        Self {
            folder: state_folder.join("lictor.db.owners"),
            name: SessionId::generate(clock).to_string(),
            n_engines: AtomicU64::new(0),
            held: Mutex::new(None),
        }
    }

    /// Shows others that this process is alive, before it is said to drive anything.
    fn show(&self) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        sweep(&self.folder)?;
        let path = self.folder.join(&self.name);
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            file.lock()?;
            // Nobody sweeps away what is locked; before that, somebody may have.
            if path.exists() {
                *held = Some(file);
                return Ok(());
            }
        }
    }

    /// A name that no other engine has.
    pub(crate) fn next(&self) -> Owner {
        let n = self.n_engines.fetch_add(1, Ordering::Relaxed);
        Owner(format!("{}/{n}", self.name))
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        if held.is_some()
            && let Err(error) = remove(&self.folder.join(&self.name))
        {
            tracing::debug!(%error, "the file that showed this process as alive stays behind");
        }
    }
}

/// Whether the process of an owner is no more. In doubt it is not: then its lease has to run out.
fn is_gone(folder: &Path, owner: &str) -> bool {
    let Some((name, _)) = owner.split_once('/') else { return false };
    if SessionId::parse(name).is_err() {
        return false;
    }
    match File::open(folder.join(name)) {
        Ok(file) => file.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Removes what processes left that did not end in good order.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(file) = File::open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => remove(&path)?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a file of our own state, that holds nothing")]
fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

pub(crate) struct RuntimeRuns {
    runtime: Runtime,
    /// Which workspace's runs they are.
    place: String,
}

fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn lease_row(lease: &Lease) -> LeaseRow {
    let Lease { owner, token, until } = lease;
    LeaseRow { owner: owner.0.clone(), token: *token, until: until.as_micros() }
}

fn wish(text: Option<String>) -> Option<Wish> {
    text.and_then(|text| serde_json::from_str(&text).ok())
}

fn refused(run_id: &RunId, given: u64, error: StateError) -> StoreError {
    let run_id = run_id.clone();
    match error {
        StateError::Stale { found } => StoreError::Stale { run_id, found, given },
        StateError::Fenced => StoreError::Fenced { run_id },
        other => unavailable(other),
    }
}

impl RuntimeRuns {
    pub(crate) fn new(runtime: Runtime) -> Self {
        let options = &runtime.parts.options;
        // A database that lies in the workspace is that of no other, wherever that is moved.
        let place = if options.shared.is_none() && options.state_dir.is_none() {
            String::new()
        } else {
            let root = options.workspace.canonicalize();
            root.unwrap_or_else(|_| options.workspace.clone()).to_string_lossy().into_owned()
        };
        Self { runtime, place }
    }

    fn runs(&self) -> &Runs {
        &self.runtime.parts.runs
    }

    fn audit(&self) -> &AuditLog {
        &self.runtime.parts.audit
    }

    fn row(&self, run: &RunRecord) -> Result<RunRow, StoreError> {
        let redactor = self.secrets().redactor(Some(&run.run_id));
        row(self.audit(), &redactor, &self.place, run)
    }

    fn secrets(&self) -> &RunSecrets {
        self.runtime.parts.ledger.secrets()
    }

    /// Gives back a run that cannot be read whole. One whose secrets are gone ends here: nobody
    /// could ever take it further. That they are gone stays on record.
    async fn cannot_go_on(
        &self,
        kept: KeptRun,
        lease: &Lease,
        why: StoreError,
    ) -> Result<StoreError, StoreError> {
        let run = in_clear(&kept)?;
        let ended = match &why {
            StoreError::Gone { reason, .. } => {
                run.clone().abandoned(reason, self.runtime.clock().as_ref())
            }
            StoreError::Stale { .. } | StoreError::Fenced { .. } | StoreError::Unavailable(_) => {
                None
            }
        };
        let Some((ended, events)) = ended else {
            self.release(&run.run_id, lease).await?;
            return Ok(why);
        };
        let row = RunRow { sealed: kept.sealed, ..self.row(&ended)? };
        self.save_row(row, lease, true, events).await?;
        Ok(why)
    }

    async fn save_row(
        &self,
        row: RunRow,
        lease: &Lease,
        at_rest: bool,
        events: Vec<Event>,
    ) -> Result<Option<Wish>, StoreError> {
        let (id, revision, lease) = (row.id.clone(), row.revision, lease_row(lease));
        let events = self.runtime.begun_with(events);
        let saved =
            self.runtime.parts.ledger.commit(events, move |tx| {
                Ok((Vec::new(), Runs::save_in(tx, &row, &lease, at_rest)?))
            });
        saved.await.map(wish).map_err(|error| refused(&id, revision, error))
    }

    /// Whether an owner is gone; asked once for each.
    fn gone(&self) -> impl Fn(&str) -> bool + Send + use<> {
        let folder = self.runtime.parts.owners.folder.clone();
        let known = std::cell::RefCell::new(std::collections::HashMap::<String, bool>::new());
        move |owner| {
            let mut known = known.borrow_mut();
            *known.entry(owner.to_owned()).or_insert_with(|| is_gone(&folder, owner))
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        run_id: &RunId,
        job: impl FnOnce(&lictor_store::rusqlite::Transaction<'_>) -> Result<T, StateError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let written = self.runtime.store().write(job).await.map_err(StateError::from);
        written.map_err(|error| refused(run_id, 0, error))
    }
}

impl Runtime {
    /// A run, whole.
    pub(crate) fn run_record(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        let found = self.parts.runs.get_kept(run_id).map_err(unavailable)?;
        found.map(|kept| whole(&self.parts.audit, &kept)).transpose()
    }
}

#[async_trait]
impl RunStore for RuntimeRuns {
    async fn create(&self, run: &RunRecord, events: Vec<Event>) -> Result<(), StoreError> {
        self.secrets().take_up(run);
        let row = self.row(run)?;
        let events = self.runtime.begun_with(events);
        let created = self.runtime.parts.ledger.commit(events, move |tx| {
            Runs::create_in(tx, &row)?;
            Ok((Vec::new(), ()))
        });
        created.await.map_err(|error| refused(&run.run_id, run.revision, error))
    }

    async fn save(&self, save: Save<'_>) -> Result<Option<Wish>, StoreError> {
        let Save { run, lease, events } = save;
        self.runtime.parts.owners.show().map_err(unavailable)?;
        let row = self.row(run)?;
        let rests = run.status().is_at_rest();
        let saved = self.save_row(row, lease, rests, events).await;
        if rests && saved.is_ok() {
            self.secrets().forget(&run.run_id);
        }
        saved
    }

    async fn claim(
        &self,
        run_id: &RunId,
        owner: &Owner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claimed<RunRecord>, StoreError> {
        self.runtime.parts.owners.show().map_err(unavailable)?;
        let (id, by, gone) = (run_id.clone(), owner.0.clone(), self.gone());
        let place = self.place.clone();
        let (now, until_us) = (now.as_micros(), until.as_micros());
        let claimed = self
            .write(run_id, move |tx| Runs::claim_in(tx, (&place, &id), &by, now, until_us, gone))
            .await?;
        Ok(match claimed {
            ClaimedRow::Missing => Claimed::Missing,
            ClaimedRow::Held { by } => Claimed::Held { by: Owner(by) },
            ClaimedRow::Had { run, lease } => {
                let lease = Lease { owner: Owner(lease.owner), token: lease.token, until };
                match whole(self.audit(), &run) {
                    Ok(run) => Claimed::Had(Box::new(run), lease),
                    Err(error) => return Err(self.cannot_go_on(run, &lease, error).await?),
                }
            }
        })
    }

    async fn renew(&self, run_id: &RunId, lease: &Lease) -> Result<Option<Wish>, StoreError> {
        let (id, lease) = (run_id.clone(), lease_row(lease));
        self.write(run_id, move |tx| Runs::renew_in(tx, &id, &lease)).await.map(wish)
    }

    async fn release(&self, run_id: &RunId, lease: &Lease) -> Result<(), StoreError> {
        let (id, lease) = (run_id.clone(), lease_row(lease));
        self.write(run_id, move |tx| Runs::release_in(tx, &id, &lease)).await
    }

    async fn ask(&self, run_id: &RunId, asked: Wish) -> Result<(), StoreError> {
        let id = run_id.clone();
        let choose = move |earlier| {
            serde_json::to_string(&asked.stronger(wish(earlier))).unwrap_or_default()
        };
        self.write(run_id, move |tx| Runs::ask_in(tx, &id, choose)).await
    }

    async fn orphans(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let states: Vec<&str> = RunStatus::ALL
            .iter()
            .filter(|status| !status.is_at_rest())
            .map(|status| status.as_str())
            .collect();
        let found = self.runs().orphans(&self.place, &states, now.as_micros(), limit, self.gone());
        found.map_err(unavailable)
    }

    async fn load(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.runtime.run_record(run_id)
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let found = self.runs().list(limit).map_err(unavailable)?;
        // To look at, and not to go on from: without what is sealed.
        let read = |run| serde_json::from_value(run).map_err(unavailable);
        found.into_iter().map(read).collect()
    }
}
