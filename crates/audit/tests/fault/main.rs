//! The process dies at each point of each protocol, as `kill -9` does it: afterwards the trail
//! verifies, what was acknowledged is there, and nothing was done that is not recorded.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and starts the processes that it kills"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lictor_audit::{
    AuditLog, AuditOptions, Cut, Filter, JsonlOptions, JsonlStore, SigningKey, Verdict, migrations,
    verify_file,
};
use lictor_context::{
    Event, EventFacts, EventType, Name, Principal, Session, SessionId, SystemClock, seal_keeping,
};
use lictor_store::{Durability, Store, StoreOptions};
use serde_json::json;

const CHILD: &str = "LICTOR_AUDIT_CHILD";
const FAULT: &str = "LICTOR_AUDIT_FAULT";
const COUNT: &str = "LICTOR_AUDIT_FAULT_COUNT";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn session(user: &str) -> Session {
    let principal = Principal { org: name("acme"), user: name(user), agent: name("planner") };
    Session::resume(SessionId::parse("ses_1").unwrap(), principal)
}

fn open(folder: &Path) -> AuditLog {
    let options = StoreOptions::default().durability(Durability::Normal);
    let store = Store::open(&folder.join("audit.db"), options, migrations()).unwrap();
    let key = SigningKey::load_or_create(&folder.join("audit.key")).unwrap();
    let options = AuditOptions::default()
        .guard_dir(folder.join("guard"))
        .subjects_dir(folder.join("subjects"));
    AuditLog::open(store, key, options).unwrap()
}

fn event(n: u64) -> Event {
    let (params, private) = seal_keeping(&json!({ "content": format!("content {n}") }));
    let facts = EventFacts { action_params: Some(params), private, ..EventFacts::default() };
    Event::new(&session("ann"), EventType::DecisionMade, facts, &SystemClock)
}

fn fill(log: &AuditLog, count: u64) {
    log.append((0..count).map(event).collect()).unwrap();
}

/// A trail in files of a few events each.
fn open_files(folder: &Path) -> AuditLog<JsonlStore> {
    let options = JsonlOptions { max_events: 4, ..JsonlOptions::default() };
    let store = JsonlStore::open(&folder.join("files"), options).unwrap();
    let key = SigningKey::load_or_create(&folder.join("audit.key")).unwrap();
    let options = AuditOptions::default().guard_dir(folder.join("files-guard"));
    AuditLog::over(store, key, options).unwrap()
}

/// What the child does; it notes what it was told is done.
fn child(step: &str, folder: &Path) {
    if let Some(step) = step.strip_prefix("files:") {
        return child_of_files(step, folder);
    }
    let log = open(folder);
    let officer = session("officer");
    match step {
        "append" => {
            for n in 1..=3_u64 {
                fill(&log, 2);
                fs::write(folder.join("acknowledged"), (n * 2).to_string()).unwrap();
            }
        }
        "erase" => drop(log.erase_subject(&officer, &name("ann"), &SystemClock).unwrap()),
        "archive" => {
            drop(log.archive(&officer, Cut::Seq(300), &folder.join("old"), &SystemClock).unwrap());
        }
        "rotate" => drop(log.rotate_key(&[officer], &SystemClock).unwrap()),
        other => panic!("{other}"),
    }
}

fn child_of_files(step: &str, folder: &Path) {
    let log = open_files(folder);
    match step {
        "append" => {
            for n in 1..=5_u64 {
                log.append((0..2).map(event).collect()).unwrap();
                fs::write(folder.join("acknowledged"), (n * 2).to_string()).unwrap();
            }
        }
        "archive" => {
            let out = folder.join("old");
            drop(log.archive(&session("officer"), Cut::Seq(300), &out, &SystemClock).unwrap());
        }
        other => panic!("{other}"),
    }
}

/// Runs the child in a folder; says whether it came to its end.
fn run(step: &str, folder: &Path, fault: (&str, &str)) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_is_told_what_to_do"])
        .env(CHILD, format!("{step}:{}", folder.display()))
        .env(fault.0, fault.1)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.unwrap().success()
}

/// Not a test of its own: the process that is killed.
#[test]
fn a_process_that_is_told_what_to_do() {
    if let Ok(wish) = std::env::var(CHILD) {
        let (step, folder) = wish.rsplit_once(':').unwrap();
        child(step, Path::new(folder));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

/// Kills the child at each of its points, and then at each point looks at what is left.
fn at_every_point(step: &str, before: u64, look: impl Fn(&Path, &AuditLog, bool)) {
    let prepare = |folder: &Path| {
        let log = open(folder);
        if before > 0 {
            fill(&log, before);
        }
    };
    everywhere(step, prepare, |folder, done| {
        let log = open(folder);
        look(folder, &log, done);
        if !done {
            // It goes on, and is still whole.
            fill(&log, 2);
            let found = log.verify_store(&name("acme")).unwrap();
            assert!(found.verdict.is_proven(), "{found:?}");
        }
    });
}

/// As `at_every_point`, of a trail in files.
fn at_every_point_of_files(
    step: &str,
    before: u64,
    look: impl Fn(&Path, &AuditLog<JsonlStore>, bool),
) {
    let prepare = |folder: &Path| {
        let log = open_files(folder);
        if before > 0 {
            log.append((0..before).map(event).collect()).unwrap();
        }
    };
    everywhere(&format!("files:{step}"), prepare, |folder, done| {
        let log = open_files(folder);
        look(folder, &log, done);
        log.append((0..2).map(event).collect()).unwrap();
        let found = open_files(folder).verify_store(&name("acme")).unwrap();
        assert!(found.verdict.is_proven(), "{found:?}");
    });
}

/// At each point the child dies once, and once a system call fails there.
fn everywhere(step: &str, prepare: impl Fn(&Path), look: impl Fn(&Path, bool)) {
    let root = tempfile::tempdir().unwrap();
    let prepared = root.path().join("prepared");
    fs::create_dir(&prepared).unwrap();
    prepare(&prepared);
    let fresh = |name: &str| -> PathBuf {
        let folder = root.path().join(name);
        copy(&prepared, &folder);
        folder
    };
    let counted = fresh("counted");
    let list = root.path().join("points");
    assert!(run(step, &counted, (COUNT, list.to_str().unwrap())));
    let points = fs::read_to_string(&list).unwrap();
    let points: Vec<&str> = points.lines().collect();
    assert!(points.len() >= 4, "{points:?}");
    for (n, point) in (1..).zip(&points) {
        for fault in ["kill", "EIO"] {
            let folder = fresh(&format!("{n}-{fault}"));
            let fault = format!("{fault}@{n}");
            assert!(!run(step, &folder, (FAULT, &fault)), "{fault}: {point}");
            println!("{step}, {fault}: {point}");
            look(&folder, false);
        }
    }
    look(&counted, true);
}

fn count(log: &AuditLog, kind: EventType) -> u64 {
    let filter = Filter { types: vec![kind], ..Filter::default() };
    log.count(&name("acme"), &filter).unwrap()
}

#[test]
fn what_was_acknowledged_is_there_wherever_an_append_dies() {
    at_every_point("append", 0, |folder, log, done| {
        let events = log.count(&name("acme"), &Filter::default()).unwrap();
        let acknowledged = fs::read_to_string(folder.join("acknowledged")).unwrap_or_default();
        let acknowledged: u64 = acknowledged.parse().unwrap_or(0);
        // All or none of a batch, and none that was acknowledged is missing.
        assert!(events >= acknowledged && events <= acknowledged + 2 && events % 2 == 0);
        assert!(!done || events == 6);
        if events > 0 {
            let found = log.verify_store(&name("acme")).unwrap();
            let lagging = found.verdict == Verdict::ValidPrefix && acknowledged == 0;
            assert!(found.verdict == Verdict::Complete || lagging, "{found:?}");
            assert!(log.reveal(&name("acme"), 0).is_ok());
        }
    });
}

#[test]
fn nobody_is_erased_without_a_record_wherever_it_dies() {
    at_every_point("erase", 20, |folder, log, done| {
        let recorded = count(log, EventType::SubjectErased);
        let keys = fs::read_dir(folder.join("subjects")).unwrap().count();
        // Opening it finished what was begun: recorded and gone, or neither.
        assert_eq!((recorded, keys), if recorded == 1 { (1, 0) } else { (0, 1) });
        assert_eq!(log.reveal(&name("acme"), 3).is_err(), recorded == 1);
        assert!(!done || recorded == 1);
        assert_eq!(log.verify_store(&name("acme")).unwrap().verdict, Verdict::Complete);
    });
}

#[test]
fn nothing_is_pruned_without_an_archive_wherever_it_dies() {
    at_every_point("archive", 270, |folder, log, done| {
        let recorded = count(log, EventType::AuditPruned);
        let found = log.verify_store(&name("acme")).unwrap();
        if recorded == 0 {
            assert_eq!((found.verdict, found.events), (Verdict::Complete, 270));
        } else {
            assert_eq!((found.verdict, found.events), (Verdict::Pruned, 271 - 256));
            let read = |end: &str| fs::read(folder.join(format!("old{end}"))).unwrap();
            let (events, evidence) = (read(""), read(".checkpoint"));
            let key = log.public_key();
            let found = verify_file(events.as_slice(), evidence.as_slice(), &key, None).unwrap();
            assert_eq!((found.verdict, found.events), (Verdict::ValidPrefix, 256));
            assert_eq!(String::from_utf8(read(".sealed")).unwrap().lines().count(), 256);
        }
        assert!(!done || recorded == 1);
    });
}

#[test]
fn one_key_signs_wherever_a_rotation_dies() {
    at_every_point("rotate", 20, |folder, log, done| {
        let recorded = count(log, EventType::KeyRotated);
        let text = fs::read_to_string(folder.join("audit.key.pub")).unwrap();
        assert_eq!(text.trim(), log.public_key().to_string());
        assert_eq!(log.verify_store(&name("acme")).unwrap().verdict, Verdict::Complete);
        // Recorded, then the next key is in its place; else the first one still is.
        let moved = fs::read_dir(folder).unwrap().any(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with("audit.key.")
                && name.ends_with(".pub")
                && name != "audit.key.pub"
                && !name.contains("next")
        });
        assert_eq!(moved, recorded == 1);
        assert!(!done || recorded == 1);
    });
}

#[test]
fn what_was_acknowledged_is_in_the_files_wherever_an_append_or_a_rotation_dies() {
    at_every_point_of_files("append", 0, |folder, log, done| {
        let events = log.count(&name("acme"), &Filter::default()).unwrap();
        let acknowledged = fs::read_to_string(folder.join("acknowledged")).unwrap_or_default();
        let acknowledged: u64 = acknowledged.parse().unwrap_or(0);
        assert!(events >= acknowledged && events <= acknowledged + 2 && events % 2 == 0);
        assert!(!done || events == 10);
    });
}

#[test]
fn nothing_is_gone_from_the_files_without_an_archive_wherever_it_dies() {
    at_every_point_of_files("archive", 270, |folder, log, done| {
        let filter = Filter { types: vec![EventType::AuditPruned], ..Filter::default() };
        let recorded = log.count(&name("acme"), &filter).unwrap();
        let found = log.verify_store(&name("acme")).unwrap();
        match (recorded, found.verdict) {
            (0, Verdict::Complete) => assert_eq!(found.events, 270),
            // It is on record, and the files were not gone yet: doing it again is right.
            (1, Verdict::Complete) => assert!(!done && found.events == 271),
            (1, Verdict::ValidPrefix) => assert!(!done, "the guard was told of nothing yet"),
            (1, Verdict::Pruned) => assert_eq!(found.events, 271 - 256),
            other => panic!("{other:?}"),
        }
        if recorded == 1 {
            let read = |end: &str| fs::read(folder.join(format!("old{end}"))).unwrap();
            let (events, evidence) = (read(""), read(".checkpoint"));
            let key = log.public_key();
            let found = verify_file(events.as_slice(), evidence.as_slice(), &key, None).unwrap();
            assert_eq!((found.verdict, found.events), (Verdict::ValidPrefix, 256));
        }
    });
}
