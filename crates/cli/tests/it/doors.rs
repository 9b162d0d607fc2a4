//! One road: the same action by the library, by the command and over MCP gets the same verdict, the
//! same action digest, the same answer, and leaves events of the same shape.

use lictor::context::{Name, Principal, Session, SystemClock};
use lictor::{Runtime, RuntimeOptions};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::client::{Client, Era};
use crate::http_client::{HttpClient, HttpServer};
use crate::place::Place;

const PATHS: [&str; 7] = ["a.txt", "sub/b.txt", "new/c.txt", "no/x", "ask/x", "sub/.env", "../out"];

/// What is asked for: a capability and its input.
type Wish = (&'static str, Value);

fn path() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&PATHS[..])
}

fn wish() -> impl Strategy<Value = Wish> {
    let content = proptest::sample::select(&["x", "another", "ünï\n"][..]);
    prop_oneof![
        3 => (path(), content, any::<bool>()).prop_map(|(path, content, create_only)| {
            ("fs.write", json!({ "path": path, "content": content, "create_only": create_only }))
        }),
        1 => path().prop_map(|path| ("fs.read", json!({ "path": path }))),
        1 => path().prop_map(|path| ("fs.delete", json!({ "path": path }))),
        1 => (path(), path()).prop_map(|(from, to)| ("fs.move", json!({ "from": from, "to": to }))),
        1 => Just(("hash.text", json!({ "text": "x" }))),
        1 => Just(("fs.wrote", json!({}))),
        1 => Just(("fs.write", json!({ "path": 7 }))),
        1 => Just(("session.log", json!({}))),
    ]
}

/// What a door says of an action, without what differs from one asking to the next.
#[derive(Debug, PartialEq)]
struct Said {
    /// `applied`, `duplicate`, or the code of the error.
    status: String,
    verdict: Value,
    action_digest: Value,
    error: Value,
}

impl Said {
    fn new(status: &Value, decision: &Value, error: Option<&Value>) -> Self {
        Self {
            status: status.as_str().unwrap().to_owned(),
            verdict: decision["verdict"].clone(),
            action_digest: decision["action_digest"].clone(),
            error: blank(error.cloned().unwrap_or_default()),
        }
    }

    fn of_json(json: &Value) -> Self {
        match json.get("error") {
            Some(error) => Self::new(&error["code"], &json["decision"], Some(error)),
            None => Self::new(&json["status"], &json["decision"], None),
        }
    }
}

/// What is counted, and what is sealed anew each time.
const COUNTED: [&str; 12] = [
    "seq",
    "session_seq",
    "duration_us",
    "inputs_digest",
    "started_at",
    "key",
    "ct",
    "sealed",
    // Of the lock: by whom, the how-manieth time, after whom.
    "holder",
    "fencing_token",
    "waited_us",
    "predecessor",
];

/// Ids, times and what is counted, blanked.
fn blank(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_ids(&text)),
        Value::Array(items) => items.into_iter().map(blank).collect(),
        Value::Object(fields) => {
            let counted = |key: &str| COUNTED.contains(&key);
            let blanked = fields.into_iter().map(|(key, value)| {
                let value = if counted(&key) { Value::Null } else { blank(value) };
                (key, value)
            });
            Value::Object(blanked.collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn without_ids(text: &str) -> String {
    if text.len() == 27 && text.starts_with("20") && text.ends_with('Z') {
        return "time".to_owned();
    }
    let mut left = text.to_owned();
    while let Some(at) = left.match_indices('_').map(|(at, _)| at).find(|at| {
        let hex = left.get(at + 1..at + 33).unwrap_or_default();
        hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    }) {
        left.replace_range(at..at + 33, "#");
    }
    left
}

/// The trail, without what only tells which process began and ended when.
fn events(place: &Place) -> Vec<Value> {
    let trail = place.trail().into_iter().map(blank);
    let process = ["session_started", "session_ended"].map(Value::from);
    trail.filter(|event| !process.contains(&event["event_type"])).collect()
}

fn furnished() -> Place {
    let place = Place::new();
    place.write("a.txt", "as it is");
    place.write("sub/b.txt", "two");
    place
}

fn principal() -> Principal {
    let name = |text| Name::parse(text).unwrap();
    Principal { org: name("local"), user: name("ann"), agent: name("planner") }
}

const WHO: [&str; 6] = ["--org", "local", "--user", "ann", "--agent", "planner"];

async fn by_library(place: &Place, wishes: &[Wish]) -> Vec<Said> {
    let runtime = Runtime::open(RuntimeOptions::new(&place.root, place.keys())).await.unwrap();
    let agent = runtime.agent(&Session::new(principal(), &SystemClock));
    let mut said = Vec::new();
    for (id, input) in wishes {
        said.push(Said::of_json(&match agent.call(id, input.clone()).await {
            Ok(done) => done.to_json(),
            Err(error) => error.to_json(),
        }));
    }
    said
}

fn by_command(place: &Place, wishes: &[Wish]) -> Vec<Said> {
    let session = Session::new(principal(), &SystemClock);
    let call = |(id, input): &Wish| {
        let input = input.to_string();
        let mut line = vec!["call", id, "--input", &input, "--session", session.id().as_str()];
        line.extend(WHO);
        Said::of_json(&place.run(&line).1)
    };
    wishes.iter().map(call).collect()
}

async fn over_mcp(place: &Place, wishes: &[Wish], era: Era) -> Vec<Said> {
    let client = Client::connect(place, era, &WHO).await;
    let mut said = Vec::new();
    for (id, input) in wishes {
        let answer = client.call(&tool(id), input.clone()).await;
        said.push(if answer.is_refused() {
            Said::of_json(&answer.refused())
        } else {
            let about = answer.execution();
            Said::new(&about["status"], &about, None)
        });
    }
    client.end().await;
    said
}

fn tool(id: &str) -> String {
    id.strip_prefix("session.").map_or_else(|| id.replace('.', "-"), str::to_owned)
}

/// A token of the test's own making: one that is made would stand in the trail.
const TOKEN: &str = "a-token-of-this-test-alone-0123456789";

async fn over_http(place: &Place, wishes: &[Wish], era: Era) -> Vec<Said> {
    let given =
        |command: &mut tokio::process::Command| _ = command.env("LICTOR_CLIENT_TOKEN", TOKEN);
    let server = HttpServer::start_with(place, &WHO, given).await;
    let client = HttpClient::ready(&server, TOKEN, era).await;
    let mut said = Vec::new();
    for (id, input) in wishes {
        let answer = client.call(&tool(id), input.clone()).await;
        said.push(if answer["isError"] == true {
            Said::of_json(&answer["structuredContent"])
        } else {
            let about = &answer["_meta"]["lictor/execution"];
            Said::new(&about["status"], about, None)
        });
    }
    server.end().await;
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_doors_lead_to_one_road(
        wishes in proptest::collection::vec(wish(), 1..5), modern: bool, http: bool,
    ) {
        let era = if modern { Era::Modern } else { Era::Legacy };
        let (library, command, mcp) = (furnished(), furnished(), furnished());
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let expected = tokio.block_on(by_library(&library, &wishes));
        drop(tokio);
        prop_assert_eq!(&by_command(&command, &wishes), &expected);
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let said = tokio.block_on(async {
            if http { over_http(&mcp, &wishes, era).await } else { over_mcp(&mcp, &wishes, era).await }
        });
        prop_assert_eq!(&said, &expected);
        let expected = events(&library);
        prop_assert_eq!(&events(&command), &expected);
        prop_assert_eq!(&events(&mcp), &expected);
    }
}
