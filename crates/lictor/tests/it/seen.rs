//! Agreeing at once to several undos and to runs: to what was looked at, and to nothing else
//! (`approval_binds_everything`).

use std::path::PathBuf;

use lictor::capability::Risk;
use lictor::context::{EventType, ExecutionId, Session};
use lictor::document::Source;
use lictor::governance::{ApproverToken, Channel};
use lictor::workflow::{Preview, RunRecord, RunStatus, Workflow};
use lictor::{ActError, Agent, Checked, Consent, ErrorCode, OnConflict, Runtime, Seen};
use serde_json::{Value, json};

use crate::rig::{self, name};

/// Writes are free, also those into `ask` as long as `writes` is no rule; undos are not.
const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
                      risk: { low: allow, medium: allow, high: need_approval, critical: need_approval }\n\
                      escalate:\n  - { when: { path: \"big/**\" }, risk: high, reason: it is big }\nrules:\n  \
                      - { name: undos, when: { capability: change.undo }, verdict: need_approval }\n  \
                      - { name: asked, when: { path: [\"ask/**\", \"big/**\"], effect: fs.write }, verdict: need_approval }\n";

struct House {
    _dir: tempfile::TempDir,
    root: PathBuf,
    runtime: Runtime,
    session: Session,
    token: ApproverToken,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("workspace");
        let runtime = rig::open((&root, &dir.path().join("keys")), POLICY, |_| {}).await;
        let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
        let session = rig::session_of("bob", "bot");
        Self { _dir: dir, root, runtime, session, token }
    }

    fn agent(&self) -> Agent {
        self.runtime.agent(&self.session)
    }

    fn policy(&self, text: &str) {
        std::fs::write(self.root.join(".lictor/policy.yaml"), text).unwrap();
    }

    fn write(&self, path: &str, content: &str) {
        std::fs::write(self.root.join(path), content).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }

    fn consent(&self, seen: Seen) -> Consent {
        let approver = self.runtime.approvers().authenticate(self.token.expose()).unwrap();
        Consent { approver, channel: Channel::Token, seen }
    }

    /// Agreement to these actions.
    fn to(&self, looked_at: &[Checked]) -> Consent {
        let seen = looked_at.iter().map(|one| one.decision.action_digest).collect();
        self.consent(Seen::Actions(seen))
    }

    async fn call(&self, capability: &str, input: Value) -> ExecutionId {
        self.agent().call(capability, input).await.unwrap().record.execution_id
    }

    /// Everything in the workspace that is not our own.
    fn tree(&self) -> Vec<(String, Option<String>)> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(self.root.join(&folder)).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if path == ".lictor" {
                    continue;
                }
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path.clone());
                }
                let content = self.read(&path);
                found.push((path, content));
            }
        }
        found.sort();
        found
    }

    fn refusals(&self) -> u64 {
        let types = vec![EventType::ActionRejected];
        let filter = lictor::audit::Filter { types, ..lictor::audit::Filter::default() };
        self.runtime.audit().count(&name("acme"), &filter).unwrap()
    }
}

/// A step of a history: a capability and its input.
type Did = (&'static str, Value);

/// Histories in which what one undo finds is what another has left.
fn histories() -> Vec<(&'static str, Vec<Did>)> {
    let write = |path: &str, content: &str| -> Did {
        ("fs.write", json!({ "path": path, "content": content }))
    };
    let moved = |from: &str, to: &str| -> Did { ("fs.move", json!({ "from": from, "to": to })) };
    let delete = |path: &str| -> Did { ("fs.delete", json!({ "path": path })) };
    vec![
        ("one file again and again", vec![write("a", "1"), write("a", "2"), write("a", "3")]),
        ("files apart", vec![write("a", "1"), write("b", "1"), write("c", "1")]),
        ("moved and written", vec![write("a", "1"), moved("a", "b"), write("b", "2")]),
        ("moved twice", vec![write("a", "1"), moved("a", "b"), moved("b", "a")]),
        ("deleted and made anew", vec![write("old", "1"), delete("old"), write("old", "2")]),
        ("folders that come and go", vec![write("n/m/a", "1"), write("n/b", "2"), delete("n/b")]),
    ]
}

#[tokio::test]
async fn several_undos_are_done_as_they_were_looked_at() {
    for (what, history) in histories() {
        let house = House::new().await;
        house.write("old", "as it was\n");
        let before = house.tree();
        let mut executions = Vec::new();
        for (capability, input) in history {
            executions.insert(0, house.call(capability, input).await);
        }
        let agent = house.agent();
        let looked_at = agent.check_undo(&executions, OnConflict::Refuse).unwrap();
        assert!(looked_at.iter().all(|one| one.decision.approvals_needed == 1), "{what}");
        let consent = house.to(&looked_at);
        let undone = agent.undo(&executions, OnConflict::Refuse, Some(&consent)).await;
        let undone = undone.unwrap_or_else(|error| panic!("{what}: {error}"));
        // Each was done under the very digest that was shown when nothing had been done yet.
        let done: Vec<_> = undone.decisions.iter().map(|one| one.action_digest).collect();
        let shown: Vec<_> = looked_at.iter().map(|one| one.decision.action_digest).collect();
        assert_eq!(done, shown, "{what}");
        assert_eq!(house.tree(), before, "{what}");
    }
}

#[tokio::test]
async fn what_changed_since_the_undos_were_looked_at_is_not_done_and_nothing_else_is() {
    type Change = fn(&House, &mut Vec<ExecutionId>);
    let changes: [(&str, Change); 6] = [
        ("what a file holds", |house, _| house.write("a", "one\n2\n3\n4\n5\n6\n7\n8\nnine\n")),
        ("the policy", |house, _| house.policy(&format!("{POLICY}limits: {{ max_files: 9 }}\n"))),
        ("the order", |_, executions| executions.swap(1, 2)),
        ("one more", |_, executions| executions.rotate_left(1)),
        ("what cannot be merged", |house, _| house.write("c", "theirs")),
        ("a file that is gone", |house, _| std::fs::remove_file(house.root.join("c")).unwrap()),
    ];
    for (what, change) in changes {
        let house = House::new().await;
        let numbered = |last: &str| format!("1\n2\n3\n4\n5\n6\n7\n8\n{last}\n");
        house.write("a", &numbered("9"));
        let other = house.call("fs.write", json!({ "path": "d", "content": "1" })).await;
        let mut executions = vec![other];
        for (path, content) in [("c", "1"), ("b", "1"), ("a", &*numbered("nine"))] {
            let input = json!({ "path": path, "content": content });
            executions.insert(0, house.call("fs.write", input).await);
        }
        let way = OnConflict::Merge;
        let agent = house.agent();
        // The last is not among those that are looked at.
        let looked_at = agent.check_undo(&executions[..3], way).unwrap();
        let consent = house.to(&looked_at);
        let mut asked = executions.clone();
        asked.truncate(if what == "one more" { 4 } else { 3 });
        change(&house, &mut asked);
        let (before, refusals) = (house.tree(), house.refusals());
        let outcome = agent.undo(&asked, way, Some(&consent)).await;
        if what == "the order" {
            // They have nothing to do with each other: each is what was looked at, in any order.
            outcome.unwrap();
            continue;
        }
        let error = outcome.unwrap_err();
        let expected = match what {
            "what cannot be merged" => ErrorCode::Conflict,
            _ => ErrorCode::Integrity,
        };
        assert_eq!(error.code(), expected, "{what}: {error}");
        assert_eq!(house.tree(), before, "{what}");
        let recorded = house.refusals() - refusals;
        assert_eq!(recorded, u64::from(expected == ErrorCode::Integrity), "{what}");
    }
}

#[tokio::test]
async fn without_agreement_several_undos_ask_as_one_does() {
    let house = House::new().await;
    let mut executions = Vec::new();
    for content in ["1", "2"] {
        let input = json!({ "path": "a", "content": content });
        executions.insert(0, house.call("fs.write", input).await);
    }
    let error = house.agent().undo(&executions, OnConflict::Refuse, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ApprovalRequired, "{error}");
    assert_eq!(house.read("a").as_deref(), Some("2"));
}

const FLOW: &str = r#"
id: flow
version: 1.0.0
input: { type: object, properties: { path: { type: string } }, required: [path] }
steps:
  - { id: now, use: time.now }
  - { id: one, use: fs.write, needs: [now], with: { path: ask/one, content: "{{ steps.now.output.time }}" } }
  - { id: two, use: fs.write, needs: [one], with: { path: "{{ input.path }}", content: two } }
"#;

/// A run on its way.
struct Going {
    house: House,
    flow: String,
    input: Value,
}

impl Going {
    async fn new(flow: &str, input: Value) -> Self {
        Self { house: House::new().await, flow: flow.to_owned(), input }
    }

    fn flow(&self) -> Workflow {
        Workflow::from_yaml(&Source::new("flow.workflow.yaml", self.flow.as_bytes())).unwrap()
    }

    async fn look(&self) -> (Vec<Preview>, Result<Consent, ActError>) {
        let runtime = &self.house.runtime;
        let (flow, session) = (self.flow(), &self.house.session);
        let steps = runtime.engine(None).dry_run(session, &flow, &self.input).await.unwrap();
        let seen = runtime.look_at_run(session, (&flow, &self.input), &steps, None);
        let consent = seen.map(|seen| self.house.consent(Seen::Run(Box::new(seen))));
        (steps, consent)
    }

    async fn run(&self, consent: Consent) -> RunRecord {
        let engine = self.house.runtime.engine(Some(consent));
        engine.run(&self.house.session, &self.flow(), self.input.clone()).await.unwrap()
    }

    /// Whether the run stopped to ask, at its first write.
    #[track_caller]
    fn asks(&self, run: &RunRecord, what: &str) {
        assert_eq!(run.status(), RunStatus::Paused, "{what}: {:?}", run.error);
        assert_eq!(self.house.runtime.approvals().list(true).unwrap().len(), 1, "{what}");
        assert_eq!(self.house.read("ask/two"), None, "{what}");
    }
}

#[tokio::test]
async fn a_run_that_was_looked_at_and_agreed_to_goes_to_its_end() {
    let going = Going::new(FLOW, json!({ "path": "ask/two" })).await;
    let (_, consent) = going.look().await;
    let run = going.run(consent.unwrap()).await;
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    assert_eq!(going.house.read("ask/two").as_deref(), Some("two"));
}

#[tokio::test]
async fn what_changed_of_a_run_since_it_was_looked_at_is_asked_about() {
    type Change = fn(&mut Going);
    let changes: [(&str, Change); 5] = [
        ("the input", |it| it.input = json!({ "path": "ask/other" })),
        ("the title", |it| {
            it.flow = it.flow.replace("version: 1.0.0", "version: 1.0.0\ntitle: Another")
        }),
        ("the policy", |it| it.house.policy(&format!("{POLICY}limits: {{ max_files: 9 }}\n"))),
        ("another step", |it| it.flow = it.flow.replace("one", "uno")),
        ("a step for each item", |it| {
            it.flow = it.flow.replace("id: one,", "id: one, foreach: \"{{ [1] }}\",");
        }),
    ];
    for (what, change) in changes {
        let mut going = Going::new(FLOW, json!({ "path": "ask/two" })).await;
        let (_, consent) = going.look().await;
        change(&mut going);
        let run = going.run(consent.unwrap()).await;
        going.asks(&run, what);
    }
}

#[tokio::test]
async fn a_step_that_turns_out_to_weigh_more_than_was_told_is_asked_about() {
    let flow = FLOW.replace(
        "path: \"{{ input.path }}\"",
        "path: \"{{ steps.now.output.time and input.path }}\"",
    );
    let flow = flow.replace("needs: [one]", "needs: [one, now]");
    for (path, completes) in [("ask/two", true), ("big/two", false)] {
        let going = Going::new(&flow, json!({ "path": path })).await;
        let (steps, consent) = going.look().await;
        // Where it goes is not known before.
        assert_eq!(steps[2].decision, None);
        assert!(steps[2].risk < Some(Risk::High));
        let run = going.run(consent.unwrap()).await;
        let expected = if completes { RunStatus::Completed } else { RunStatus::Paused };
        assert_eq!(run.status(), expected, "{path}: {:?}", run.error);
        assert_eq!(going.house.read(path).is_some(), completes, "{path}");
    }
    // Where it is known, it was told, and is agreed to.
    let going = Going::new(FLOW, json!({ "path": "big/two" })).await;
    let (steps, consent) = going.look().await;
    assert_eq!(steps[2].decision.as_ref().unwrap()["risk_effective"], "high");
    let run = going.run(consent.unwrap()).await;
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
}

#[tokio::test]
async fn a_question_that_depends_on_what_steps_give_is_not_answered_before_it_is_asked() {
    for (message, answered) in [
        ("Write {{ input.path }}?", true),
        ("Write {{ input.path }} at {{ steps.now.output.time }}?", false),
    ] {
        let ask =
            format!("  - {{ id: ask, needs: [now], approval: {{ message: \"{message}\" }} }}\n");
        let going = Going::new(&format!("{FLOW}{ask}"), json!({ "path": "ask/two" })).await;
        let (steps, consent) = going.look().await;
        let asked = steps.iter().find(|step| step.step == "ask").unwrap();
        assert_eq!(asked.question.as_deref(), answered.then_some("Write ask/two?"));
        let run = going.run(consent.unwrap()).await;
        let expected = if answered { RunStatus::Completed } else { RunStatus::Paused };
        assert_eq!(run.status(), expected, "{message}: {:?}", run.error);
    }
}

#[tokio::test]
async fn what_a_paused_run_waits_for_is_looked_at_before_it_goes_on() {
    let ask = "  - { id: ask, needs: [two, now], approval: { message: \"{{ steps.now.output.time }}?\" } }\n";
    let going = Going::new(&format!("{FLOW}{ask}"), json!({ "path": "free" })).await;
    let (_, consent) = going.look().await;
    let paused = going.run(consent.unwrap()).await;
    assert_eq!(paused.status(), RunStatus::Paused, "{:?}", paused.error);
    let runtime = &going.house.runtime;
    let (flow, session) = (going.flow(), &going.house.session);
    let steps = runtime.engine(None).dry_run(session, &flow, &going.input).await.unwrap();
    for waits in [None, Some(&paused.run_id)] {
        let about = (&flow, &going.input);
        let seen = runtime.look_at_run(session, about, &steps, waits).unwrap();
        let consent = going.house.consent(Seen::Run(Box::new(seen)));
        let engine = runtime.engine(Some(consent));
        let run = engine.resume(&paused.run_id, lictor::workflow::Resume::Continue).await.unwrap();
        let expected = if waits.is_some() { RunStatus::Completed } else { RunStatus::Paused };
        assert_eq!(run.status(), expected, "{waits:?}: {:?}", run.error);
    }
}
