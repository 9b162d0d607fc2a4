//! Every error path denies: whatever access of the database fails, at whichever point of a governed
//! call, nothing is in the workspace that was not answered with success, and the answer says why.
#![expect(clippy::disallowed_methods, reason = "people edit files")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lictor::capability::CapabilityId;
use lictor::context::{Clock, Session, SystemClock, Timestamp};
use lictor::document::Source;
use lictor::governance::{
    CatalogueKind, Channel, Document, GrantTerms, HaltScope, LifeState, ProvenApprover, Verdict,
};
use lictor::store::rusqlite::{self, ffi};
use lictor::store::{Access, AccessGuard, Durability};
use lictor::{Agent, Consent, LifeStep, OnConflict, Runtime, RuntimeOptions, Seen};
use serde_json::json;

use crate::rig::{self, name};

const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"no/**\"], protected: [\"ask/**\"], allowed: [\"**\"] }\n\
    frequency: [{ capability: \"*\", scope: user, per: 1h, max: 1000 }]\n\
    budgets: { user: { tokens: 1000000 } }\n";

const CONTRACT: &str = "id: clock.tell\nversion: 1.0.0\ntitle: Clock\ndescription: Tells the time.\n\
    kind: skill\nsource: local\ninput: { type: object }\noutput: { type: object }\nrisk: low\n\
    handler: { builtin: time.now }\n";

/// What fails, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failing {
    Nothing,
    /// Only this one.
    Once(usize),
    /// This one and all that come after it: a disk that does not come back.
    From(usize),
}

impl Failing {
    fn hits(self, n: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Once(at) => n == at,
            Self::From(at) => n >= at,
        }
    }
}

/// Fails accesses of the database, and remembers which there were.
#[derive(Debug)]
struct Faults {
    /// What fails, and the accesses so far, each with whether the watched file was changed by then.
    state: Mutex<(Failing, Vec<(Access, bool)>)>,
    watched: PathBuf,
    before: Mutex<Option<Vec<u8>>>,
}

impl Faults {
    fn arm(&self, failing: Failing) {
        *self.before.lock().unwrap() = std::fs::read(&self.watched).ok();
        *self.state.lock().unwrap() = (failing, Vec::new());
    }

    fn changed(&self) -> bool {
        std::fs::read(&self.watched).ok() != *self.before.lock().unwrap()
    }

    fn disarm(&self) -> Vec<(Access, bool)> {
        let mut state = self.state.lock().unwrap();
        state.0 = Failing::Nothing;
        std::mem::take(&mut state.1)
    }
}

/// What a database that is full, read-only, damaged or on a bad disk answers: each in its turn.
fn fault(n: usize) -> rusqlite::Error {
    let all = [ffi::SQLITE_FULL, ffi::SQLITE_READONLY, ffi::SQLITE_CORRUPT, ffi::SQLITE_IOERR];
    rusqlite::Error::SqliteFailure(ffi::Error::new(all[n % all.len()]), None)
}

/// As an answer has to name it.
const FAULTS: [&str; 4] = ["is full", "readonly", "malformed", "I/O error"];

impl AccessGuard for Faults {
    fn before(&self, access: Access) -> rusqlite::Result<()> {
        let changed = self.changed();
        let mut state = self.state.lock().unwrap();
        state.1.push((access, changed));
        let n = state.1.len();
        if state.0.hits(n) { Err(fault(n)) } else { Ok(()) }
    }
}

/// A clock that goes back by an hour at one of its readings, and stays there.
#[derive(Debug)]
struct Unsteady {
    start: Timestamp,
    /// Readings so far, and the one that it goes back at; it never does at 0.
    state: Mutex<(usize, usize)>,
}

impl Unsteady {
    fn new() -> Arc<Self> {
        Arc::new(Self { start: SystemClock.now(), state: Mutex::new((0, 0)) })
    }

    fn goes_back_at(&self, n: usize) {
        let mut state = self.state.lock().unwrap();
        let read = state.0;
        state.1 = if n == 0 { 0 } else { read + n };
    }

    fn read(&self) -> usize {
        self.state.lock().unwrap().0
    }
}

impl Clock for Unsteady {
    fn now(&self) -> Timestamp {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        let (read, back_at) = *state;
        let forward = self.start.plus(Duration::from_millis(read as u64));
        if back_at == 0 || read < back_at {
            return forward;
        }
        Timestamp::from_micros(forward.as_micros() - 3_600_000_000)
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

/// A workspace with an approver.
struct House {
    _dir: tempfile::TempDir,
    root: PathBuf,
    faults: Arc<Faults>,
    clock: Arc<Unsteady>,
    runtime: Runtime,
    ann: ProvenApprover,
    token: String,
}

fn session(user: &str) -> Session {
    rig::session_of(user, "bot")
}

impl House {
    /// Where a file is watched.
    async fn watching(file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("workspace");
        std::fs::create_dir_all(root.join(".lictor/capabilities")).unwrap();
        std::fs::create_dir_all(root.join("ask")).unwrap();
        std::fs::write(root.join(".lictor/policy.yaml"), POLICY).unwrap();
        std::fs::write(root.join("a"), "old").unwrap();
        std::fs::write(root.join("ask/a"), "old").unwrap();
        let faults = Arc::new(Faults {
            state: Mutex::new((Failing::Nothing, Vec::new())),
            watched: root.join(file),
            before: Mutex::default(),
        });
        let clock = Unsteady::new();
        let mut options = RuntimeOptions::new(&root, dir.path().join("keys"));
        options.durability = Durability::Normal;
        options.clock = Arc::<Unsteady>::clone(&clock);
        options.store_guard = Some(Arc::<Faults>::clone(&faults));
        let runtime = Runtime::open(options).await.unwrap();
        let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
        let ann = runtime.approvers().authenticate(token.expose()).unwrap();
        let token = token.expose().to_owned();
        Self { _dir: dir, root, faults, clock, runtime, ann, token }
    }

    fn agent(&self) -> Agent {
        self.runtime.agent(&session("bob"))
    }

    async fn write(&self, path: &str, content: &str) -> Result<(), String> {
        write(&self.agent(), path, content).await
    }

    /// People are asked; gives the request.
    async fn asked(&self, path: &str) -> lictor::context::ApprovalId {
        self.write(path, "new").await.unwrap_err();
        let waiting = self.runtime.approvals().list(true).unwrap();
        assert_eq!(waiting.len(), 1);
        waiting[0].id().clone()
    }

    async fn propose(&self) {
        let source = Source::new("c.yaml", CONTRACT.as_bytes());
        let kind = CatalogueKind::Capability;
        self.runtime.propose(&session("bob"), kind, &source, "").await.unwrap();
    }

    async fn let_in(&self) -> Result<(), String> {
        let source = Source::new("c.yaml", CONTRACT.as_bytes());
        let key = Document::from_yaml(CatalogueKind::Capability, &source).unwrap().key();
        let (by, channel) = (&self.ann, Channel::Token);
        let step =
            LifeStep { key: &key, next: LifeState::Active, seen: None, by, channel, why: "" };
        said(self.runtime.step_life(&session("ann"), step).await)
    }

    async fn halt(&self) -> Result<(), String> {
        said(self.runtime.halt(HaltScope::default(), "stop", &session("eve")).await)
    }

    fn grant_in_advance(&self, id: &lictor::context::ApprovalId) -> Result<(), String> {
        let paths = vec!["ask/**".to_owned()];
        let terms = GrantTerms { paths, lasts: Duration::from_secs(600), uses: None };
        let approvals = self.runtime.approvals();
        said(approvals.grant_in_advance(id, &self.ann, Channel::Token, &terms))
    }
}

/// An outcome in words.
fn said<T, E: std::error::Error>(outcome: Result<T, E>) -> Result<(), String> {
    let words = |error: E| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        text
    };
    outcome.map(drop).map_err(words)
}

async fn write(agent: &Agent, path: &str, content: &str) -> Result<(), String> {
    said(agent.call("fs.write", json!({ "path": path, "content": content })).await)
}

/// Governed calls, with the file that each changes and whether it is ever done.
const CALLS: [(&str, &str, bool); 10] = [
    ("a write that is allowed", "a", true),
    ("a read", "a", true),
    ("a capability of the workspace's own", "a", true),
    ("a write that was approved", "ask/a", true),
    ("a write with consent", "ask/a", true),
    ("a write that was granted in advance", "ask/a", true),
    ("an undo", "a", true),
    ("a write that nobody approved", "ask/a", false),
    ("a write that is forbidden", "no/a", false),
    ("a write under a halt", "a", false),
];

/// What a call needs, made before anything fails, and the call.
async fn ready(call: &str, house: &House) -> Agent {
    match call {
        "a write that was approved" => {
            let id = house.asked("ask/a").await;
            house.runtime.approvals().grant(&id, &house.ann, Channel::Token).unwrap();
        }
        "a write that was granted in advance" => {
            let id = house.asked("ask/a").await;
            house.grant_in_advance(&id).unwrap();
            // The request is used up, and the grant is left.
            house.write("ask/a", "new").await.unwrap();
            std::fs::write(house.root.join("ask/a"), "old").unwrap();
        }
        "an undo" => house.write("a", "new").await.unwrap(),
        "a capability of the workspace's own" => {
            house.propose().await;
            house.let_in().await.unwrap();
        }
        "a write under a halt" => house.halt().await.unwrap(),
        _ => {}
    }
    let agent = house.agent();
    // The session has begun, and the policy is kept: what comes now is the call alone.
    if call != "a write under a halt" {
        said(agent.call("time.now", json!({})).await).unwrap();
    }
    agent
}

async fn make(call: &str, house: &House, agent: &Agent) -> Result<(), String> {
    match call {
        "a read" => said(agent.call("fs.read", json!({ "path": "a" })).await),
        "a capability of the workspace's own" => said(agent.call("clock.tell", json!({})).await),
        "a write that is forbidden" => write(agent, "no/a", "new").await,
        "an undo" => {
            let all = house
                .runtime
                .executions()
                .list(&lictor::state::ExecutionFilter { undoable: true, ..Default::default() });
            let last = all.map_err(|error| error.to_string())?.into_iter().next();
            let id = last.ok_or("nothing is left to undo")?.record.execution_id;
            said(agent.undo(&[id], OnConflict::Refuse, None).await)
        }
        "a write with consent" => {
            let id = CapabilityId::parse("fs.write").unwrap();
            let action = agent.action(id, json!({ "path": "ask/a", "content": "new" }));
            let shown = agent.check(action.clone()).map_err(|error| error.to_string())?;
            // As the command has it: nobody agrees to what is not asked.
            if shown.decision.verdict != Verdict::NeedApproval {
                return said(agent.act(action, None).await);
            }
            let approver = house.runtime.approvers().authenticate(&house.token);
            let approver = approver.map_err(|error| error.to_string())?;
            let seen = Seen::Actions(vec![shown.decision.action_digest]);
            let consent = Consent { approver, channel: Channel::Token, seen };
            said(agent.act(action, Some(&consent)).await)
        }
        "a write that is allowed" | "a write under a halt" => write(agent, "a", "new").await,
        _ => write(agent, "ask/a", "new").await,
    }
}

/// Makes a call while something fails; gives the outcome and the accesses.
async fn attempt(
    (call, file, ever): (&str, &str, bool),
    failing: Failing,
) -> (Result<(), String>, Vec<(Access, bool)>) {
    let house = House::watching(file).await;
    let agent = ready(call, &house).await;
    house.faults.arm(failing);
    let outcome = make(call, &house, &agent).await;
    let changed = house.faults.changed();
    let accesses = house.faults.disarm();
    let what = format!("{call}, {failing:?} of {accesses:?}: {outcome:?}");
    let changes = !matches!(call, "a read" | "a capability of the workspace's own");
    assert_eq!(changed, outcome.is_ok() && changes, "{what}");
    assert!(ever || outcome.is_err(), "{what}");
    // What is left goes on as if nothing had been: nothing is half done, and nobody is let in who
    // was not before.
    let again = make(call, &house, &agent).await;
    match &again {
        Ok(()) => assert!(ever, "{what}"),
        // What people had agreed to may be used up, and then they are asked anew.
        Err(why) => {
            let asked = ever && file.starts_with("ask/") && why.contains("is pending");
            let undone = call == "an undo" && outcome.is_ok();
            assert!(!ever || asked || undone, "{what}; again: {why}");
        }
    }
    let verified = house.runtime.audit().verify_store(&name("acme")).unwrap();
    assert!(verified.verdict.is_proven(), "{what}: {}", verified.verdict);
    (outcome, accesses)
}

#[tokio::test]
async fn whichever_access_of_the_store_fails_nothing_is_done_that_is_not_answered_as_done() {
    for call in CALLS {
        let (clean, accesses) = attempt(call, Failing::Nothing).await;
        assert_eq!(clean.is_ok(), call.2, "{call:?}: {clean:?}");
        // What makes it final: the first commit with the change in place, else the last one.
        let commits: Vec<usize> = (0..accesses.len())
            .filter(|at| accesses[*at].0 == Access::Commit)
            .map(|at| at + 1)
            .collect();
        let done = commits.iter().find(|at| accesses[**at - 1].1).or(commits.last());
        let done = *done.unwrap();
        println!("{}: {} accesses, final at {done}", call.0, accesses.len());
        for n in 1..=accesses.len() {
            for failing in [Failing::Once(n), Failing::From(n)] {
                let (outcome, _) = attempt(call, failing).await;
                if n <= done {
                    let why = outcome.expect_err(&format!("{}: {failing:?}", call.0));
                    let named = FAULTS.iter().any(|fault| why.contains(fault));
                    // Where nobody was shown anything to agree to, they are asked as anybody is.
                    let asked = call.0 == "a write with consent" && why.contains("is pending");
                    assert!(named || asked || !call.2, "{}: {failing:?}: {why}", call.0);
                }
            }
        }
    }
}

/// What a person does that opens something, with what it opens.
const OPENING: [&str; 5] = ["approve", "grant", "enrol", "resume", "let in"];

async fn before_opening(what: &str, house: &House) -> Option<lictor::context::ApprovalId> {
    match what {
        "approve" | "grant" => Some(house.asked("ask/a").await),
        "resume" => {
            house.halt().await.unwrap();
            None
        }
        "let in" => {
            house.propose().await;
            None
        }
        _ => None,
    }
}

async fn opens(
    what: &str,
    house: &House,
    asked: Option<&lictor::context::ApprovalId>,
) -> Result<(), String> {
    let (runtime, ann) = (&house.runtime, &house.ann);
    match (what, asked) {
        ("approve", Some(id)) => said(runtime.approvals().grant(id, ann, Channel::Token)),
        ("grant", Some(id)) => house.grant_in_advance(id),
        ("enrol", _) => said(runtime.enroll_approver(name("eve"), Vec::new(), ann)),
        ("resume", _) => {
            let halts = runtime.halts().in_force().map_err(|error| error.to_string())?;
            let (id, why) = (&halts[0].id, "");
            said(runtime.resume(id, ann, Channel::Token, why, &session("ann")).await)
        }
        _ => house.let_in().await,
    }
}

/// Whether it is open.
async fn is_open(what: &str, house: &House) -> bool {
    match what {
        "approve" => house.write("ask/a", "new").await.is_ok(),
        "grant" => {
            let this = house.write("ask/a", "new").await.is_ok();
            let like_it = house.write("ask/b", "new").await.is_ok();
            assert_eq!(this, like_it, "one was agreed to without the other");
            this
        }
        "enrol" => house.runtime.approvers().list().unwrap().len() > 1,
        "resume" => house.write("a", "new").await.is_ok(),
        _ => house.agent().call("clock.tell", json!({})).await.is_ok(),
    }
}

#[tokio::test]
async fn what_a_person_opens_is_not_open_while_the_store_fails() {
    for what in OPENING {
        let mut n = 0;
        loop {
            n += 1;
            let house = House::watching("a").await;
            let asked = before_opening(what, &house).await;
            house.faults.arm(Failing::From(n));
            let outcome = opens(what, &house, asked.as_ref()).await;
            let accesses = house.faults.disarm().len();
            // Resuming is in force before the trail hears of it, and the answer says that it failed.
            let open = is_open(what, &house).await;
            assert!(!open || outcome.is_ok() || what == "resume", "{what} {n}: {outcome:?}");
            assert!(open || outcome.is_err(), "{what} {n}: {outcome:?}");
            if accesses < n {
                outcome.unwrap();
                break;
            }
        }
        assert!(n > 2, "{what}: {n}");
    }
}

#[tokio::test]
async fn what_stops_is_in_force_when_it_is_answered_whatever_fails_before() {
    for n in 1.. {
        let house = House::watching("a").await;
        let id = house.asked("ask/a").await;
        house.runtime.approvals().grant(&id, &house.ann, Channel::Token).unwrap();
        house.faults.arm(Failing::From(n));
        let halted = house.halt().await;
        let accesses = house.faults.disarm().len();
        let wrote = house.write("ask/a", "new").await;
        assert!(halted.is_err() || wrote.is_err(), "{n}: {wrote:?}");
        if accesses < n {
            halted.unwrap();
            break;
        }
    }
    for n in 1.. {
        let house = House::watching("a").await;
        let (_, token) = house.runtime.approvers().enroll(name("eve"), vec![], &house.ann).unwrap();
        let eve = house.runtime.approvers().authenticate(token.expose()).unwrap();
        let id = house.asked("ask/a").await;
        house.runtime.approvals().grant(&id, &eve, Channel::Token).unwrap();
        house.faults.arm(Failing::From(n));
        let revoked =
            house.runtime.revoke_approver(&name("eve"), &house.ann, &session("ann")).await;
        let accesses = house.faults.disarm().len();
        let gone = house.runtime.approvers().authenticate(token.expose()).is_err();
        let wrote = house.write("ask/a", "new").await;
        // From the moment that she is struck off nothing counts that she agreed to, even if the
        // request itself could not be withdrawn.
        assert!(!gone || wrote.is_err(), "{n}: {wrote:?}");
        let answered = matches!(revoked, Ok(Ok(_)));
        assert!(gone || !answered, "{n}");
        if accesses < n {
            assert!(answered);
            break;
        }
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_at_any_reading_opens_nothing() {
    for (call, file, ever) in CALLS {
        let (mut n, mut refused) = (0, 0);
        loop {
            n += 1;
            let house = House::watching(file).await;
            let agent = ready(call, &house).await;
            house.faults.arm(Failing::Nothing);
            house.clock.goes_back_at(n);
            let before = house.clock.read();
            let outcome = make(call, &house, &agent).await;
            let read = house.clock.read() - before;
            let changes = !matches!(call, "a read" | "a capability of the workspace's own");
            let what = format!("{call}, back at {n} of {read}: {outcome:?}");
            assert_eq!(house.faults.changed(), outcome.is_ok() && changes, "{what}");
            assert!(ever || outcome.is_err(), "{what}");
            // What people agreed to is from later than now: nobody can tell whether it holds.
            let agreed =
                matches!(call, "a write that was approved" | "a write that was granted in advance");
            assert!(!agreed || n > 1 || outcome.is_err(), "{what}");
            let clock = |why: &str| why.contains("clock") || why.contains("expired");
            refused += usize::from(outcome.as_ref().is_err_and(|why| clock(why)));
            if read < n {
                assert_eq!(outcome.is_ok(), ever, "{what}");
                break;
            }
        }
        println!("{call}: {n} readings, {refused} refused for the clock");
        assert!(refused > 0 || !ever, "{call}: nothing notices the clock");
    }
}
