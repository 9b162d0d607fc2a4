//! Verification, health checks and time limits through the command: real programs, real sockets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::binary::binary;
use crate::place::{POLICY, Place, has, message, text};
use crate::tree::digest;

/// A policy whose verification command is a shell line.
fn verified_by(line: &str, timeout: &str, more: &str) -> String {
    let command = json!(["sh", "-c", line]);
    format!("{POLICY}verification:\n  check: {{ command: {command}, timeout: {timeout}{more} }}\n")
}

/// A sealed change set whose plan asks for these checks: it makes `new.txt` and changes `old.txt`.
pub(crate) fn document(place: &Place, plan: Value) -> String {
    place.write("old.txt", "old");
    let mut whole =
        json!({ "id": "pln_01a1f87195887d508e144ffac6a323e7", "intent": "x", "risk": "low" });
    whole.as_object_mut().unwrap().extend(plan.as_object().unwrap().clone());
    let plan = place.document("plan.json", whole.to_string());
    let changes = json!([
        { "op": "create", "path": "new.txt", "content": "new" },
        { "op": "modify", "path": "old.txt", "before": digest(b"old"), "content": "changed" },
    ]);
    let bare = place.document("bare.json", json!({ "changes": changes }).to_string());
    let sealed = place.run(&["change", "seal", &bare, "--plan", &plan]).done();
    place.document("planned.json", sealed.to_string())
}

/// Whether a process ends, or has: one that its parent has not asked for yet counts as ended.
pub(crate) fn ends(pid: &str) -> bool {
    let give_up = Instant::now() + Duration::from_secs(30);
    while Instant::now() < give_up {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.rsplit_once(") ").unwrap().1.starts_with('Z') => {
                std::thread::yield_now();
            }
            _ => return true,
        }
    }
    false
}

/// A command that never ends, with a child that does not either, both deaf to a polite end.
pub(crate) fn sleeps_for_ever(place: &Place) -> String {
    let (pids, shown) = (place.beside("pids"), "has begun");
    let pids = pids.display();
    format!(
        "trap '' TERM HUP INT; sleep 100000 & echo $! $$ > '{pids}'; echo {shown}; \
         while :; do wait; sleep 100000; done"
    )
}

#[track_caller]
pub(crate) fn nothing_is_left(place: &Place) {
    let pids = fs::read_to_string(place.beside("pids")).expect("the command had begun");
    assert_eq!(pids.split_whitespace().count(), 2);
    for pid in pids.split_whitespace() {
        assert!(ends(pid), "process {pid} is left running");
    }
}

#[test]
fn a_command_that_never_ends_is_ended_with_its_children_and_the_change_taken_back() {
    for (timeout, limits, says) in [
        ("3s", "", "not done within 3s"),
        ("10m", "limits: { max_execution_time: 3s }\n", "the time of the whole execution is over"),
    ] {
        let place = Place::new();
        place.policy(&format!("{}{limits}", verified_by(&sleeps_for_ever(&place), timeout, "")));
        let document = document(&place, json!({ "verification": ["check"] }));
        let before = place.tree();
        let failed = place.run(&["apply", &document]).ends(1, "failed");
        assert_eq!(place.tree(), before);
        nothing_is_left(&place);
        let details = &failed["error"]["details"];
        assert_eq!(details["rollback"]["status"], "complete", "{failed}");
        let check = &details["checks"][0];
        has(check, &["name", "phase", "passed", "detail", "duration_ms"]);
        assert_eq!(text(check, "detail"), says);
        assert_eq!(text(check, "output"), "has begun");
        assert_eq!((&check["before"], &check["after"]), (&json!("not_made"), &json!("failed")));
        assert_eq!(check["attempts"], 1);
        let log = place.run(&["log"]).done();
        assert_eq!(log["executions"][0]["status"], "rolled_back", "{log}");
        assert_eq!(place.run(&["lock", "status"]).done()["held"], false);
        place.verify();
    }
}

#[test]
fn what_a_command_leaves_in_the_background_ends_with_it() {
    let place = Place::new();
    let pids = place.beside("pids");
    // The child keeps the streams open, and still nobody waits for it.
    let line = format!("trap '' TERM; sleep 100000 & echo $! $$ > '{}'; echo done", pids.display());
    place.policy(&verified_by(&line, "10m", ""));
    let document = document(&place, json!({ "verification": ["check"] }));
    let done = place.run(&["apply", &document]).done();
    assert_eq!(text(&done["checks"][0], "output"), "done");
    nothing_is_left(&place);
}

#[test]
fn a_command_is_run_again_only_if_the_policy_asks_for_it() {
    let line = |place: &Place| {
        let tries = place.beside("tries");
        let tries = tries.display();
        format!("echo x >> '{tries}'; test \"$(wc -l < '{tries}')\" -ge 3")
    };
    let place = Place::new();
    place.policy(&verified_by(&line(&place), "1m", ""));
    let document = document(&place, json!({ "verification": ["check"] }));
    let failed = place.run(&["apply", &document]).ends(1, "failed");
    assert_eq!(failed["error"]["details"]["checks"][0]["attempts"], 1);
    fs::remove_file(place.beside("tries")).unwrap();
    let more = ", retry: { attempts: 5, backoff: constant, initial: 1ms }";
    place.policy(&verified_by(&line(&place), "1m", more));
    let done = place.run(&["apply", &document]).done();
    assert_eq!(done["checks"][0]["attempts"], 3, "{done}");
    assert_eq!(done["checks"][0]["after"], "passed");
}

#[test]
fn a_policy_that_asks_for_no_attempt_is_refused_and_told_what_is_accepted() {
    let retry = ", retry: { attempts: 0 }";
    let place = Place::new();
    place.policy(&verified_by("true", "1m", retry));
    let refused = place.run(&["apply", "none.json"]).ends_with_one_of(&[1, 2]);
    assert!(message(&refused).contains("1 to 100"), "{refused}");
    let check =
        format!("health_checks:\n  - {{ name: a, file_exists: {{ paths: [a] }}{retry} }}\n");
    place.policy(&format!("{POLICY}{check}"));
    let refused = place.run(&["apply", "none.json"]).ends_with_one_of(&[1, 2]);
    assert!(message(&refused).contains("1 to 100"), "{refused}");
}

/// A server that answers with these statuses, one a connection.
fn server(statuses: &'static [u16]) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let answer =
                format!("HTTP/1.1 {status} Any\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, thread)
}

fn watched(port: u16) -> String {
    let retry = "retry: { attempts: 5, backoff: constant, initial: 1ms }";
    format!(
        "{POLICY}health_checks:\n  - {{ name: api, http_get: {{ url: \"http://127.0.0.1:{port}/\" }}, \
         timeout: 1m, {retry} }}\n"
    )
}

#[test]
fn a_service_is_looked_at_before_and_after_and_is_given_time_to_come_back() {
    // Once before; then it is starting anew.
    let (port, thread) = server(&[200, 503, 502, 200]);
    let place = Place::with_policy(&watched(port));
    let document = document(&place, json!({ "health_checks": ["api"] }));
    let done = place.run(&["apply", &document]).done();
    let check = &done["checks"][0];
    assert_eq!((&check["before"], &check["after"]), (&json!("passed"), &json!("passed")));
    assert_eq!((&check["attempts"], &check["phase"]), (&json!(3), &json!("health")));
    thread.join().unwrap();
    place.verify();
}

#[test]
fn an_answer_that_stands_is_not_asked_for_again_and_what_was_ill_before_is_said() {
    let (port, thread) = server(&[404, 404]);
    let place = Place::with_policy(&watched(port));
    let document = document(&place, json!({ "health_checks": ["api"] }));
    let before = place.tree();
    let failed = place.run(&["apply", &document]).ends(1, "failed");
    assert_eq!(place.tree(), before);
    let check = &failed["error"]["details"]["checks"][0];
    assert_eq!((&check["before"], &check["after"]), (&json!("failed"), &json!("failed")));
    assert_eq!(check["attempts"], 1);
    assert!(message(&failed).contains("before the change either"), "{failed}");
    thread.join().unwrap();
}

#[test]
fn whoever_waits_is_told_who_holds_the_lock() {
    let place = Place::new();
    let (status, other) = (place.beside("status.json"), place.beside("other.json"));
    let lictor = binary().display();
    // While the change is being verified, its execution has the lock.
    let line = format!(
        "'{lictor}' lock status --json > '{}'; '{lictor}' call fs.write path=x content=x --json > '{}'; test $? = 7",
        status.display(),
        other.display()
    );
    let concurrency = "concurrency: { lock_timeout: 50ms }\n";
    place.policy(&format!("{}{concurrency}", verified_by(&line, "1m", "")));
    let document = document(&place, json!({ "verification": ["check"] }));
    let done = place.run(&["apply", &document]).done();
    let read = |path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let status = read(status);
    assert_eq!(status["held"], true);
    let holder = &status["holder"];
    has(holder, &["holder", "pid", "process_start", "hostname", "acquired_at", "fencing_token"]);
    assert_eq!(holder["execution"], done["execution_id"]);
    assert_eq!(holder["plan"], done["plan_id"]);
    let other = read(other);
    assert_eq!(other["error"]["code"], "busy");
    assert!(message(&other).contains(text(&done, "execution_id")), "{other}");
    assert!(!place.exists("x"));
}

/// Both kinds of health check that need no network: each passed, each failed, and what fails takes
/// the change back.
#[test]
fn a_database_that_answers_and_a_process_that_lives_are_healthy_and_others_take_the_change_back() {
    let place = Place::new();
    let database = rusqlite::Connection::open(place.root.join("app.db")).unwrap();
    database.execute_batch("CREATE TABLE users (id INTEGER); PRAGMA user_version = 1").unwrap();
    place.write("run/alive.pid", format!("{}\n", std::process::id()));
    // No process has this number: it is above what the kernel gives out.
    place.write("run/dead.pid", "4194305\n");
    place.write("run/odd.pid", "soon\n");
    place.write("text.db", "this is no database, however long it may be, and never was one\n");
    let retry = "retry: { attempts: 1 }";
    let policy = format!(
        "{POLICY}health_checks:\n\
         \x20 - {{ name: db, sqlite: {{ path: app.db, query: 'SELECT count(*) FROM users' }}, {retry} }}\n\
         \x20 - {{ name: no-table, sqlite: {{ path: app.db, query: 'SELECT * FROM others' }}, {retry} }}\n\
         \x20 - {{ name: no-database, sqlite: {{ path: text.db, query: 'SELECT 1' }}, {retry} }}\n\
         \x20 - {{ name: alive, process: {{ pid_file: run/alive.pid }}, {retry} }}\n\
         \x20 - {{ name: dead, process: {{ pid_file: run/dead.pid }}, {retry} }}\n\
         \x20 - {{ name: odd, process: {{ pid_file: run/odd.pid }}, {retry} }}\n"
    );
    place.policy(&policy);
    for (name, says) in [
        ("no-table", "no such table"),
        ("no-database", "not a database"),
        ("dead", "process 4194305 is not alive"),
        ("odd", "`run/odd.pid` holds no process id"),
    ] {
        let document = document(&place, json!({ "health_checks": [name] }));
        let before = place.tree();
        let failed = place.run(&["apply", &document]).ends(1, "failed");
        assert_eq!(place.tree(), before, "{name}");
        let check = &failed["error"]["details"]["checks"][0];
        assert!(text(check, "detail").contains(says), "{name}: {failed}");
        assert_eq!(check["after"], "failed", "{name}");
    }
    let document = document(&place, json!({ "health_checks": ["db", "alive"] }));
    let done = place.run(&["apply", &document]).done();
    for n in [0, 1] {
        let check = &done["checks"][n];
        assert_eq!((&check["before"], &check["after"]), (&json!("passed"), &json!("passed")));
    }
    place.verify();
}
