//! A policy file that changes counts from the next decision on, if it is a policy.
#![expect(clippy::disallowed_methods, reason = "a person edits the policy")]

use std::path::PathBuf;

use lictor::audit::Filter;
use lictor::capability::CapabilityId;
use lictor::context::{EventType, Name, Principal, Session, SystemClock};
use lictor::document::Source;
use lictor::governance::{DecisionRecord, Verdict};
use lictor::workflow::{RunStatus, Workflow};
use lictor::{ActError, Agent, Runtime, RuntimeOptions};
use serde_json::{Value, json};

const OPEN: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n";
const CLOSED: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"src/**\"] }\n";

struct Place {
    dir: tempfile::TempDir,
    agent: Agent,
}

impl Place {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (workspace, keys) = (dir.path().join("workspace"), dir.path().join("keys"));
        std::fs::create_dir_all(workspace.join(".lictor")).unwrap();
        std::fs::write(workspace.join(".lictor/policy.yaml"), OPEN).unwrap();
        let runtime = Runtime::open(RuntimeOptions::new(workspace, keys)).await.unwrap();
        let name = |text| Name::parse(text).unwrap();
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("bot") };
        let agent = runtime.agent(&Session::new(principal, &SystemClock));
        Self { dir, agent }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("workspace/.lictor/policy.yaml")
    }

    fn policy(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    async fn write(&self, path: &str) -> Result<DecisionRecord, ActError> {
        let input = json!({ "path": path, "content": "x" });
        self.agent.call("fs.write", input).await.map(|done| done.record.decision)
    }
}

fn notices(decision: &DecisionRecord) -> Vec<String> {
    let reasons = decision.reasons.iter().filter(|reason| &*reason.rule == "policy_reload");
    reasons.map(|reason| reason.message.to_string()).collect()
}

#[tokio::test]
async fn a_changed_policy_counts_from_the_next_decision_on() {
    let place = Place::open().await;
    assert!(notices(&place.write("a").await.unwrap()).is_empty());
    place.policy(CLOSED);
    let refused = place.write("b").await.unwrap_err();
    assert!(refused.to_string().contains("default"), "{refused}");
    place.write("src/a").await.unwrap();
    place.policy(OPEN);
    place.write("b").await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_policy_leaves_the_last_good_one_and_every_decision_says_so() {
    let place = Place::open().await;
    place.policy(CLOSED);
    place.write("src/a").await.unwrap();
    place.policy("version: 1\ndefault: allow\nrulez: []\n");
    for path in ["src/b", "src/c"] {
        let said = notices(&place.write(path).await.unwrap());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("the last good policy stays in force"), "{said:?}");
        assert!(said[0].contains("policy.yaml:3:1"), "{said:?}");
    }
    let refused = place.write("b").await.unwrap_err();
    let decision = refused.decision().unwrap();
    assert_eq!(notices(decision).len(), 1);
    // What cannot be read at all is no policy either.
    std::fs::remove_file(place.file()).unwrap();
    std::fs::create_dir(place.file()).unwrap();
    place.write("b").await.unwrap_err();
    assert_eq!(notices(&place.write("src/d").await.unwrap()).len(), 1);
    std::fs::remove_dir(place.file()).unwrap();
    place.policy(OPEN);
    assert!(notices(&place.write("b").await.unwrap()).is_empty());
}

#[tokio::test]
async fn a_cedar_policy_that_is_none_leaves_the_last_good_ones() {
    let place = Place::open().await;
    let folder = place.dir.path().join("workspace/.lictor/policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.cedar"), "forbid(principal").unwrap();
    for path in ["a", "b"] {
        let said = notices(&place.write(path).await.unwrap());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("policies/a.cedar"), "{said:?}");
    }
    std::fs::rename(folder.join("a.cedar"), folder.join("a.txt")).unwrap();
    assert!(notices(&place.write("c").await.unwrap()).is_empty());
}

/// Whoever looks first: a call, a check that records nothing itself, a run that is asked about as a
/// whole, or the program.
#[tokio::test]
async fn a_changed_policy_is_on_record_once_whoever_notices_it_first() {
    let place = Place::open().await;
    place.write("src/a").await.unwrap();
    let (runtime, agent) = (place.agent.runtime(), &place.agent);
    let told = || {
        let filter = Filter { types: vec![EventType::PolicyLoaded], ..Filter::default() };
        let found = runtime.audit().query(&Name::parse("acme").unwrap(), &filter).unwrap();
        let told =
            found.iter().map(|event| -> Value { serde_json::from_slice(&event.bytes).unwrap() });
        told.map(|event| event["success"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(told(), [] as [bool; 0]);
    place.policy(CLOSED);
    place.write("src/b").await.unwrap();
    assert_eq!(told(), [true]);
    place.policy(OPEN);
    let capability = CapabilityId::parse("fs.write").unwrap();
    let action = || agent.action(capability.clone(), json!({ "path": "c", "content": "x" }));
    for _ in 0..2 {
        let checked = agent.check(action()).unwrap();
        assert_eq!(checked.decision.verdict, Verdict::Allow);
    }
    assert_eq!(told(), [true], "a check records nothing");
    place.write("c").await.unwrap();
    place.write("d").await.unwrap();
    assert_eq!(told(), [true; 2]);
    // A broken file is no policy, and that is on record as well; also when a refusal is what comes next.
    place.policy("rulez: []");
    assert!(!notices(&agent.check(action()).unwrap().decision).is_empty());
    agent.call("no.such", json!({})).await.unwrap_err();
    assert_eq!(told(), [true, true, false]);
    place.policy(CLOSED);
    runtime.reload_policies().unwrap();
    place.write("src/e").await.unwrap();
    assert_eq!(told(), [true, true, false, true]);
    place.policy(OPEN);
    let run = runtime.engine(None).run(agent.session(), &planned(), json!({})).await.unwrap();
    assert_eq!(
        run.status(),
        RunStatus::Paused,
        "people are asked about all of it: {:?}",
        run.error
    );
    assert_eq!(told(), [true, true, false, true, true]);
}

/// A run whose plan is looked at before anything is done.
fn planned() -> Workflow {
    let text = "id: w\nversion: 1.0.0\napprovals: plan\nsteps:\n  \
                - { id: one, use: fs.write, with: { path: f, content: x } }\n";
    Workflow::from_yaml(&Source::new("w.yaml", text.as_bytes())).unwrap()
}

#[cfg(feature = "cedar")]
#[tokio::test]
async fn a_changed_cedar_policy_counts_from_the_next_decision_on() {
    let place = Place::open().await;
    let folder = place.dir.path().join("workspace/.lictor/policies");
    std::fs::create_dir(&folder).unwrap();
    place.write("keys/a").await.unwrap();
    let forbid =
        "@id(\"keys\") forbid(principal in Role::\"dev\", action, resource in Path::\"keys\");";
    let (file, roles) = (folder.join("a.cedar"), folder.join("roles.yaml"));
    std::fs::write(&roles, "roles: { dev: ['user:ann'] }").unwrap();
    std::fs::write(&file, forbid).unwrap();
    let refused = place.write("keys/b").await.unwrap_err();
    assert!(refused.to_string().contains("cedar:keys"), "{refused}");
    std::fs::write(&roles, "roles: { dev: [] }").unwrap();
    place.write("keys/b").await.unwrap();
    std::fs::write(&roles, "roles: { dev: ['agent:bot'] }").unwrap();
    place.write("keys/c").await.unwrap_err();
    // A role that nobody defines any more: the last good ones stay, and deny.
    std::fs::write(&roles, "roles: {}").unwrap();
    let refused = place.write("keys/c").await.unwrap_err();
    assert_eq!(notices(refused.decision().unwrap()).len(), 1);
    std::fs::remove_file(&file).unwrap();
    place.write("keys/c").await.unwrap();
}

/// What a policy may name is everything that a session can ask for, also what the program brings.
#[cfg(feature = "cedar")]
#[tokio::test]
async fn a_cedar_policy_may_name_a_skill_of_the_program_and_its_input() {
    use lictor::capability::Effects;
    use lictor::executor::{Granted, Handler, HandlerError, Request};
    use lictor::{OwnSkill, cedar_schema};

    struct Pay;

    #[async_trait::async_trait]
    impl Handler for Pay {
        fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
            Ok(Effects::default())
        }

        async fn run(&self, _: Granted<'_>) -> Result<serde_json::Value, HandlerError> {
            Ok(json!({}))
        }
    }

    let contract = br#"{id: desk.pay, version: 1.0.0, title: Pay, description: Pays., kind: skill, source: builtin,
        input: {type: object, properties: {amount: {type: integer}}, required: [amount]}, output: {},
        risk: low, effects: {}, handler: {builtin: desk.pay}}"#;
    let skill = || OwnSkill::new(&Source::new("desk.pay.yaml", contract), Pay).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (workspace, keys) = (dir.path().join("workspace"), dir.path().join("keys"));
    let folder = workspace.join(".lictor/policies");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(workspace.join(".lictor/policy.yaml"), OPEN).unwrap();
    let much = "@id(\"much\") forbid(principal, action == Action::\"desk.pay\", resource) when { context.input.amount > 10 };";
    std::fs::write(folder.join("a.cedar"), much).unwrap();
    // Without it the policy names what does not exist.
    Runtime::open(RuntimeOptions::new(&workspace, &keys)).await.unwrap_err();
    let mut options = RuntimeOptions::new(&workspace, &keys);
    options.own_skills.push(skill());
    let runtime = Runtime::open(options).await.unwrap();
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("bot") };
    let agent = runtime.agent(&Session::new(principal, &SystemClock));
    let pay = |amount: i64| agent.call("desk.pay", json!({ "amount": amount }));
    let _done = pay(10).await.unwrap();
    let refused = pay(11).await.unwrap_err();
    assert!(refused.to_string().contains("cedar:much"), "{refused}");
    // Also when it is read again.
    std::fs::write(folder.join("a.cedar"), much.replace("10", "20")).unwrap();
    let done = pay(11).await.unwrap();
    assert!(notices(&done.record.decision).is_empty());
    assert!(!cedar_schema(&workspace, &[]).unwrap().contains("desk.pay"));
    let schema = cedar_schema(&workspace, &[skill()]).unwrap();
    assert!(schema.contains("input: {\"amount\": Long}"), "{schema}");
}

/// A broken file never counts as none: whoever opens the workspace gets an error, and so does
/// every process that comes after.
#[tokio::test]
async fn a_policy_that_cannot_be_read_opens_nothing() {
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let (workspace, keys) = (dir.path().join("workspace"), dir.path().join("keys"));
    let folder = workspace.join(".lictor");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("policy.yaml");
    let open = || Runtime::open(RuntimeOptions::new(workspace.clone(), keys.clone()));
    let large = format!("version: 1\ndefault: allow\n#{}", "x".repeat(1 << 20));
    for bytes in
        [b"".as_slice(), b"version: 1\nrulez: []\n", b"version: 1 # \xff", large.as_bytes()]
    {
        std::fs::write(&file, bytes).unwrap();
        assert!(
            open().await.is_err(),
            "{:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        );
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    open().await.unwrap_err();
    std::fs::remove_dir(&file).unwrap();
    symlink("policy.yaml", &file).unwrap();
    open().await.unwrap_err();
    std::fs::remove_file(&file).unwrap();
    // What is there instead of the folder for Cedar cannot be listed.
    std::fs::write(&file, OPEN).unwrap();
    std::fs::write(folder.join("policies"), "").unwrap();
    open().await.unwrap_err();
    std::fs::remove_file(folder.join("policies")).unwrap();
    open().await.unwrap();
}

/// A file that vanishes says nothing, and what says nothing forbids nothing: where another layer lets
/// through, that would be more than before.
#[tokio::test]
async fn a_policy_that_vanishes_leaves_the_last_good_one_whatever_other_layers_allow() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, keys) = (dir.path().join("workspace"), dir.path().join("keys"));
    let (own, managed) = (workspace.join(".lictor/policy.yaml"), dir.path().join("managed.yaml"));
    std::fs::create_dir_all(workspace.join(".lictor")).unwrap();
    std::fs::write(&own, "version: 1\npaths: { forbidden: [\"no/**\"] }\n").unwrap();
    std::fs::write(&managed, OPEN).unwrap();
    let mut options = RuntimeOptions::new(&workspace, keys);
    options.policies.managed = Some(managed.clone());
    let runtime = Runtime::open(options).await.unwrap();
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("bot") };
    let agent = runtime.agent(&Session::new(principal, &SystemClock));
    let write = async |path: &str| {
        let input = json!({ "path": path, "content": "x" });
        agent.call("fs.write", input).await.map(|done| done.record.decision)
    };
    assert!(notices(&write("a").await.unwrap()).is_empty());
    for gone in [&own, &managed] {
        let kept = std::fs::read(gone).unwrap();
        std::fs::remove_file(gone).unwrap();
        write("no/a").await.unwrap_err();
        let said = notices(&write("b").await.unwrap());
        assert!(said[0].contains("its file is gone"), "{said:?}");
        assert!(!workspace.join("no").exists());
        std::fs::write(gone, kept).unwrap();
        write("c").await.unwrap();
    }
}
