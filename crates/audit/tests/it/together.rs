//! Appends that share a commit: signed once, and as much is checked as of one alone.

use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use lictor_audit::{
    AppendError, AppendErrorKind, Appended, AuditLog, AuditOptions, Filter, SigningKey, Verdict,
    migrations,
};
use lictor_context::{EventSink as _, RecordError, Session};
use lictor_store::rusqlite::Connection;
use lictor_store::{Durability, PendingWrite, Store, StoreOptions, WriteError};

use crate::rig::{Rig, check, name, session};

/// A store whose writer can be held, with a guarded trail.
struct Scene {
    rig: Rig,
    store: Store,
    log: AuditLog,
}

type Write = PendingWrite<Appended, AppendError>;

impl Scene {
    fn new() -> Self {
        let rig = Rig::new();
        let options = StoreOptions::default().durability(Durability::Normal);
        let store = Store::open(&rig.database(), options, migrations()).unwrap();
        let log = trail(&rig, &store);
        rig.fill(&log, 3);
        Self { rig, store, log }
    }

    /// Keeps the writer busy, so that what is written meanwhile shares a commit.
    fn hold(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let job = self.store.write(move |_| {
            started.send(()).unwrap();
            released.recv().unwrap_or_default();
            Ok::<_, ()>(())
        });
        has_started.recv().unwrap();
        drop(job);
        release
    }

    /// Appends an event of a session in a job; it fails when it is not to keep it.
    fn append(&self, log: &AuditLog, session: &Session, n: u64, keep: bool) -> Write {
        let (inside, event) = (log.clone(), self.rig.event(session, n));
        let events = log.prepare(vec![event]).unwrap();
        self.store.write(move |tx| {
            let appended = inside.append_in(tx, events)?;
            if keep {
                Ok(appended)
            } else {
                Err(inside.append_in(tx, reserved(&inside)).unwrap_err())
            }
        })
    }

    fn rows(&self, sql: &str) -> Vec<i64> {
        let connection = Connection::open(self.rig.database()).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[track_caller]
    fn holds(&self, org: &str, events: u64) {
        let found = self.log.verify_store(&name(org)).unwrap();
        check(&found, Verdict::Complete, None);
        assert_eq!(found.events, events);
    }
}

fn trail(rig: &Rig, store: &Store) -> AuditLog {
    let key = SigningKey::load_or_create(&rig.path("audit.key")).unwrap();
    let options = AuditOptions::default().guard_dir(rig.path("guard"));
    AuditLog::open(store.clone(), key, options).unwrap()
}

/// An event that nobody but the trail may write: appending it fails.
fn reserved(log: &AuditLog) -> lictor_audit::PreparedEvents {
    let clock = lictor_context::SystemClock;
    let facts = lictor_context::EventFacts::default();
    let kind = lictor_context::EventType::HoldPlaced;
    let event = lictor_context::Event::new(&session("acme", "ses_1"), kind, facts, &clock);
    log.prepare(vec![event]).unwrap()
}

/// Every end that gets a signature from now on leaves its size in a table.
fn count_signatures(rig: &Rig) {
    let connection = Connection::open(rig.database()).unwrap();
    let count = "CREATE TABLE signed (size INTEGER NOT NULL);
        CREATE TRIGGER sign_update AFTER UPDATE ON audit_head WHEN NEW.checkpoint_note <> ''
        BEGIN INSERT INTO signed VALUES (NEW.size); END;
        CREATE TRIGGER sign_insert AFTER INSERT ON audit_head WHEN NEW.checkpoint_note <> ''
        BEGIN INSERT INTO signed VALUES (NEW.size); END;";
    connection.execute_batch(count).unwrap();
}

/// From now on nobody signs an end that was left without a signature, or everybody does again.
fn refuse_signatures(rig: &Rig, refused: bool) {
    let sql = if refused {
        "CREATE TRIGGER refuse BEFORE UPDATE ON audit_head WHEN OLD.checkpoint_note = ''
         AND NEW.checkpoint_note <> '' BEGIN SELECT RAISE(ABORT, 'no'); END;"
    } else {
        "DROP TRIGGER refuse"
    };
    Connection::open(rig.database()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn appends_that_share_a_commit_are_signed_once() {
    let scene = Scene::new();
    count_signatures(&scene.rig);
    let held = scene.hold();
    let (acme, umbrella) = (session("acme", "ses_1"), session("umbrella", "ses_1"));
    // The last ones of each log are undone, and one in the middle.
    let writes: Vec<Write> = (0..12)
        .map(|n| {
            let whose = if n % 3 == 0 { &umbrella } else { &acme };
            scene.append(&scene.log, whose, n, n != 5 && n < 9)
        })
        .collect();
    drop(held);
    let mut kept = Vec::new();
    for write in writes {
        match write.wait() {
            Ok(appended) => kept.push(appended),
            Err(WriteError::Job(error)) => {
                assert!(matches!(error.kind(), AppendErrorKind::Reserved(_)), "{error:?}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(kept.len(), 8);
    // Each is told of the log as it was after its own.
    let sizes: Vec<u64> = kept.iter().map(|one| one.logs()[0].checkpoint.size).collect();
    assert_eq!(sizes, [1, 4, 5, 2, 6, 3, 7, 8]);
    assert_eq!(scene.rows("SELECT size FROM signed ORDER BY size"), [3, 8]);
    // Confirming the first one raises the guard for all.
    scene.log.confirm(&kept[1]).unwrap();
    scene.log.confirm(&kept[0]).unwrap();
    scene.holds("acme", 8);
    scene.holds("umbrella", 3);
    for appended in &kept {
        scene.log.confirm(appended).unwrap();
    }
    // One alone signs at once, on top of it.
    scene.rig.fill(&scene.log, 1);
    scene.holds("acme", 9);
    assert_eq!(scene.rows("SELECT size FROM signed ORDER BY size"), [3, 8, 9]);
}

#[test]
fn trails_of_one_store_share_a_commit() {
    let scene = Scene::new();
    let other = trail(&scene.rig, &scene.store);
    let held = scene.hold();
    let acme = session("acme", "ses_1");
    let writes: Vec<Write> = (0..10)
        .map(|n| scene.append(if n % 2 == 0 { &scene.log } else { &other }, &acme, n, n != 9))
        .collect();
    drop(held);
    let kept = writes.into_iter().filter_map(|write| write.wait().ok());
    kept.for_each(|appended| other.confirm(&appended).unwrap());
    scene.holds("acme", 12);
}

#[test]
fn an_end_that_could_not_be_signed_is_not_committed() {
    let scene = Scene::new();
    refuse_signatures(&scene.rig, true);
    let held = scene.hold();
    let acme = session("acme", "ses_1");
    let writes: Vec<Write> = (0..4).map(|n| scene.append(&scene.log, &acme, n, n != 2)).collect();
    drop(held);
    for (n, write) in writes.into_iter().enumerate() {
        let refused = write.wait().unwrap_err();
        assert_eq!(matches!(refused, WriteError::NotCommitted(_)), n != 2, "{refused:?}");
    }
    scene.holds("acme", 3);
    refuse_signatures(&scene.rig, false);
    scene.rig.fill(&scene.log, 2);
    scene.holds("acme", 5);
}

#[test]
fn an_end_without_a_note_that_nobody_left_is_tampered_with() {
    for alone in [true, false] {
        let scene = Scene::new();
        scene.rig.tamper("UPDATE audit_head SET checkpoint_note = ''");
        let held = scene.hold();
        let writes: Vec<Write> = (0..if alone { 1 } else { 3 })
            .map(|n| scene.append(&scene.log, &session("acme", "ses_1"), n, true))
            .collect();
        drop(held);
        for write in writes {
            let WriteError::Job(refused) = write.wait().unwrap_err() else { panic!() };
            assert!(matches!(refused.kind(), AppendErrorKind::Tampered), "{refused:?}");
        }
        assert_eq!(scene.log.count(&name("acme"), &Filter::default()).unwrap(), 3);
    }
}

#[test]
fn a_rotation_among_appends_ends_its_epoch_where_it_stands() {
    let scene = Scene::new();
    let acme = session("acme", "ses_1");
    for round in 0..4 {
        let held = scene.hold();
        let before: Vec<Write> = (0..5).map(|n| scene.append(&scene.log, &acme, n, true)).collect();
        std::thread::scope(|scope| {
            let rotated =
                scope.spawn(|| scene.log.rotate_key(&[session("acme", "ses_9")], &scene.rig.clock));
            let after: Vec<Write> =
                (0..5).map(|n| scene.append(&scene.log, &acme, n, true)).collect();
            drop(held);
            for write in before.into_iter().chain(after) {
                scene.log.confirm(&write.wait().unwrap()).unwrap();
            }
            rotated.join().unwrap().unwrap();
        });
        scene.holds("acme", 3 + 11 * (round + 1));
    }
    let again = trail(&scene.rig, &scene.store);
    scene.rig.fill(&again, 1);
    scene.holds("acme", 48);
}

type Record<'a> = Pin<Box<dyn Future<Output = Result<(), RecordError>> + Send + 'a>>;

/// Events that are on their way when this returns.
fn record<'a>(scene: &'a Scene, log: &'a AuditLog, session: &Session, events: u64) -> Record<'a> {
    let events = (0..events).map(|n| scene.rig.event(session, n)).collect();
    let mut record: Record<'_> = log.record(events);
    let polled = record.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
    record
}

fn wait(record: Record<'_>) -> Result<(), RecordError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(record)
}

#[test]
fn those_who_only_append_are_appended_together() {
    let scene = Scene::new();
    let other = trail(&scene.rig, &scene.store);
    count_signatures(&scene.rig);
    let held = scene.hold();
    let sessions = [session("acme", "ses_1"), session("acme", "ses_2"), session("umbrella", "u")];
    let mut records = Vec::new();
    for n in 0..12 {
        let log = if n % 4 == 0 { &other } else { &scene.log };
        records.push(record(&scene, log, &sessions[n % 3], n as u64 % 3 + 1));
    }
    // Somebody whose events belong to a job of theirs, in between.
    let job = scene.append(&scene.log, &sessions[0], 0, true);
    drop(held);
    records.into_iter().for_each(|record| wait(record).unwrap());
    scene.log.confirm(&job.wait().unwrap()).unwrap();
    // Four each of sessions 1 and 2 with one and two events, and of the other log with three.
    scene.holds("acme", 3 + 4 + 8 + 1);
    scene.holds("umbrella", 12);
    assert_eq!(scene.rows("SELECT size FROM signed ORDER BY size"), [12, 16]);
    scene.rig.fill(&scene.log, 1);
    scene.holds("acme", 17);
}

#[test]
fn one_who_cannot_append_keeps_nobody_else_from_it() {
    let scene = Scene::new();
    scene.rig.tamper("UPDATE audit_session SET next_seq = -1 WHERE session = 'ses_2'");
    let held = scene.hold();
    let (good, bad) = (session("acme", "ses_1"), session("acme", "ses_2"));
    let records: Vec<_> = (0..7)
        .map(|n| record(&scene, &scene.log, if n % 3 == 1 { &bad } else { &good }, 2))
        .collect();
    drop(held);
    for (n, record) in records.into_iter().enumerate() {
        assert_eq!(wait(record).is_ok(), n % 3 != 1, "{n}");
    }
    assert_eq!(scene.log.count(&name("acme"), &Filter::default()).unwrap(), 3 + 10);
    scene.rig.tamper("UPDATE audit_session SET next_seq = 1 WHERE session = 'ses_2'");
    scene.holds("acme", 13);
}

#[test]
fn what_was_to_be_appended_together_and_was_not_committed_is_not_recorded() {
    let scene = Scene::new();
    refuse_signatures(&scene.rig, true);
    let held = scene.hold();
    let acme = session("acme", "ses_1");
    let records: Vec<_> = (0..4).map(|_| record(&scene, &scene.log, &acme, 1)).collect();
    drop(held);
    records.into_iter().for_each(|record| assert!(wait(record).is_err()));
    scene.holds("acme", 3);
}
