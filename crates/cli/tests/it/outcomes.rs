//! Whatever is asked for, at whichever door: each intent has one outcome in the trail, the one that was
//! answered, and nothing else is in the trail that nobody asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use lictor::context::{Name, Principal, Session, SessionId, SystemClock};
use lictor::document::Source;
use lictor::handlers::Launcher;
use lictor::workflow::Workflow;
use lictor::{ActError, Agent, Done, OnConflict, Runtime, RuntimeOptions, UndoRequest};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::Place;

const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"no/**\"], protected: [\"ask/**\"], allowed: [\"**\"] }\n\
    network: { private: [\"127.0.0.1\"] }\n\
    risk: { low: allow, medium: allow, high: allow, critical: allow }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n  \
    - { name: programs, when: { effect: process }, verdict: allow }\n";

const PATHS: [&str; 6] = ["a.txt", "sub/b.txt", "c.txt", "no/x", "ask/x", "../out"];

#[derive(Debug, Clone)]
enum Wish {
    Call(&'static str, Value),
    /// To the server of this test.
    Get(&'static str),
    /// The last change of this door's session.
    Undo,
    /// The undo before.
    Redo,
    /// A workflow; what it ends with.
    Run(&'static str),
    /// An approver answers what waits longest.
    Answer(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Library,
    Command,
    Mcp,
}

/// What a workflow does, by name.
fn workflow(kind: &str) -> String {
    let last = match kind {
        "ends" => "{ id: last, use: time.now, needs: [one] }",
        "fails" => "{ id: last, use: fs.hash, needs: [one], with: { path: missing } }",
        "denied" => "{ id: last, use: fs.write, needs: [one], with: { path: no/x, content: x } }",
        "skips" => "{ id: last, use: time.now, needs: [one], when: \"{{ 1 == 2 }}\" }",
        _ => {
            "{ id: last, needs: [one], approval: { message: Go on, risk: high, approvals: 1, timeout: 1h } }"
        }
    };
    format!(
        "id: {kind}\nversion: 1.0.0\ntitle: T\nsteps:\n  - {{ id: one, use: fs.write, with: {{ path: flow.txt, content: {kind} }} }}\n  - {last}\n"
    )
}

fn wish() -> impl Strategy<Value = Wish> {
    let path = || proptest::sample::select(&PATHS[..]);
    let content = proptest::sample::select(&["x", "another", "ünï\n"][..]);
    let call = |id, input| Wish::Call(id, input);
    prop_oneof![
        5 => (path(), content).prop_map(move |(path, content)| {
            call("fs.write", json!({ "path": path, "content": content }))
        }),
        2 => path().prop_map(move |path| call("fs.read", json!({ "path": path }))),
        2 => path().prop_map(move |path| call("fs.delete", json!({ "path": path }))),
        1 => (path(), path()).prop_map(move |(from, to)| call("fs.move", json!({ "from": from, "to": to }))),
        1 => Just(call("hash.text", json!({ "text": "x" }))),
        1 => Just(call("fs.wrote", json!({}))),
        1 => Just(call("fs.write", json!({ "path": 7 }))),
        1 => Just(call("process.run", json!({ "argv": ["true"] }))),
        1 => Just(call("process.run", json!({ "argv": ["false"] }))),
        2 => proptest::sample::select(&["ok", "bad", "gone"][..]).prop_map(Wish::Get),
        3 => Just(Wish::Undo),
        1 => Just(Wish::Redo),
        3 => proptest::sample::select(&["ends", "fails", "denied", "skips", "waits"][..]).prop_map(Wish::Run),
        2 => any::<bool>().prop_map(Wish::Answer),
    ]
}

fn door() -> impl Strategy<Value = Door> {
    proptest::sample::select(&[Door::Library, Door::Command, Door::Mcp][..])
}

/// Answers as the path says, for as long as the test lasts.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            if reader.read_line(&mut line).is_err() || line.contains("/gone") {
                continue;
            }
            let status = if line.contains("/ok") { "200 OK" } else { "500 Internal Server Error" };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx"
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

/// The event that an answer owes.
fn owed(answer: &Value) -> &'static str {
    let code = answer.pointer("/error/code").and_then(Value::as_str);
    match (code, answer["status"].as_str()) {
        (None, Some("duplicate")) => "execution_duplicate",
        (None, _) => "action_completed",
        (Some("approval_required"), _) => "approval_requested",
        (Some("failed"), _) => "action_failed",
        (Some("incomplete"), _) => "action_unknown",
        (Some(_), _) => "action_rejected",
    }
}

/// Who asks by the command.
const COMMAND: [&str; 6] = ["--org", "local", "--user", "ann", "--agent", "command"];
const COMMAND_SESSION: &str = "ses_command";

struct House {
    place: Place,
    port: u16,
    runtime: Runtime,
    agent: Agent,
    client: Client,
    /// By door, in order: what each intent owes.
    owed: BTreeMap<&'static str, Vec<&'static str>>,
    n_runs: usize,
    n_answers: usize,
}

impl House {
    async fn new(era: Era) -> Self {
        let place = Place::with_policy(POLICY);
        place.write("a.txt", "as it is");
        let mut options = RuntimeOptions::new(&place.root, place.keys());
        options.launcher = Some(Launcher::new(env!("CARGO_BIN_EXE_lictor")));
        let runtime = Runtime::open(options).await.unwrap();
        let name = |text| Name::parse(text).unwrap();
        let principal = Principal { org: name("local"), user: name("ann"), agent: name("library") };
        let agent = runtime.agent(&Session::new(principal, &SystemClock));
        let who = ["--org", "local", "--user", "ann", "--agent", "mcp"];
        let client = Client::connect(&place, era, &who).await;
        let port = server();
        Self { place, port, runtime, agent, client, owed: BTreeMap::new(), n_runs: 0, n_answers: 0 }
    }

    fn command(&self, arguments: &[&str]) -> Value {
        let session = ["--session", COMMAND_SESSION];
        self.place.run(&[arguments, &COMMAND, &session].concat()).1
    }

    /// By its id: with `--session` all that the session did would be undone, each by an action of its own.
    fn undo_by_command(&self) -> Value {
        let session = SessionId::parse(COMMAND_SESSION).unwrap();
        match self.agent.to_undo(&UndoRequest::Session(session)) {
            Ok(found) => self.place.run(&[&["undo", found[0].as_str()][..], &COMMAND].concat()).1,
            Err(_) => self.command(&["undo"]),
        }
    }

    async fn ask(&mut self, door: Door, wish: &Wish) {
        let get;
        let wish = match wish {
            Wish::Get(path) => {
                let url = format!("http://127.0.0.1:{}/{path}", self.port);
                get = Wish::Call("http.get", json!({ "url": url }));
                &get
            }
            other => other,
        };
        let (door, answer) = match (door, wish) {
            (_, Wish::Answer(yes)) => return self.answer(*yes),
            (_, Wish::Run(kind)) => return self.run(door, kind).await,
            // There is no such tool: what was undone is done anew by who has the workspace.
            (_, Wish::Redo) => ("command", self.command(&["redo"])),
            (Door::Library, Wish::Call(id, input)) => {
                ("library", said(self.agent.call(id, input.clone()).await))
            }
            (Door::Library, _) => ("library", self.undo_by_library().await),
            (Door::Command, Wish::Call(id, input)) => {
                ("command", self.command(&["call", id, "--input", &input.to_string()]))
            }
            (Door::Command, _) => ("command", self.undo_by_command()),
            (Door::Mcp, wish) => {
                let (name, input) = match wish {
                    Wish::Call(id, input) => (id.replace('.', "-"), input.clone()),
                    _ => ("undo".to_owned(), json!({})),
                };
                let answer = self.client.call(&name, input).await;
                ("mcp", if answer.is_refused() { answer.refused() } else { answer.execution() })
            }
        };
        self.owed.entry(door).or_default().push(owed(&answer));
    }

    async fn undo_by_library(&self) -> Value {
        let wish = UndoRequest::Session(self.agent.session().id().clone());
        let found = match self.agent.to_undo(&wish) {
            Ok(found) => found,
            Err(error) => {
                self.agent.record_refusal("change.undo", &error.to_string()).await.unwrap();
                return error.to_json();
            }
        };
        match self.agent.undo(&found[..1], OnConflict::Refuse, None).await {
            Ok(_) => json!({ "status": "applied" }),
            Err(error) => error.to_json(),
        }
    }

    async fn run(&mut self, door: Door, kind: &str) {
        self.n_runs += 1;
        let text = workflow(kind);
        if door == Door::Library {
            let flow = Workflow::from_yaml(&Source::new("w.yaml", text.as_bytes())).unwrap();
            let engine = self.runtime.engine(None);
            engine.run(self.agent.session(), &flow, json!({})).await.unwrap();
        } else {
            self.place.write("flows/w.yaml", &text);
            self.command(&["run", "flows/w.yaml"]);
        }
    }

    fn answer(&mut self, yes: bool) {
        let waiting = self.place.done(&["approvals", "list"]);
        // One that was granted stays in the list until it is used, and waits for nobody.
        let mut all = waiting["approvals"].as_array().unwrap().iter().rev();
        let Some(first) = all.find(|approval| approval["state"] == "pending") else { return };
        let verb = if yes { "approve" } else { "deny" };
        let id = first["id"].as_str().unwrap();
        self.place.approver(&["approvals", verb, id, "--reason", "because"]);
        self.n_answers += 1;
    }

    async fn end(self) -> (Vec<Value>, BTreeMap<&'static str, Vec<&'static str>>, usize, usize) {
        self.client.end().await;
        self.agent.end().await.unwrap();
        drop((self.agent, self.runtime));
        (self.place.trail(), self.owed, self.n_runs, self.n_answers)
    }
}

fn said(answer: Result<Done, ActError>) -> Value {
    match answer {
        Ok(done) => done.to_json(),
        Err(error) => error.to_json(),
    }
}

/// How an intent may end.
const ENDS: [&str; 6] = [
    "action_completed",
    "action_failed",
    "action_rejected",
    "action_unknown",
    "execution_duplicate",
    "approval_requested",
];

fn is(event: &Value, kinds: &[&str]) -> bool {
    event["event_type"].as_str().is_some_and(|kind| kinds.contains(&kind))
}

fn count(trail: &[Value], kinds: &[&str]) -> usize {
    trail.iter().filter(|event| is(event, kinds)).count()
}

/// Every action in the trail has one end, and begins before it.
fn each_action_ends_once(trail: &[Value]) {
    let mut actions: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in trail {
        if let Some(action) = event["action_id"].as_str() {
            actions.entry(action).or_default().push(event);
        }
    }
    for (action, events) in actions {
        let kinds: Vec<&str> = events.iter().map(|it| it["event_type"].as_str().unwrap()).collect();
        // People answer as themselves, about somebody's action.
        let own = kinds.iter().any(|kind| !matches!(*kind, "approval_granted" | "approval_denied"));
        let ends = kinds.iter().filter(|kind| ENDS.contains(kind)).count();
        assert_eq!(ends, usize::from(own), "{action}: {kinds:?}");
        let began = kinds.iter().filter(|kind| **kind == "action_started").count();
        let acted = kinds
            .iter()
            .any(|kind| matches!(*kind, "action_completed" | "action_failed" | "action_unknown"));
        assert!(began <= 1 && (began == 0 || acted), "{action}: {kinds:?}");
        let locked = kinds.iter().position(|kind| *kind == "lock_acquired");
        let begins = locked.map(|at| kinds.get(at + 1).copied());
        assert!(matches!(begins, None | Some(Some("action_started"))), "{action}: {kinds:?}");
        let changed = events.iter().any(|it| !it["metadata"]["files_changed"].is_null());
        assert!(!changed || locked.is_some(), "{action} changed files without the lock: {kinds:?}");
    }
}

/// Whoever comes in begins a session and ends it when they go, in turns; everything else that is done in
/// it stands in between. People who answer begin none.
fn each_session_ends_once(trail: &[Value]) {
    let mut sessions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in trail {
        let of = sessions.entry(event["session_id"].as_str().unwrap()).or_default();
        of.push(event["event_type"].as_str().unwrap());
    }
    for (session, kinds) in sessions {
        if !kinds.contains(&"session_started") && !kinds.contains(&"session_ended") {
            continue;
        }
        for life in kinds.split_inclusive(|kind| *kind == "session_ended") {
            let began = life.iter().filter(|kind| **kind == "session_started").count();
            let whole = life[0] == "session_started" && *life.last().unwrap() == "session_ended";
            assert!(whole && began == 1, "{session}: {kinds:?}");
        }
    }
}

/// Every run was submitted once and has one end, or waits; so has every step that began.
fn each_run_ends_once(trail: &[Value], n_runs: usize) {
    let runs: BTreeSet<&str> =
        trail.iter().filter_map(|event| event["workflow_run_id"].as_str()).collect();
    assert_eq!(runs.len(), n_runs);
    for run in runs {
        let of: Vec<Value> =
            trail.iter().filter(|event| event["workflow_run_id"] == run).cloned().collect();
        assert_eq!(count(&of, &["workflow_submitted"]), 1, "{run}");
        let ends = ["workflow_completed", "workflow_failed", "workflow_rolled_back"];
        let paused = count(&of, &["workflow_paused"]);
        assert_eq!(count(&of, &ends) + paused, 1, "{run}");
        let steps: BTreeSet<&str> =
            of.iter().filter_map(|event| event["step_id"].as_str()).collect();
        for step in steps {
            let of: Vec<Value> = of.iter().filter(|it| it["step_id"] == step).cloned().collect();
            let began = count(&of, &["step_started"]);
            let ended = count(&of, &["step_completed", "step_failed"]);
            let skipped = count(&of, &["step_skipped"]);
            let waits = paused == 1 && step == "last";
            assert!(began + skipped == 1 && (ended == began || waits), "{run}, {step}: {of:?}");
        }
    }
}

async fn holds(wishes: &[(Door, Wish)], era: Era) {
    let mut house = House::new(era).await;
    // Where nothing is done nothing is signed, and such a trail proves nothing.
    house.ask(Door::Library, &Wish::Call("time.now", json!({}))).await;
    for (door, wish) in wishes {
        house.ask(*door, wish).await;
    }
    let (trail, owed, n_runs, n_answers) = house.end().await;
    each_action_ends_once(&trail);
    each_session_ends_once(&trail);
    each_run_ends_once(&trail, n_runs);
    for door in ["library", "command", "mcp"] {
        // What runs ask for is theirs.
        let ends = trail.iter().filter(|event| {
            event["agent_id"] == door && event["workflow_run_id"].is_null() && is(event, &ENDS)
        });
        let ends: Vec<&str> = ends.map(|event| event["event_type"].as_str().unwrap()).collect();
        let owed = owed.get(door).cloned().unwrap_or_default();
        assert_eq!(ends, owed, "at the door `{door}`");
    }
    assert_eq!(count(&trail, &["approval_granted", "approval_denied"]), n_answers);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_intent_has_one_outcome_at_every_door(
        wishes in proptest::collection::vec((door(), wish()), 1..14),
        modern: bool,
    ) {
        let era = if modern { Era::Modern } else { Era::Legacy };
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(holds(&wishes, era));
    }
}

#[tokio::test]
async fn an_undo_is_of_the_last_of_several_changes_at_every_door() {
    for door in [Door::Library, Door::Command, Door::Mcp] {
        let write = |path| Wish::Call("fs.write", json!({ "path": path, "content": "x" }));
        let wishes = [write("a.txt"), Wish::Run("skips"), write("c.txt"), Wish::Undo, Wish::Undo];
        holds(&wishes.map(|wish| (door, wish)), Era::Modern).await;
    }
}

/// What was granted and is not used yet is not answered again.
#[tokio::test]
async fn what_was_granted_waits_for_no_other_answer() {
    let write = Wish::Call("fs.write", json!({ "path": "ask/x", "content": "x" }));
    let wishes = [write, Wish::Answer(true), Wish::Answer(true)];
    holds(&wishes.map(|wish| (Door::Library, wish)), Era::Modern).await;
}

/// What nothing takes back is found out before there is an action to refuse.
#[tokio::test]
async fn an_undo_of_what_stays_done_elsewhere_is_on_record_at_every_door() {
    for door in [Door::Library, Door::Command, Door::Mcp] {
        holds(&[(door, Wish::Get("ok")), (door, Wish::Undo)], Era::Modern).await;
    }
}
