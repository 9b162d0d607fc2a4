//! Counters and histograms, through a real runtime: each thing that is on record is counted once,
//! and nothing else is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lictor::audit::Filter;
use lictor::capability::{CapabilityId, Effects};
use lictor::context::{Digest, Name, Principal, Session, SystemClock};
use lictor::document::Source;
use lictor::executor::{Granted, Handler, HandlerError, Request};
use lictor::governance::{Channel, Says};
use lictor::workflow::Workflow;
use lictor::{Agent, ErrorCode, OnConflict, OwnSkill, Runtime, RuntimeOptions};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use serde_json::{Value, json};

const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"no/**\"], protected: [\"ask/**\"], allowed: [\"**\"] }\n\
    risk: { low: allow, medium: allow, high: allow, critical: allow }\n";

/// What was counted: under each name with its labels, in order.
#[derive(Debug, Default)]
struct Counted {
    counters: Arc<Mutex<BTreeMap<String, u64>>>,
    histograms: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
}

#[derive(Debug)]
struct Count(String, Arc<Mutex<BTreeMap<String, u64>>>);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        *self.1.lock().unwrap().entry(self.0.clone()).or_default() += value;
    }

    fn absolute(&self, _: u64) {
        unreachable!("nothing of ours sets a counter")
    }
}

#[derive(Debug)]
struct Values(String, Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.1.lock().unwrap().entry(self.0.clone()).or_default().push(value);
    }
}

fn named(key: &Key) -> String {
    let labels: Vec<String> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Count(named(key), Arc::clone(&self.counters))))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        unreachable!("no gauge is documented: {key}")
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Values(named(key), Arc::clone(&self.histograms))))
    }
}

/// A skill that fails.
#[derive(Debug)]
struct Fails;

#[async_trait]
impl Handler for Fails {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        Err(HandlerError::failed("on purpose"))
    }
}

struct Place {
    dir: tempfile::TempDir,
    runtime: Runtime,
    agent: Agent,
}

impl Place {
    async fn new(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("work/.lictor")).unwrap();
        std::fs::write(dir.path().join("work/.lictor/policy.yaml"), policy).unwrap();
        let mut options = RuntimeOptions::new(dir.path().join("work"), dir.path().join("keys"));
        let contract = "id: own.fails\nversion: 1.0.0\ntitle: Fails\ndescription: Fails.\nkind: skill\n\
            source: builtin\ninput: { type: object }\noutput: { type: object }\nrisk: low\n\
            handler: { builtin: own.fails }\n";
        let source = Source::new("own.fails.yaml", contract.as_bytes());
        options.own_skills = vec![OwnSkill::new(&source, Fails).unwrap()];
        let runtime = Runtime::open(options).await.unwrap();
        let name = |text| Name::parse(text).unwrap();
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("bot") };
        let agent = runtime.agent(&Session::new(principal, &SystemClock));
        Self { dir, runtime, agent }
    }

    async fn call(&self, capability: &str, input: Value) -> Result<(), ErrorCode> {
        let done = self.agent.call(capability, input).await;
        done.map(drop).map_err(|error| error.code())
    }

    fn heads(&self) -> PathBuf {
        self.dir.path().join("keys/heads")
    }

    fn trail(&self) -> Vec<Value> {
        let found = self.runtime.audit().query(&Name::parse("acme").unwrap(), &Filter::default());
        let events = found.unwrap();
        events.iter().map(|event| serde_json::from_slice(&event.bytes).unwrap()).collect()
    }

    /// Every counter and every histogram is what the trail says; `dropped` is in no trail.
    #[track_caller]
    fn check(&self, counted: &Counted, dropped: u64) {
        let mut counters = BTreeMap::new();
        let mut durations: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for event in self.trail() {
            let mut one = |name: String| *counters.entry(name).or_insert(0) += 1;
            let kind = event["event_type"].as_str().unwrap().to_owned();
            one(format!("lictor_events_total{{type={kind}}}"));
            let outcome = match kind.as_str() {
                "action_completed" => "completed",
                "action_failed" => "failed",
                "action_rejected" => "rejected",
                "action_unknown" => "unknown",
                "execution_duplicate" => "duplicate",
                "decision_made" => {
                    let verdict = event["metadata"]["verdict"].as_str().unwrap();
                    one(format!("lictor_decisions_total{{verdict={verdict}}}"));
                    continue;
                }
                "approval_requested" | "approval_granted" | "approval_denied" => {
                    let answer = kind.strip_prefix("approval_").unwrap();
                    one(format!("lictor_approvals_total{{answer={answer}}}"));
                    continue;
                }
                _ => continue,
            };
            one(format!("lictor_actions_total{{outcome={outcome}}}"));
            // 0 stands for none; nothing takes less than a microsecond.
            if let Some(micros) = event["duration_us"].as_u64().filter(|micros| *micros > 0) {
                let name = format!("lictor_action_duration_seconds{{outcome={outcome}}}");
                durations.entry(name).or_default().push(micros as f64 / 1e6);
            }
        }
        if dropped > 0 {
            counters.insert("lictor_audit_dropped_total{}".to_owned(), dropped);
        }
        assert_eq!(*counted.counters.lock().unwrap(), counters);
        let found = counted.histograms.lock().unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), durations.keys().collect::<Vec<_>>());
        for (name, expected) in durations {
            // The trail has whole microseconds, and another order than several at once.
            let mut found = found[&name].clone();
            let mut expected = expected;
            found.sort_by(f64::total_cmp);
            expected.sort_by(f64::total_cmp);
            assert_eq!(found.len(), expected.len(), "{name}");
            let near = found.iter().zip(&expected).all(|(one, two)| (one - two).abs() < 2e-6);
            assert!(near, "{name}: {found:?}, {expected:?}");
        }
    }
}

#[tokio::test]
async fn everything_on_record_is_counted_once() {
    let counted = Counted::default();
    let _recorder = metrics::set_default_local_recorder(&counted);
    let place = Place::new(POLICY).await;
    place.call("fs.write", json!({ "path": "a", "content": "x" })).await.unwrap();
    place.call("time.now", json!({})).await.unwrap();
    let denied = place.call("fs.write", json!({ "path": "no/a", "content": "x" })).await;
    assert_eq!(denied, Err(ErrorCode::Denied));
    assert!(place.call("fs.write", json!({ "path": 7 })).await.is_err());
    assert!(place.call("there.is_none", json!({})).await.is_err());
    assert_eq!(place.call("own.fails", json!({})).await, Err(ErrorCode::Failed));

    // The same intent twice.
    let intent = || {
        let id = CapabilityId::parse("fs.write").unwrap();
        let action = place.agent.action(id, json!({ "path": "b", "content": "x" }));
        action.with_idempotency_key(Digest::of(b"intent"))
    };
    let first = place.agent.act(intent(), None).await.unwrap();
    assert!(place.agent.act(intent(), None).await.unwrap().duplicate);
    let undone = [first.record.execution_id];
    place.agent.undo(&undone, OnConflict::Refuse, None).await.unwrap();

    // People say yes, and no.
    let approvers = place.runtime.approvers();
    let (_, token) = approvers.bootstrap(Name::parse("ann").unwrap(), Vec::new()).unwrap();
    for (path, says) in
        [("ask/a", Says::Approve), ("ask/b", Says::Deny { reason: "no".to_owned() })]
    {
        let input = json!({ "path": path, "content": "x" });
        let asked = place.call("fs.write", input.clone()).await;
        assert_eq!(asked, Err(ErrorCode::ApprovalRequired));
        let open = place.runtime.approvals().list(true).unwrap();
        let by = approvers.authenticate(token.expose()).unwrap();
        let session = place.agent.session();
        place.runtime.answer(open[0].id(), by, Channel::Token, says, session).await.unwrap();
        let again = place.call("fs.write", input).await;
        assert_eq!(again.is_ok(), path == "ask/a", "{again:?}");
    }

    // A run, with steps that only look: their events come with a later commit.
    let flow = "id: flow\nversion: 1.0.0\nsteps:\n  - { id: now, use: time.now }\n  \
        - { id: w, use: fs.write, needs: [now], with: { path: c, content: x } }\n  \
        - { id: f, use: own.fails, needs: [w] }\n";
    let flow = Workflow::from_yaml(&Source::new("flow.yaml", flow.as_bytes())).unwrap();
    let run =
        place.runtime.engine(None).run(place.agent.session(), &flow, json!({})).await.unwrap();
    assert_eq!(run.status().as_str(), "rolled_back");

    place.check(&counted, 0);
    let counters = counted.counters.lock().unwrap();
    for name in [
        "lictor_actions_total{outcome=completed}",
        "lictor_actions_total{outcome=failed}",
        "lictor_actions_total{outcome=rejected}",
        "lictor_actions_total{outcome=duplicate}",
        "lictor_decisions_total{verdict=allow}",
        "lictor_decisions_total{verdict=deny}",
        "lictor_decisions_total{verdict=need_approval}",
        "lictor_approvals_total{answer=requested}",
        "lictor_approvals_total{answer=granted}",
        "lictor_approvals_total{answer=denied}",
    ] {
        assert!(counters.contains_key(name), "no {name} in {counters:?}");
    }
}

#[tokio::test]
async fn what_is_not_recorded_is_not_counted_and_what_is_dropped_is_counted_as_that() {
    for on_failure in ["block", "continue"] {
        let counted = Counted::default();
        let _recorder = metrics::set_default_local_recorder(&counted);
        let policy = format!("{POLICY}audit: {{ on_failure: {on_failure} }}\n");
        let place = Place::new(&policy).await;
        place.call("fs.write", json!({ "path": "a", "content": "x" })).await.unwrap();
        let away = place.dir.path().join("keys/away");
        // The guard cannot be read: the trail cannot be written.
        std::fs::rename(place.heads(), &away).unwrap();
        std::fs::write(place.heads(), "not a folder").unwrap();
        let done = place.call("fs.write", json!({ "path": "b", "content": "x" })).await;
        assert_eq!(done.is_ok(), on_failure == "continue", "{done:?}");
        let dropped = place.runtime.trail_stats().dropped;
        assert_eq!(dropped > 0, on_failure == "continue");
        std::fs::remove_file(place.heads()).unwrap();
        std::fs::rename(&away, place.heads()).unwrap();
        place.call("fs.write", json!({ "path": "c", "content": "x" })).await.unwrap();
        place.check(&counted, dropped);
    }
}
