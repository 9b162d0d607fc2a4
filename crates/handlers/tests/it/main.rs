//! Through the public API: what a contract of a request describes. That it is made, and what comes
//! of it, is tested over real HTTP by the end-to-end tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::Arc;

use lictor_capability::{
    Action, Contract, Effects, Entry, Listed, Risk, UndoScope, UndoStrategy, ViewError,
    ViewErrorKind, WorkspaceView,
};
use lictor_context::{Digest, ManualClock, Name, Principal, Session, Timestamp, WorkspacePath};
use lictor_document::Source;
use lictor_executor::{HandlerError, HandlerFactory as _, Request};
use lictor_handlers::{HttpHandlers, NoSecrets, PrivateHosts, contracts};
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
    described(&contract(handler).unwrap(), &HttpHandlers::new(Arc::new(NoSecrets)), input)
}

fn described(
    contract: &Contract,
    handlers: &HttpHandlers,
    input: Value,
) -> Result<Effects, HandlerError> {
    let handler = handlers.handler(contract).unwrap();
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

/// A contract whose input gives the URL.
fn given(more: &Value, net: &[&str]) -> Result<Contract, String> {
    let mut http = json!({ "method": "POST", "url": "{url}" });
    for (key, value) in more.as_object().unwrap() {
        http[key] = value.clone();
    }
    let text = json!({
        "id": "any.post", "version": "1.0.0", "title": "T", "description": "D", "kind": "tool",
        "source": "http", "output": {}, "risk": "low", "effects": { "net": net },
        "input": { "type": "object", "required": ["url"], "properties": {
            "url": { "type": "string" }, "n": {}, "map": { "type": "object" } } },
        "handler": { "http": http },
    });
    let text = text.to_string();
    Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).map_err(|error| error.to_string())
}

#[test]
fn a_secret_goes_to_hosts_that_are_written_out() {
    let places = [
        json!({ "headers": { "authorization": { "secret": "S" } } }),
        json!({ "query": { "key": { "secret": "S", "prefix": "k" } } }),
        json!({ "body": { "a": [{ "b": { "secret": "S" } }] } }),
    ];
    for secret in &places {
        given(secret, &["api.example.com", "127.0.0.1:8080"]).unwrap();
        for net in [&["*"][..], &["api.example.com", "*.example.com"], &["a?.example"], &[]] {
            let refused = given(secret, net).unwrap_err();
            assert!(refused.contains("written out") || refused.contains("writes out"), "{refused}");
        }
    }
    given(&json!({ "body": { "a": "no secret" } }), &["*"]).unwrap();
}

#[test]
fn a_template_that_names_what_is_not_there_is_refused() {
    for (http, said) in [
        (json!({ "url": "{n}" }), "has to be a string"),
        (json!({ "url": "{url}/more" }), "begins with"),
        (json!({ "url": "https://a.example/{url}{" }), "has no `}`"),
        (json!({ "query": { "a": { "input": "nope" } } }), "nope"),
        (json!({ "query": { "a": { "secret": "S", "input": "n" } } }), "`query` is a list"),
        (json!({ "query": "n" }), "`query` is a list"),
        (json!({ "body": { "a": { "input": "nope" } } }), "nope"),
        (json!({ "body": { "a": { "secret": "S", "more": 1 } } }), "stand alone"),
        (json!({ "body": ["n"] }), "a mapping"),
        (json!({ "body": { "a": 1 }, "text": "n" }), "one body"),
        (json!({ "query_map": "n" }), "is an object"),
        (json!({ "header_map": "nope" }), "is an object"),
        (json!({ "headers": { "Upgrade": "x" } }), "set by the request"),
    ] {
        let refused = given(&http, &["api.example.com"]).unwrap_err();
        assert!(refused.contains(said) && refused.contains("c.yaml:1:"), "{http}: {refused}");
    }
}

#[derive(Debug)]
struct Here;

impl PrivateHosts for Here {
    fn private_hosts(&self) -> Vec<String> {
        vec!["127.0.0.1:8080".to_owned(), "[fd00::1]".to_owned()]
    }
}

#[test]
fn the_host_of_a_given_url_is_the_effect() {
    let shipped = contracts().unwrap();
    let get = shipped.iter().find(|contract| contract.id.as_str() == "http.get").unwrap();
    let public = HttpHandlers::new(Arc::new(NoSecrets));
    let private = public.clone().with_private_hosts(Arc::new(Here));
    let hosts = |handlers: &HttpHandlers, url: &str| {
        described(get, handlers, json!({ "url": url })).map(|effects| effects.hosts)
    };
    for (url, host) in [
        ("https://API.Example.com/x?y#".trim_end_matches('#'), "api.example.com"),
        ("https://api.example.com:443", "api.example.com"),
        ("https://api.example.com:8443/", "api.example.com:8443"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://1.1.1.1/", "1.1.1.1"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
    ] {
        assert_eq!(hosts(&public, url).unwrap(), [host], "{url}");
    }
    assert_eq!(hosts(&private, "http://127.0.0.1:8080/").unwrap(), ["127.0.0.1:8080"]);
    assert_eq!(hosts(&private, "http://[fd00::1]:9/").unwrap(), ["[fd00::1]:9"]);
    for url in
        ["http://127.0.0.1:8080/", "https://127.0.0.1/", "https://[fd00::1]/", "http://a.example/"]
    {
        assert!(hosts(&public, url).is_err(), "{url}");
    }
    for url in
        ["http://127.0.0.1:8081/", "https://10.0.0.1/", "http://a.example/", "https://[fd00::2]/"]
    {
        assert!(hosts(&private, url).is_err(), "{url}");
    }
}

#[test]
fn the_contracts_that_are_shipped_are_honest_and_closed() {
    let shipped = contracts().unwrap();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), shipped.len());
    for contract in shipped {
        let file = format!("{dir}/{}.yaml", contract.id);
        let text = std::fs::read(&file).unwrap();
        let strict = Contract::from_yaml(&Source::new(&file, &text)).unwrap();
        assert_eq!((strict.digest(), contract.source.as_str()), (contract.digest(), "builtin"));
        assert!(contract.description.len() > 60, "a model has to choose by it");
        for schema in [contract.input_schema(), contract.output_schema()] {
            assert_eq!(schema["additionalProperties"], false, "{}", contract.id);
        }
        for keyword in ["oneOf", "anyOf", "allOf", "not", "$ref"] {
            assert!(
                contract.input_schema().get(keyword).is_none(),
                "model APIs refuse `{keyword}`"
            );
        }
        if contract.id.as_str() == "process.run" {
            assert_eq!((contract.risk, contract.idempotent), (Risk::High, false));
            assert!(contract.effects.net.is_empty(), "it reaches no host");
            continue;
        }
        let post = contract.id.as_str() == "http.post";
        assert_eq!(contract.undo.strategy == UndoStrategy::None, post);
        assert_eq!((contract.risk == Risk::High, contract.idempotent), (post, !post));
        assert_eq!(contract.effects.net, ["*"]);
        assert!(contract.effects.fs.read.is_empty() && contract.effects.process.is_empty());
    }
}
