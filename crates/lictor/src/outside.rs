//! What is done outside of the workspace: signs of work that survive a crash, and secrets.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_context::{Clock, Event, EventFacts, EventType, ExecutionId};
use lictor_executor::{AtWork, ExecutionStatus, LedgerError, Sign};
use lictor_handlers::SecretSource;
use lictor_lock::{Claim, Lease, WorkspaceLock};

use crate::runtime::Runtime;

/// So many signs that nobody needs just now are kept for later.
const MAX_IDLE: usize = 16;
/// What the name of a sign that stands for nothing begins with: no id does.
const IDLE: &str = "~";

/// The folder of the signs of work: one locked file for each execution that does something
/// elsewhere, under its name. Who finds one that nobody holds has found a crash.
///
/// A file that was made and locked once goes from name to name: that costs a third of making one.
#[derive(Debug, Clone)]
pub(crate) struct Signs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    idle: Mutex<Vec<Held>>,
}

/// A sign that this process holds.
#[derive(Debug)]
struct Held {
    place: PathBuf,
    _lease: Lease,
}

/// The sign of one execution.
#[derive(Debug)]
struct Up {
    held: Held,
    of: Signs,
}

impl Signs {
    pub(crate) fn new(state: &Path) -> Self {
        let inner = Inner { folder: state.join("outside"), idle: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Puts up the sign of an execution.
    pub(crate) fn put_up(&self, id: &ExecutionId) -> Result<AtWork, LedgerError> {
        let held = match self.take_idle(id) {
            Some(held) => held,
            None => self.make(id)?,
        };
        Ok(AtWork(Some(Box::new(Up { held, of: self.clone() }))))
    }

    /// One that was made before; none when somebody took it away.
    fn take_idle(&self, id: &ExecutionId) -> Option<Held> {
        let mut held = self.idle().pop()?;
        let place = self.inner.folder.join(id.as_str());
        rename(&held.place, &place).ok()?;
        held.place = place;
        Some(held)
    }

    fn make(&self, id: &ExecutionId) -> Result<Held, LedgerError> {
        let fail = |error: &dyn std::fmt::Display| LedgerError(error.to_string());
        let place = self.inner.folder.join(id.as_str());
        let lock = WorkspaceLock::new(&place);
        let lease = lock.try_acquire(Claim::new("lictor", id.as_str())).or_else(|error| {
            // The folder is there but for the first time.
            std::fs::create_dir_all(&self.inner.folder).map_err(|_| fail(&error))?;
            lock.try_acquire(Claim::new("lictor", id.as_str())).map_err(|error| fail(&error))
        });
        lease.map(|lease| Held { place, _lease: lease })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Held>> {
        // Every change is one push or one removal, so nothing is half done after a panic.
        self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The executions whose signs nobody holds, with the signs.
    fn abandoned(&self) -> Vec<(ExecutionId, AtWork)> {
        let Ok(entries) = std::fs::read_dir(&self.inner.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let take = |name: String| {
            let place = self.inner.folder.join(&name);
            let lock = WorkspaceLock::new(&place);
            let (id, idle) = (ExecutionId::parse(&name).ok(), name.starts_with(IDLE));
            if id.is_none() && !idle {
                return None;
            }
            let lease = lock.try_acquire(Claim::new("lictor recovery", &name)).ok()?;
            let held = Held { place, _lease: lease };
            match id {
                Some(id) => Some((id, AtWork(Some(Box::new(Up { held, of: self.clone() }))))),
                // It stood for nothing when its process ended.
                None => {
                    held.remove();
                    None
                }
            }
        };
        names.filter_map(take).collect()
    }
}

impl Sign for Up {
    fn ended(self: Box<Self>) {
        let Self { mut held, of } = *self;
        let Some(name) = held.place.file_name().and_then(|name| name.to_str()) else { return };
        let place = of.inner.folder.join(format!("{IDLE}{name}"));
        if of.idle().len() >= MAX_IDLE {
            return held.remove();
        }
        match rename(&held.place, &place) {
            Ok(()) => {
                held.place = place;
                of.idle().push(held);
            }
            Err(error) => {
                tracing::warn!(%error, "the sign of work could not be taken down");
                held.remove();
            }
        }
    }
}

impl Held {
    /// Whoever finds it nevertheless, having opened it just before, finds the end on record.
    #[expect(clippy::disallowed_methods, reason = "the sign of work is not part of a workspace")]
    fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.place)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the sign of work could not be taken away");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(idle).into_iter().for_each(Held::remove);
    }
}

#[expect(clippy::disallowed_methods, reason = "the sign of work is not part of a workspace")]
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(from, to)
}

impl Runtime {
    /// Says of what a crash left outside of the workspace that nobody knows what became of it. It
    /// is not done again by anybody but a person.
    pub(crate) async fn doubt_abandoned(&self) -> Result<(), LedgerError> {
        let clock: &dyn Clock = self.clock().as_ref();
        for (id, at_work) in self.parts.signs.abandoned() {
            let stored = self.executions().get(&id);
            let stored = stored.map_err(|error| LedgerError(error.to_string()))?;
            let open = stored.filter(|one| one.record.status == ExecutionStatus::Incomplete);
            if let Some(stored) = open {
                let record = stored.record;
                let why = "the process ended while it was done; it may or may not have happened";
                let facts = EventFacts { error_message: Some(why.to_owned()), ..record.facts() };
                let event = Event::new(&record.session(), EventType::ActionUnknown, facts, clock);
                lictor_executor::Ledger::settle(self.parts.ledger.as_ref(), None, vec![event])
                    .await?;
            }
            at_work.ended();
        }
        Ok(())
    }
}

/// Secrets from the environment: `LICTOR_SECRET_<NAME>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvironmentSecrets;

impl SecretSource for EnvironmentSecrets {
    #[expect(clippy::disallowed_methods, reason = "this is where secrets come from")]
    fn secret(&self, name: &str) -> Option<String> {
        std::env::var(format!("LICTOR_SECRET_{name}")).ok().filter(|secret| !secret.is_empty())
    }
}

/// Secrets as a runtime has them, unless its options say otherwise.
pub(crate) fn environment() -> Arc<dyn SecretSource> {
    Arc::new(EnvironmentSecrets)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::MetadataExt as _;

    use lictor_context::SystemClock;

    use super::*;

    fn id() -> ExecutionId {
        ExecutionId::generate(&SystemClock)
    }

    fn names(state: &Path) -> BTreeSet<String> {
        let entries = std::fs::read_dir(state.join("outside")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    #[test]
    fn a_sign_stands_under_the_name_of_its_execution_until_the_end_and_is_used_again() {
        let state = tempfile::tempdir().unwrap();
        let signs = Signs::new(state.path());
        let mut inodes = BTreeSet::new();
        for id in [id(), id(), id()] {
            let at_work = signs.put_up(&id).unwrap();
            assert_eq!(names(state.path()), BTreeSet::from([id.to_string()]));
            let place = state.path().join("outside").join(id.as_str());
            inodes.insert(std::fs::metadata(place).unwrap().ino());
            // Held, so nobody takes it for one that was left.
            assert!(Signs::new(state.path()).abandoned().is_empty());
            at_work.ended();
            assert!(!names(state.path()).contains(id.as_str()));
        }
        assert_eq!(inodes.len(), 1, "one file went from name to name");
        drop(signs);
        assert!(names(state.path()).is_empty());
    }

    #[test]
    fn several_at_a_time_have_one_each() {
        let state = tempfile::tempdir().unwrap();
        let signs = Signs::new(state.path());
        let ids: Vec<ExecutionId> = (0..20).map(|_| id()).collect();
        let up: Vec<AtWork> = ids.iter().map(|id| signs.put_up(id).unwrap()).collect();
        assert_eq!(names(state.path()), ids.iter().map(ToString::to_string).collect());
        up.into_iter().for_each(AtWork::ended);
        assert_eq!(names(state.path()).len(), MAX_IDLE);
    }

    #[test]
    fn what_was_left_is_found_once_and_what_stood_for_nothing_goes() {
        let state = tempfile::tempdir().unwrap();
        let (left, done) = (id(), id());
        let signs = Signs::new(state.path());
        signs.put_up(&done).unwrap().ended();
        // As a crash does it: what was held is let go of, and the files stay.
        let at_work = signs.put_up(&left).unwrap();
        let idle = signs.put_up(&id()).unwrap();
        idle.ended();
        drop(at_work);
        signs.idle().clear();
        drop(signs);
        assert_eq!(names(state.path()).len(), 2);
        let next = Signs::new(state.path());
        let mut found = next.abandoned();
        assert_eq!(found.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [left]);
        assert_eq!(names(state.path()).len(), 1, "the one that stood for nothing is gone");
        found.remove(0).1.ended();
        drop(next);
        assert!(names(state.path()).is_empty());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "somebody takes away what no workspace has")]
    fn one_that_somebody_took_away_is_made_anew() {
        let state = tempfile::tempdir().unwrap();
        let signs = Signs::new(state.path());
        signs.put_up(&id()).unwrap().ended();
        std::fs::remove_dir_all(state.path().join("outside")).unwrap();
        let again = id();
        let _at_work = signs.put_up(&again).unwrap();
        assert_eq!(names(state.path()), BTreeSet::from([again.to_string()]));
    }
}
