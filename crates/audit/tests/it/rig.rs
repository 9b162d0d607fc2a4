//! A trail to test with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lictor_audit::log::{Checkpoint, Tree, leaf_hash};
use lictor_audit::{
    AuditLog, AuditOptions, Filter, SigningKey, Verdict, Verification, migrations, verify_file,
};
use lictor_context::{
    Event, EventFacts, EventType, ManualClock, Name, Principal, Session, SessionId, Timestamp,
};
use lictor_store::rusqlite::Connection;
use lictor_store::{Durability, Store, StoreOptions};
use tempfile::TempDir;

pub(crate) const START: Timestamp = Timestamp::from_micros(1_763_000_000_000_000);

/// A folder with a store, a key and a guard.
pub(crate) struct Rig {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) clock: ManualClock,
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn session(org: &str, id: &str) -> Session {
    let principal = Principal { org: name(org), user: name("ann"), agent: name("planner") };
    Session::resume(SessionId::parse(id).unwrap(), principal)
}

pub(crate) fn principal_session(org: &str, user: &str, id: &str) -> Session {
    let principal = Principal { org: name(org), user: name(user), agent: name("planner") };
    Session::resume(SessionId::parse(id).unwrap(), principal)
}

impl Rig {
    /// The same store, key and all, somewhere else.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        let db = Connection::open(self.database()).unwrap();
        let target = copy.database();
        db.execute("VACUUM INTO ?1", [target.to_str().unwrap()]).unwrap();
        for name in ["audit.key", "audit.key.pub"] {
            std::fs::copy(self.path(name), copy.path(name)).unwrap();
        }
        copy
    }

    /// A checkpoint with its list of leaves, by somebody who has this key.
    pub(crate) fn forge(&self, key: &SigningKey, origin: &str, lines: &[Vec<u8>]) -> Vec<u8> {
        use base64::Engine as _;
        let mut tree = Tree::new();
        let mut list = "\nlictor-leaves/v1\n".to_owned();
        for line in lines {
            tree.push(leaf_hash(line));
            let leaf = base64::engine::general_purpose::STANDARD.encode(leaf_hash(line));
            list.push_str(&leaf);
            list.push('\n');
        }
        let checkpoint =
            Checkpoint { origin: origin.to_owned(), size: tree.size(), root: tree.root() };
        (key.sign(&checkpoint) + &list).into_bytes()
    }

    pub(crate) fn new() -> Self {
        Self { folder: Arc::new(TempDir::new().unwrap()), clock: ManualClock::new(START) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("audit.db")
    }

    pub(crate) fn open(&self) -> AuditLog {
        open_in(self.folder.path(), AuditOptions::default())
    }

    pub(crate) fn open_guarded(&self) -> AuditLog {
        open_in(self.folder.path(), AuditOptions::default().guard_dir(self.path("guard")))
    }

    pub(crate) fn event(&self, session: &Session, n: u64) -> Event {
        let facts = EventFacts {
            action_name: Some(format!("step.{n}")),
            success: Some(!n.is_multiple_of(3)),
            ..EventFacts::default()
        };
        Event::new(session, EventType::ActionCompleted, facts, &self.clock)
    }

    /// Appends so many events of `acme`, in two sessions.
    pub(crate) fn fill(&self, log: &AuditLog, count: u64) {
        let sessions = [session("acme", "ses_1"), session("acme", "ses_2")];
        let events = (0..count).map(|n| self.event(&sessions[usize::from(n % 2 == 1)], n));
        log.append(events.collect()).expect("appends");
    }

    /// Tampers with the database as somebody would who can write its file.
    pub(crate) fn tamper(&self, sql: &str) {
        let connection = Connection::open(self.database()).unwrap();
        let triggers: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for trigger in triggers {
            connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        connection.execute_batch(sql).expect(sql);
    }
}

pub(crate) fn open_in(folder: &Path, options: AuditOptions) -> AuditLog {
    let store = Store::open(
        &folder.join("audit.db"),
        StoreOptions::default().durability(Durability::Normal),
        migrations(),
    );
    let key = SigningKey::load_or_create(&folder.join("audit.key")).unwrap();
    AuditLog::open(store.unwrap(), key, options).unwrap()
}

/// The two files of an export.
pub(crate) struct Export {
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) checkpoint: Vec<u8>,
}

pub(crate) fn export(log: &AuditLog, filter: &Filter) -> Export {
    let (mut events, mut checkpoint) = (Vec::new(), Vec::new());
    log.export(&name("acme"), filter, &mut events, &mut checkpoint).unwrap();
    let lines = events.split_inclusive(|byte| *byte == b'\n');
    Export { lines: lines.map(|line| line[..line.len() - 1].to_vec()).collect(), checkpoint }
}

impl Export {
    pub(crate) fn events(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
    }

    pub(crate) fn verify(&self, log: &AuditLog) -> Verification {
        let origin = log.origin(&name("acme"));
        let (events, checkpoint) = (self.events(), self.checkpoint.as_slice());
        verify_file(events.as_slice(), checkpoint, &log.public_key(), Some(&origin)).unwrap()
    }
}

#[track_caller]
pub(crate) fn check(found: &Verification, verdict: Verdict, first_bad_seq: Option<u64>) {
    assert_eq!((found.verdict, found.first_bad_seq), (verdict, first_bad_seq), "{found:?}");
    assert_eq!(found.problem.is_none(), verdict == Verdict::Complete, "{found:?}");
}
