//! Every kind of store keeps the same promises.

use std::ops::Range;

use lictor_audit::log::{Hash, Node};
use lictor_audit::{
    Filter, Head, JsonlOptions, JsonlStore, MemoryStore, NewLine, Pending, Pruned, StoreError,
    TakeLine, TrailReader, TrailStore, TrailWriter, WriteJob, conformance, migrations,
};
use lictor_context::Name;
use lictor_store::{Durability, Store, StoreOptions};

/// Says which promise is broken, and how.
#[track_caller]
fn check(found: Result<(), conformance::Broken>) {
    let found = found.map_err(|broken| {
        let how = std::error::Error::source(&broken).map(ToString::to_string);
        format!("{broken}: {}", how.unwrap_or_default())
    });
    assert_eq!(found, Ok(()));
}

#[test]
fn logs_in_memory_conform() {
    let scratch = tempfile::tempdir().unwrap();
    check(conformance::check(scratch.path(), || {
        let store = MemoryStore::new();
        move || store.clone()
    }));
}

#[test]
fn logs_in_tables_conform() {
    let scratch = tempfile::tempdir().unwrap();
    check(conformance::check(scratch.path(), || {
        let folder = tempfile::tempdir().unwrap();
        move || {
            let options = StoreOptions::default().durability(Durability::Normal);
            Store::open(&folder.path().join("audit.db"), options, migrations()).unwrap()
        }
    }));
}

#[test]
fn logs_in_files_conform_however_long_the_files() {
    for max_events in [2, 300] {
        let scratch = tempfile::tempdir().unwrap();
        check(conformance::check(scratch.path(), || {
            let folder = tempfile::tempdir().unwrap();
            let options = JsonlOptions { max_events, ..JsonlOptions::default() };
            move || JsonlStore::open(folder.path(), options.clone()).unwrap()
        }));
    }
}

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NewIds,
    AnyEnd,
    LosesSessions,
    LosesHolds,
    KeepsWhatIsPruned,
    OtherOrder,
    OneLineLess,
}

/// A store that keeps all promises but one.
#[derive(Debug, Clone)]
struct Faulty(MemoryStore, Fault);

impl TrailStore for Faulty {
    fn log_id(&self, fresh: &str) -> Result<String, StoreError> {
        let id = self.0.log_id(fresh)?;
        Ok(if self.1 == Fault::NewIds { fresh.to_owned() } else { id })
    }

    fn view<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&dyn TrailReader) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.view(|reader| look(&Reader(reader, self.1)))
    }

    fn submit(&self, job: WriteJob) -> Pending {
        let fault = self.1;
        self.0.submit(Box::new(move |writer| job(&mut Writer(writer, fault))))
    }
}

struct Reader<'a>(&'a dyn TrailReader, Fault);
struct Writer<'a>(&'a mut dyn TrailWriter, Fault);

macro_rules! reads {
    ($of:ident) => {
        impl TrailReader for $of<'_> {
            fn log_id(&self) -> Result<Option<String>, StoreError> {
                self.0.log_id()
            }
            fn orgs(&self) -> Result<Vec<String>, StoreError> {
                self.0.orgs()
            }
            fn head(&self, org: &Name) -> Result<Option<Head>, StoreError> {
                self.0.head(org)
            }
            fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError> {
                self.0.pruned(org)
            }
            fn lines(
                &self,
                org: &Name,
                range: Range<u64>,
                take: &mut TakeLine<'_>,
            ) -> Result<(), StoreError> {
                let less = u64::from(self.1 == Fault::OneLineLess && range.start > 0);
                self.0.lines(org, range.start + less..range.end, take)
            }
            fn hashes(&self, org: &Name, from: Node, count: u64) -> Result<Vec<Hash>, StoreError> {
                self.0.hashes(org, from, count)
            }
            fn next_session_seq(&self, org: &Name, session: &str) -> Result<u64, StoreError> {
                self.0.next_session_seq(org, session)
            }
            fn holds(&self, org: &Name) -> Result<Vec<String>, StoreError> {
                self.0.holds(org)
            }
            fn select(
                &self,
                org: &Name,
                filter: &Filter,
                take: &mut TakeLine<'_>,
            ) -> Result<(), StoreError> {
                let newest_first = filter.newest_first && self.1 != Fault::OtherOrder;
                self.0.select(org, &Filter { newest_first, ..filter.clone() }, take)
            }
            fn count(&self, org: &Name, filter: &Filter) -> Result<u64, StoreError> {
                self.0.count(org, filter)
            }
        }
    };
}
reads!(Reader);
reads!(Writer);

impl TrailWriter for Writer<'_> {
    fn insert(&mut self, org: &Name, line: &NewLine<'_>) -> Result<(), StoreError> {
        self.0.insert(org, line)
    }
    fn put_node(&mut self, org: &Name, place: Node, hash: &Hash) -> Result<(), StoreError> {
        self.0.put_node(org, place, hash)
    }
    fn put_session(&mut self, org: &Name, session: &str, next: u64) -> Result<(), StoreError> {
        let next = if self.1 == Fault::LosesSessions { 0 } else { next };
        self.0.put_session(org, session, next)
    }
    fn put_head(&mut self, org: &Name, before: u64, head: &Head) -> Result<(), StoreError> {
        let found = self.0.head(org)?.map_or(0, |head| head.size);
        self.0.put_head(org, if self.1 == Fault::AnyEnd { found } else { before }, head)
    }
    fn put_hold(&mut self, org: &Name, name: &str, placed: bool) -> Result<(), StoreError> {
        if self.1 == Fault::LosesHolds { Ok(()) } else { self.0.put_hold(org, name, placed) }
    }
    fn prune(&mut self, org: &Name, pruned: &Pruned) -> Result<(), StoreError> {
        if self.1 == Fault::KeepsWhatIsPruned { Ok(()) } else { self.0.prune(org, pruned) }
    }
}

#[test]
fn a_store_that_breaks_a_promise_does_not_conform() {
    for (fault, promise) in [
        (Fault::NewIds, "one_id_for_all_handles"),
        (Fault::AnyEnd, "compare_and_set_of_the_end"),
        (Fault::LosesSessions, "dense_and_by_organisation"),
        (Fault::LosesHolds, "all_or_nothing"),
        (Fault::KeepsWhatIsPruned, "pruned_logs_prove_themselves"),
        (Fault::OtherOrder, "pages_agree_with_a_naive_filter"),
        (Fault::OneLineLess, "dense_and_by_organisation"),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let found = conformance::check(scratch.path(), || {
            let store = MemoryStore::new();
            move || Faulty(store.clone(), fault)
        });
        assert_eq!(found.unwrap_err().promise(), promise, "{fault:?}");
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::atomic::{AtomicU32, Ordering};

    use lictor_audit::postgres::NoTls;
    use lictor_audit::{AuditLog, AuditOptions, PostgresStore, SigningKey, Verdict, conformance};

    use crate::rig::{Rig, name, session};
    use crate::server::Server;

    #[test]
    fn logs_in_a_server_conform() {
        let Some(server) = Server::start() else { return };
        let scratch = tempfile::tempdir().unwrap();
        let databases = AtomicU32::new(0);
        super::check(conformance::check(scratch.path(), || {
            let n = databases.fetch_add(1, Ordering::SeqCst);
            let config = server.database(&format!("conform_{n}"));
            move || {
                let config = config.clone();
                PostgresStore::open(move || config.connect(NoTls)).unwrap()
            }
        }));
    }

    #[test]
    fn what_somebody_changed_in_a_server_is_named_and_nothing_is_added() {
        use lictor_context::EventSink as _;
        let Some(server) = Server::start() else { return };
        let rig = Rig::new();
        let config = server.database("tampered");
        let connect = config.clone();
        let store = PostgresStore::open(move || connect.connect(NoTls)).unwrap();
        let key = SigningKey::from_seed(&[3; 32]);
        let log = AuditLog::over(store, key, AuditOptions::default()).unwrap();
        let ann = session("acme", "ses_1");
        // Awaited, it blocks no thread of the runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for n in 0..20 {
                log.record(vec![rig.event(&ann, n)]).await.unwrap();
            }
        });
        let verify = || log.verify_store(&name("acme")).unwrap();
        assert_eq!(verify().verdict, Verdict::Complete);
        let mut client = config.connect(NoTls).unwrap();
        let flip = "UPDATE lictor_event SET bytes = set_byte(bytes, 9, get_byte(bytes, 9) # 1) \
                    WHERE seq = 12";
        let user = |name| format!("UPDATE lictor_event SET usr = '{name}' WHERE seq = 7");
        for (change, back, seq) in
            [(user("bob"), user("ann"), 7), (flip.to_owned(), flip.to_owned(), 12)]
        {
            client.batch_execute(&change).unwrap();
            let found = verify();
            assert_eq!((found.verdict, found.first_bad_seq), (Verdict::Tampered, Some(seq)));
            client.batch_execute(&back).unwrap();
        }
        assert_eq!(verify().verdict, Verdict::Complete);
        client.batch_execute("UPDATE lictor_head SET size = 19").unwrap();
        assert!(log.append(vec![rig.event(&ann, 1)]).is_err());
    }
}
