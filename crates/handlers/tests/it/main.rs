//! Through the public API: what a contract of a request describes. That it is made, and what comes
//! of it, is tested over real HTTP by the end-to-end tests.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use lictor_capability::{
    Action, Contract, Effects, Entry, Listed, UndoScope, ViewError, ViewErrorKind, WorkspaceView,
};
use lictor_context::{Digest, ManualClock, Name, Principal, Session, Timestamp, WorkspacePath};
use lictor_document::Source;
use lictor_executor::{HandlerError, HandlerFactory as _, Request};
use lictor_handlers::{HttpHandlers, NoSecrets};
use serde_json::{Value, json};

struct Nothing;

impl WorkspaceView for Nothing {
    fn entry(&self, _: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        Ok(None)
    }
    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }
    fn read(&self, path: &WorkspacePath, _: u64) -> Result<Vec<u8>, ViewError> {
        Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }
    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }
    fn list(&self, _: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        Ok(Vec::new())
    }
}

fn contract(handler: &Value) -> Result<Contract, String> {
    let input = json!({
        "type": "object", "required": ["id"],
        "properties": { "id": {}, "tags": {}, "note": {} },
    });
    let text = json!({
        "id": "items.get", "version": "1.0.0", "title": "T", "description": "D", "kind": "tool",
        "source": "http", "input": input, "output": {}, "risk": "low",
        "effects": { "net": ["api.example.com"] }, "handler": { "http": handler },
    });
    let text = text.to_string();
    Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).map_err(|error| error.to_string())
}

fn describe(handler: &Value, input: Value) -> Result<Effects, HandlerError> {
    let contract = contract(handler).unwrap();
    let handler = HttpHandlers::new(Arc::new(NoSecrets)).handler(&contract).unwrap();
    let name = |text| Name::parse(text).unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let who = Principal { org: name("o"), user: name("u"), agent: name("a") };
    let action = Action::new(&Session::new(who, &clock), contract.id.clone(), input, &clock);
    handler.describe(Request { action: &action, view: &Nothing })
}

#[test]
fn a_request_describes_its_host_and_whether_it_can_be_taken_back() {
    let get = json!({ "method": "GET", "url": "https://API.example.com:443/v1/{id}" });
    let effects = describe(&get, json!({ "id": "a/b" })).unwrap();
    assert_eq!(effects.hosts, ["api.example.com"]);
    assert_eq!(effects.undo, UndoScope::Full);
    let post = json!({ "method": "POST", "url": "http://api.example.com:8080/v1", "body": "note" });
    let effects = describe(&post, json!({ "id": 1 })).unwrap();
    assert_eq!(effects.hosts, ["api.example.com:8080"]);
    assert_eq!(effects.undo, UndoScope::None);
}

#[test]
fn what_would_change_the_path_is_refused() {
    let get = json!({ "method": "GET", "url": "https://api.example.com/v1/{id}/x" });
    for id in [json!(".."), json!("."), json!(""), json!(null), json!(["a"]), json!({})] {
        assert!(describe(&get, json!({ "id": id })).is_err(), "{id}");
    }
    describe(&get, json!({ "id": "../../admin?x=#" })).unwrap();
}

#[test]
fn a_contract_with_a_bad_request_is_refused_with_its_place() {
    let bad = [
        (json!({ "method": "GET", "url": "ftp://api.example.com/" }), "https://"),
        (json!({ "method": "GET", "url": "https://{id}/x" }), "written out"),
        (json!({ "method": "GET", "url": "https://me@api.example.com/" }), "written out"),
        (json!({ "method": "GET", "url": "https://api.example.com/{other}" }), "other"),
        (json!({ "method": "GET", "url": "https://api.example.com/{note}" }), "required"),
        (json!({ "method": "GET", "url": "https://a.example/", "query": ["nope"] }), "nope"),
        (
            json!({ "method": "GET", "url": "https://a.example/", "headers": { "Host": "x" } }),
            "Host",
        ),
        (json!({ "method": "FETCH", "url": "https://a.example/" }), "FETCH"),
        (json!({ "method": "GET", "url": "https://a.example/", "verb": 1 }), "verb"),
    ];
    for (handler, said) in bad {
        let error = contract(&handler).unwrap_err();
        assert!(error.contains("c.yaml:1:") && error.contains(said), "{handler}: {error}");
    }
}
