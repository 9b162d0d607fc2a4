//! What exists for a session, and in which version.

use std::sync::Arc;

use lictor_capability::{Action, AdmitErrorKind, CapabilityGraph, CapabilityId, Contract};
use lictor_context::{AgentProfile, ManualClock, Name, Principal, Selection, Session, Timestamp};
use serde_json::json;

use super::contract::{EXAMPLE, contract};

fn id(text: &str) -> CapabilityId {
    CapabilityId::parse(text).expect("an id")
}

fn named(id: &str, version: &str, source: &str) -> Arc<Contract> {
    let text = EXAMPLE.replacen("id: fs.write", &format!("id: {id}"), 1);
    let text = text.replacen("version: 1.0.0", &format!("version: {version}"), 1);
    Arc::new(contract(&text.replacen("source: builtin", &format!("source: {source}"), 1)))
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros(1_000_000))
}

pub(crate) fn session(profile: AgentProfile) -> Session {
    let name = |text| Name::parse(text).expect("a name");
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
    Session::new(principal, &clock()).with_profile(profile)
}

pub(crate) fn catalogue() -> Vec<Arc<Contract>> {
    vec![
        named("fs.write", "1.2.0", "builtin"),
        named("fs.write", "2.0.0", "builtin"),
        named("fs.write", "1.10.0", "builtin"),
        named("fs.write", "3.0.0-rc.1", "builtin"),
        named("fs.read", "1.0.0", "builtin"),
        named("mail.send", "1.0.0", "mcp:mail"),
    ]
}

fn graph() -> CapabilityGraph {
    CapabilityGraph::build(&session(AgentProfile::default()), &catalogue())
}

fn action(capability: &str) -> Action {
    let input = json!({"path": "a", "content": "b"});
    Action::new(&session(AgentProfile::default()), id(capability), input, &clock())
}

#[test]
fn the_newest_version_that_fits_answers() {
    let version = |wanted: Option<&str>| {
        let wanted = wanted.map(|wanted| wanted.parse().expect("a range"));
        graph().get(&id("fs.write"), wanted.as_ref()).map(|found| found.version.to_string())
    };
    assert_eq!(version(Some("^1")).as_deref(), Some("1.10.0"));
    assert_eq!(version(Some("<1.10")).as_deref(), Some("1.2.0"));
    assert_eq!(version(Some("*")).as_deref(), Some("2.0.0"));
    assert_eq!(version(Some("=3.0.0-rc.1")).as_deref(), Some("3.0.0-rc.1"));
    assert_eq!(version(Some("^9")), None);
    // Nobody gets a preview without asking for it.
    assert_eq!(version(None).as_deref(), Some("2.0.0"));
    let newest =
        graph().iter().map(|found| format!("{} {}", found.id, found.version)).collect::<Vec<_>>();
    assert_eq!(newest, ["fs.read 1.0.0", "fs.write 2.0.0"]);
}

#[test]
fn a_preview_answers_when_there_is_nothing_else() {
    let catalogue = [named("a.b", "0.1.0-a", "builtin"), named("a.b", "0.1.0-b", "builtin")];
    let graph = CapabilityGraph::build(&session(AgentProfile::default()), &catalogue);
    let found = graph.get(&id("a.b"), None).expect("a preview");
    assert_eq!(found.version.to_string(), "0.1.0-b");
}

#[test]
fn a_version_that_is_missing_names_those_that_exist() {
    let wanted = "^9".parse().expect("a range");
    let error = graph().admit(action("fs.write").with_version(wanted)).expect_err("none");
    let AdmitErrorKind::NoSuchVersion { available } = error.kind() else { panic!("{error}") };
    assert_eq!(available.len(), 4);
}

#[test]
fn a_misspelled_capability_gets_a_hint() {
    let error = graph().admit(action("fs.wirte")).expect_err("none");
    assert_eq!(
        error.to_string(),
        "`fs.wirte` does not exist for this session; did you mean `fs.write`?"
    );
    assert_eq!(error.capability().as_str(), "fs.wirte");
    assert_eq!(graph().nearest(&id("quite.different")), None);
}

#[test]
fn the_profile_selects() {
    let profile = |names: &[&str]| AgentProfile {
        capabilities: Selection::Only(names.iter().map(ToString::to_string).collect()),
        mcp_servers: vec!["mail".to_owned()],
    };
    let seen = |names: &[&str]| -> Vec<String> {
        let graph = CapabilityGraph::build(&session(profile(names)), &catalogue());
        graph.iter().map(|found| found.id.to_string()).collect()
    };
    assert_eq!(seen(&["fs.read"]), ["fs.read"]);
    assert_eq!(seen(&["fs.*"]), ["fs.read", "fs.write"]);
    assert_eq!(seen(&["mail.send"]), ["mail.send"]);
    assert_eq!(seen(&[]), Vec::<String>::new());
}

#[test]
fn what_is_not_selected_or_connected_does_not_exist() {
    let error = graph().admit(action("mail.send")).expect_err("not connected");
    assert_eq!(error.to_string(), "`mail.send` does not exist for this session");
    let connected =
        AgentProfile { mcp_servers: vec!["mail".to_owned()], ..AgentProfile::default() };
    let graph = CapabilityGraph::build(&session(connected), &catalogue());
    assert!(graph.admit(action("mail.send")).is_ok());
}

#[test]
fn an_input_must_fit_and_is_not_repeated() {
    let input = json!({"path": "a", "content": "S3CRET!"});
    let action = Action::new(&session(AgentProfile::default()), id("fs.read"), input, &clock());
    let error = graph().admit(action).expect_err("a finding");
    assert!(error.to_string().contains("/content"), "{error}");
    assert!(!error.to_string().contains("S3CRET!"), "{error}");
}
