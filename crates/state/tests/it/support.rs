//! A database in a directory of its own, and things to keep in it.

use std::path::Path;
use std::sync::Arc;

use lictor_capability::{
    Action, CapabilityGraph, CapabilityId, ChangeKind, Contract, Described, Effects, FileChange,
    Risk, UndoScope,
};
use lictor_context::{
    ActionId, CapabilityFacts, DecisionId, Digest, ExecutionId, ManualClock, Name, Principal,
    RunId, Session, SessionId, Timestamp,
};
use lictor_document::Source;
use lictor_executor::{ExecutionRecord, ExecutionStatus};
use lictor_governance::{DecisionRecord, PolicySet, Verdict, WriteGate};
use lictor_state::{Executions, migrations};
use lictor_store::{Store, StoreOptions};
use serde_json::json;

pub(crate) fn open(path: &Path) -> Store {
    Store::open(path, StoreOptions::default(), migrations()).expect("a store")
}

/// A store, and the directory that goes with it.
pub(crate) fn store() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (open(&dir.path().join("lictor.db")), dir)
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + second * 1_000_000)
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(at(0)))
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

pub(crate) fn principal() -> Principal {
    Principal { org: name("acme"), user: name("ann"), agent: name("planner") }
}

pub(crate) fn execution_id(text: &str) -> ExecutionId {
    ExecutionId::parse(text).expect("an id")
}

pub(crate) fn file(path: &str, to: Option<&str>) -> FileChange {
    FileChange {
        path: path.to_owned(),
        op: if to.is_some() { ChangeKind::Rename } else { ChangeKind::Modify },
        before: Some(Digest::of(b"before")),
        after: Some(Digest::of(b"after")),
        to: to.map(str::to_owned),
        before_mode: None,
        mode: None,
    }
}

/// An execution that began in this second and takes these back.
pub(crate) fn record(id: &str, second: i64, undo_of: &[&str]) -> ExecutionRecord {
    let decision = DecisionRecord {
        id: DecisionId::parse("dec_1").expect("an id"),
        verdict: Verdict::Allow,
        risk_proposed: Risk::Low,
        risk_effective: Risk::Low,
        reasons: Vec::new(),
        required_actions: Vec::new(),
        approvals_needed: 0,
        action_digest: Digest::of(b"action"),
        policy_digest: Digest::of(b"policy"),
        expires_at: at(60),
        undo: UndoScope::Full,
        undo_because: Vec::new(),
    };
    ExecutionRecord {
        execution_id: execution_id(id),
        status: ExecutionStatus::Applied,
        started_at: at(second),
        session_id: SessionId::parse("ses_1").expect("an id"),
        principal: principal(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        action_id: ActionId::parse("act_1").expect("an id"),
        capability: "fs.write".to_owned(),
        capability_facts: CapabilityFacts {
            kind: "skill".to_owned(),
            source: "builtin".to_owned(),
            version: "1.0.0".to_owned(),
            mcp_server: None,
        },
        params: json!({ "path": "src/a.rs", "content": { "sealed": "…", "bytes": 7 } }),
        decision_id: decision.id.clone(),
        decision,
        requires_approval: false,
        agreement: None,
        plan_id: None,
        intent: Some("tidy up".to_owned()),
        change_set_id: None,
        idempotency_key: None,
        run_id: None,
        step_id: None,
        staged: None,
        staged_for: None,
        lands: None,
        began: None,
        lock: None,
        undo_of: undo_of.iter().copied().map(execution_id).collect(),
        undo: UndoScope::Full,
        files: vec![file("src/a.rs", None)],
        output: json!({ "bytes": 7 }),
        duration_us: 1234,
        error: None,
    }
}

pub(crate) fn of_run(mut record: ExecutionRecord, run: &str) -> ExecutionRecord {
    record.run_id = Some(RunId::parse(run).expect("an id"));
    record
}

pub(crate) fn put(store: &Store, record: &ExecutionRecord) {
    let record = record.clone();
    let written = store.write(move |tx| Executions::put_in(tx, &record));
    written.wait().expect("written");
}

/// A gate that asks about everything, and an action for it to ask about.
pub(crate) fn asking(clock: &Arc<ManualClock>) -> WriteGate {
    let policy = b"version: 1\ndefault: need_approval\nrisk: {low: need_approval}\n";
    let policies = PolicySet::workspace(&Source::new("policy.yaml", policy)).expect("a policy");
    WriteGate::new(Arc::new(policies), clock.clone())
}

pub(crate) fn described(n: u32, clock: &Arc<ManualClock>) -> Described {
    let contract = json!({
        "id": "fs.read", "version": "1.0.0", "title": "T", "description": "D", "kind": "skill",
        "source": "builtin", "input": {}, "output": {}, "risk": "low",
        "effects": { "fs": { "read": ["**"] } }, "handler": { "builtin": "x" },
    })
    .to_string();
    let contract = Contract::from_yaml(&Source::new("c.yaml", contract.as_bytes()));
    let contract = Arc::new(contract.expect("a contract"));
    let session = Session::new(principal(), clock.as_ref());
    let graph = CapabilityGraph::build(&session, [&contract]);
    let id = CapabilityId::parse("fs.read").expect("an id");
    let action = Action::new(&session, id, json!({ "n": n }), clock.as_ref());
    let mut effects = Effects::default();
    effects.reads.push("notes.txt".parse().expect("a path"));
    graph.admit(action).expect("admitted").describe(effects).expect("described")
}
