//! What every store of runs has to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lictor_context::{ManualClock, Timestamp};
use lictor_workflow::{Claimed, Lease, Owner, RunRecord, RunStore, Save, StoreError, Wish};

/// What a store does not do as it has to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

fn must(holds: bool, what: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(what.to_owned())) }
}

fn asked<T>(what: &str, answer: Result<T, StoreError>) -> Result<T, Broken> {
    answer.map_err(|error| Broken(format!("{what}: {error}")))
}

/// Holds a store against what the engine relies on. `run` makes a new pending run of revision 1,
/// another one each time, that was created at the clock's time.
///
/// # Errors
/// The first thing that the store does not do as it has to.
pub async fn run_store(
    store: Arc<dyn RunStore>,
    clock: &ManualClock,
    run: impl Fn() -> RunRecord,
) -> Result<(), Broken> {
    let suite = Suite { store, clock };
    suite.keeps_what_is_created(run()).await?;
    suite.keeps_what_is_saved_under_a_lease(run()).await?;
    suite.fences(run()).await?;
    suite.leases_end_by_the_clock(run()).await?;
    suite.wishes_are_told_once(run()).await?;
    suite.lists_orphans_oldest_first(&run).await
}

struct Suite<'c> {
    store: Arc<dyn RunStore>,
    clock: &'c ManualClock,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Suite<'_> {
    fn now(&self) -> Timestamp {
        lictor_context::Clock::now(self.clock)
    }

    async fn save(&self, run: &RunRecord, lease: &Lease) -> Result<Option<Wish>, StoreError> {
        self.store.save(Save { run, lease, events: Vec::new() }).await
    }

    async fn claim(&self, run: &RunRecord, name: &str) -> Result<Option<Lease>, Broken> {
        let (owner, now) = (Owner(name.to_owned()), self.now());
        match asked("claim", self.store.claim(&run.run_id, &owner, now, now.plus(MINUTE)).await)? {
            Claimed::Had(_, lease) => {
                must(lease.owner == owner, "a lease is whose it was asked for")?;
                Ok(Some(lease))
            }
            Claimed::Held { .. } => Ok(None),
            Claimed::Missing => Err(Broken("a run that was kept is missing".to_owned())),
        }
    }

    async fn had(&self, run: &RunRecord, name: &str) -> Result<Lease, Broken> {
        let lease = self.claim(run, name).await?;
        lease.ok_or_else(|| Broken("a run that nobody drives can be claimed".to_owned()))
    }

    async fn keeps_what_is_created(&self, run: RunRecord) -> Result<(), Broken> {
        asked("create", self.store.create(&run, Vec::new()).await)?;
        let found = asked("load", self.store.load(&run.run_id).await)?;
        must(found.as_ref() == Some(&run), "a created run is loaded as it was")?;
        let again = self.store.create(&run, Vec::new()).await;
        must(matches!(again, Err(StoreError::Stale { .. })), "a run is created once")?;
        let listed = asked("list", self.store.list(usize::MAX).await)?;
        must(listed.contains(&run), "a created run is listed")
    }

    async fn keeps_what_is_saved_under_a_lease(&self, mut run: RunRecord) -> Result<(), Broken> {
        let owner = Owner("a".to_owned());
        let lease = Lease { owner, token: 1, until: self.now().plus(MINUTE) };
        asked("save a new run", self.save(&run, &lease).await)?;
        must(self.claim(&run, "b").await?.is_none(), "a run saved under a lease is held")?;
        for given in [run.revision, run.revision + 2] {
            let mut other = run.clone();
            other.revision = given;
            let stale = self.save(&other, &lease).await;
            must(matches!(stale, Err(StoreError::Stale { .. })), "only the next revision is kept")?;
        }
        run.revision += 1;
        run.active_us = 7;
        asked("save", self.save(&run, &lease).await)?;
        let found = asked("load", self.store.load(&run.run_id).await)?;
        must(found.as_ref() == Some(&run), "a saved run is loaded as it was saved")
    }

    async fn fences(&self, mut run: RunRecord) -> Result<(), Broken> {
        asked("create", self.store.create(&run, Vec::new()).await)?;
        let first = self.had(&run, "a").await?;
        must(self.claim(&run, "b").await?.is_none(), "a run that is driven is held")?;
        let own = self.had(&run, "a").await?;
        must(own.token > first.token, "an owner has its own run again, under a higher token")?;
        run.revision += 1;
        let fenced = self.save(&run, &first).await;
        must(matches!(fenced, Err(StoreError::Fenced { .. })), "an older token saves nothing")?;
        let fenced = self.store.renew(&run.run_id, &first).await;
        must(matches!(fenced, Err(StoreError::Fenced { .. })), "an older token renews nothing")?;
        asked("release", self.store.release(&run.run_id, &first).await)?;
        must(self.claim(&run, "b").await?.is_none(), "an older token gives nothing back")?;
        asked("release", self.store.release(&run.run_id, &own).await)?;
        let next = self.had(&run, "b").await?;
        must(next.token > own.token, "tokens only grow")
    }

    async fn leases_end_by_the_clock(&self, run: RunRecord) -> Result<(), Broken> {
        asked("create", self.store.create(&run, Vec::new()).await)?;
        let mut lease = self.had(&run, "a").await?;
        self.clock.advance(MINUTE / 2);
        lease.until = self.now().plus(MINUTE);
        asked("renew", self.store.renew(&run.run_id, &lease).await)?;
        self.clock.advance(MINUTE / 2 + Duration::from_secs(1));
        must(self.claim(&run, "b").await?.is_none(), "a lease that was renewed lasts longer")?;
        self.clock.advance(MINUTE / 2);
        let next = self.had(&run, "b").await?;
        must(next.token > lease.token, "a lease that is over can be had by another")
    }

    async fn wishes_are_told_once(&self, mut run: RunRecord) -> Result<(), Broken> {
        asked("create", self.store.create(&run, Vec::new()).await)?;
        let lease = self.had(&run, "a").await?;
        let cancel = Wish::Cancel { rollback: true };
        for wish in [Wish::Pause, cancel, Wish::Pause, Wish::Look] {
            asked("ask", self.store.ask(&run.run_id, wish).await)?;
        }
        run.revision += 1;
        let told = asked("save", self.save(&run, &lease).await)?;
        must(told == Some(cancel), "the strongest wish is told with a save")?;
        let again = asked("renew", self.store.renew(&run.run_id, &lease).await)?;
        must(again.is_none(), "a wish is told once")?;
        asked("ask", self.store.ask(&run.run_id, Wish::Pause).await)?;
        let told = asked("renew", self.store.renew(&run.run_id, &lease).await)?;
        must(told == Some(Wish::Pause), "a wish is told with a renewal")
    }

    async fn lists_orphans_oldest_first(&self, run: &impl Fn() -> RunRecord) -> Result<(), Broken> {
        let older = run();
        self.clock.advance(MINUTE);
        let newer = run();
        for one in [&newer, &older] {
            asked("create", self.store.create(one, Vec::new()).await)?;
        }
        let found = asked("orphans", self.store.orphans(self.now(), usize::MAX).await)?;
        let place = |one: &RunRecord| found.iter().position(|id| *id == one.run_id);
        must(place(&older).is_some() && place(&older) < place(&newer), "the oldest comes first")?;
        let held = self.had(&older, "a").await?;
        let found = asked("orphans", self.store.orphans(self.now(), usize::MAX).await)?;
        must(!found.contains(&older.run_id), "what is driven is no orphan")?;
        must(found.contains(&newer.run_id), "what waits to be driven is one")?;
        let later = held.until.plus(Duration::from_secs(1));
        let found = asked("orphans", self.store.orphans(later, usize::MAX).await)?;
        must(found.contains(&older.run_id), "what is not driven any more is one")
    }
}
