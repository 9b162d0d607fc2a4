//! What goes back and forth in the middle of a call through `mcp wrap`, in each pair of eras: logs,
//! progress, changes of resources, what is sampled, folders, pages, and that nobody wants it any more.

#![expect(deprecated, reason = "the older protocol has logs, subscriptions and roots")]

use std::sync::{Arc, Mutex};

use rmcp::model::{
    ElicitationAction, LoggingLevel, ServerNotification, SetLevelRequestParams,
    SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use serde_json::{Value, json};

use crate::client::{Client, Era, Person};
use crate::http_client::{HttpClient, HttpServer};
use crate::place::Place;
use crate::relay::{ERAS, arguments, person, rich};
use crate::stand_in::{StandIn, baseline, looks};
use crate::wrap::{place, place_with};

const TOOLS: [&str; 11] = [
    "echo",
    "asks",
    "opens",
    "samples",
    "looks_around",
    "tells",
    "tells_late",
    "touches",
    "waits",
    "finishes",
    "wants_a_page",
];

pub(crate) fn pairs() -> impl Iterator<Item = (Era, &'static str)> {
    ERAS.into_iter().flat_map(|era| [(era, "legacy"), (era, "modern")])
}

/// Whatever a client can be asked.
pub(crate) fn all() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": { "listChanged": true } })
}

/// Somebody who opens what they are asked to.
pub(crate) fn opens() -> Person {
    Arc::new(Mutex::new(|_: &str| (ElicitationAction::Accept, None)))
}

/// A server that asks and tells, let in with a secret.
pub(crate) fn telling(place: &Place, theirs: &str) -> StandIn {
    let stand_in = rich(place, theirs);
    stand_in.has(&TOOLS.map(looks));
    stand_in.put(
        "capabilities",
        &json!({ "resources": { "subscribe": true }, "logging": {}, "prompts": {} }),
    );
    let (code, told) = baseline(place, "desk", &["--secret", "KEY=KEY"], &stand_in);
    assert_eq!(code, 0, "{told}");
    stand_in
}

async fn wrapped(place: &Place, era: Era, stand_in: &StandIn, can: Value) -> Client {
    let (person, _) = person();
    wrapped_for(place, era, stand_in, (can, person)).await
}

pub(crate) async fn wrapped_for(
    place: &Place,
    era: Era,
    stand_in: &StandIn,
    whoever: (Value, Person),
) -> Client {
    let all = with_secret(stand_in);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Client::able(place, era, "wrap", &all, whoever).await
}

pub(crate) fn with_secret(stand_in: &StandIn) -> Vec<String> {
    let mut all: Vec<String> = arguments(stand_in);
    all.splice(3..3, ["--secret".to_owned(), "KEY=KEY".to_owned()]);
    all
}

fn events(place: &Place, kind: &str) -> Vec<Value> {
    place.trail().into_iter().filter(|event| event["event_type"] == kind).collect()
}

/// The server says of each call that it is at one and at two, of two.
async fn says_how_far(client: &Client, calls: usize, case: &str) {
    let by_server = |told: &Value| told["total"].as_f64() == Some(2.0);
    let told = client.told_where("progress", 2 * calls, by_server).await;
    assert_eq!(told.len(), 2 * calls, "{case}: {told:?}");
    for (n, told) in told.iter().enumerate() {
        let at = if n % 2 == 0 { 1 } else { 2 };
        assert_eq!(told["progress"].as_f64(), Some(f64::from(at)), "{case}: {told}");
        assert_eq!(told["message"], format!("{at} of 2, with [secret]"), "{case}");
    }
}

#[tokio::test]
async fn what_a_server_logs_and_how_far_it_is_reach_the_client_of_the_call() {
    for (era, theirs) in pairs() {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped(&place, era, &stand_in, json!({})).await;
        // It runs from its first call on.
        assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
        match era {
            Era::Legacy => {
                let level = SetLevelRequestParams::new(LoggingLevel::Info);
                client.peer().set_level(level).await.unwrap();
            }
            // Who speaks the newer protocol and does not say so hears no logs.
            Era::Modern => {
                let quiet = client.call("tells", json!({ "text": "unheard" })).await;
                assert_eq!(quiet.text(), "unheard", "{}", quiet.whole());
                let only = json!({ "text": "less" });
                client.call_logging("tells", only, LoggingLevel::Critical).await;
            }
        }
        client.call_logging("tells", json!({ "text": "heard" }), LoggingLevel::Info).await;
        let logs = client.told("log", 1).await;
        let said = json!({
            "level": "warning", "logger": "stand-in", "data": "heard [secret]",
        });
        assert_eq!(logs, [said], "{era:?} {theirs}");
        let calls = if era == Era::Modern { 3 } else { 1 };
        says_how_far(&client, calls, &format!("{era:?} {theirs}")).await;
        client.end().await;
        if era == Era::Legacy && theirs == "legacy" {
            let calls = stand_in.calls();
            assert!(calls.contains(&json!({ "level": "info" })), "{calls:?}");
        }
    }
}

/// That a call goes on is told meanwhile, and is no higher than anything that the server says.
#[tokio::test]
async fn a_server_that_says_late_how_far_it_is_is_heard_all_the_same() {
    let place = place();
    let stand_in = telling(&place, "legacy");
    let client = wrapped(&place, Era::Legacy, &stand_in, all()).await;
    assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
    let call = client.begin("tells_late", json!({ "text": "x" })).await;
    let token = json!(call.progress_token);
    let of_it = |told: &Value| told["progressToken"] == token;
    // That many seconds, and so more than the server counts to.
    client.told_where("progress", 3, of_it).await;
    client.peer().notify_roots_list_changed().await.unwrap();
    call.await_response().await.unwrap();
    says_how_far(&client, 1, "late").await;
    let all = client.heard("progress").into_iter().filter(of_it);
    let all: Vec<f64> = all.map(|told| told["progress"].as_f64().unwrap()).collect();
    assert!(all.is_sorted_by(|a, b| a < b), "it only ever grows: {all:?}");
    client.end().await;
}

#[tokio::test]
async fn whoever_listens_for_a_resource_hears_that_it_has_changed_and_of_no_other() {
    for theirs in ["legacy", "modern"] {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped(&place, Era::Legacy, &stand_in, json!({})).await;
        let touch = async |uri: &str| client.call("touches", json!({ "text": uri })).await.text();
        // It runs from its first call on.
        assert_eq!(touch("note://one").await, "note://one");
        client.peer().subscribe(SubscribeRequestParams::new("note://one")).await.unwrap();
        touch("note://two").await;
        touch("note://one").await;
        assert_eq!(client.told("updated", 1).await, ["note://one"], "{theirs}");
        client.peer().unsubscribe(UnsubscribeRequestParams::new("note://one")).await.unwrap();
        client.peer().subscribe(SubscribeRequestParams::new("note://two")).await.unwrap();
        touch("note://one").await;
        touch("note://two").await;
        assert_eq!(client.told("updated", 2).await, ["note://one", "note://two"], "{theirs}");
        let unknown = SubscribeRequestParams::new("note://three");
        assert!(client.peer().subscribe(unknown).await.is_err());
        while !stand_in.calls().contains(&json!({ "not listened for": "note://one" })) {
            client.call("echo", json!({})).await;
        }
        client.end().await;
        let calls = stand_in.calls();
        let listened: Vec<&Value> = calls.iter().map(|call| &call["listened for"]).collect();
        assert!(listened.contains(&&json!(["note://one"])), "{calls:?}");
    }
}

#[tokio::test]
async fn a_client_of_the_newer_protocol_hears_of_resources_where_it_listens() {
    for theirs in ["legacy", "modern"] {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped(&place, Era::Modern, &stand_in, json!({})).await;
        let touch = async |uri: &str| client.call("touches", json!({ "text": uri })).await.text();
        assert_eq!(touch("note://one").await, "note://one");
        let filter = SubscriptionFilter::builder().resource_subscriptions(["note://one"]).build();
        let mut subscription = client.peer().listen(filter).await.unwrap();
        while !stand_in.calls().contains(&json!({ "listened for": ["note://one"] })) {
            touch("note://two").await;
        }
        touch("note://two").await;
        touch("note://one").await;
        let told = subscription.next().await.unwrap().unwrap();
        let ServerNotification::ResourceUpdatedNotification(told) = told else {
            panic!("{told:?}")
        };
        assert_eq!(told.params.uri, "note://one", "{theirs}");
        drop(subscription);
        while !stand_in.calls().contains(&json!({ "not listened for": "note://one" })) {
            touch("note://two").await;
        }
        client.end().await;
    }
}

#[tokio::test]
async fn nobody_listens_for_what_they_may_not_read() {
    let rule = "  - { name: no-notes, when: { capability: \"mcp_resource.*\" }, verdict: deny }\n";
    let place = place_with(rule);
    let stand_in = telling(&place, "legacy");
    let client = wrapped(&place, Era::Legacy, &stand_in, json!({})).await;
    client.call("echo", json!({})).await;
    let listened = client.peer().subscribe(SubscribeRequestParams::new("note://one")).await;
    let why = listened.unwrap_err().to_string();
    assert!(why.contains("does not let this session read it"), "{why}");
    client.end().await;
    assert!(stand_in.calls().iter().all(|call| call["listened for"].is_null()));
}

#[tokio::test]
async fn what_a_server_wants_sampled_reaches_the_clients_model_and_says_whose_wish_it_is() {
    for (era, theirs) in pairs() {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped(&place, era, &stand_in, all()).await;
        let answer = client.call("samples", json!({ "text": "The capital of France?" })).await;
        assert!(!answer.is_refused(), "{era:?} {theirs}: {}", answer.whole());
        let heard: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(heard["content"]["text"], "Paris", "{era:?} {theirs}: {heard}");
        let sampled = client.heard("sampled");
        let [sampled] = sampled.as_slice() else { panic!("{sampled:?}") };
        assert_eq!(sampled["messages"][0]["content"]["text"], "The capital of France?");
        assert_eq!(sampled["maxTokens"], 10);
        let system = sampled["systemPrompt"].as_str().unwrap();
        assert!(system.starts_with("The MCP server `desk` asks for this"), "{system}");
        assert!(system.ends_with("\n\nAnswer in one word."), "{system}");
        client.end().await;
        let asked = events(&place, "question_relayed");
        assert_eq!(asked.len(), 1, "{asked:?}");
        let about = &asked[0]["metadata"]["question"];
        assert_eq!(about["asks"], json!(["sampling/createMessage"]), "{about}");
        assert_eq!(about["server"], "desk");
        assert!(!json!(asked).to_string().contains("France"), "{asked:?}");
    }
}

#[tokio::test]
async fn the_folders_of_a_client_reach_the_server_that_asks_for_them() {
    for (era, theirs) in pairs() {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped(&place, era, &stand_in, all()).await;
        let answer = client.call("looks_around", json!({})).await;
        let heard: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(heard["roots"][0]["uri"], "file:///of/the/client", "{era:?} {theirs}: {heard}");
        if era == Era::Legacy {
            client.peer().notify_roots_list_changed().await.unwrap();
            if theirs == "legacy" {
                while !stand_in.calls().contains(&json!({ "told": "roots" })) {
                    client.call("echo", json!({})).await;
                }
            }
        }
        client.end().await;
        assert_eq!(events(&place, "question_relayed").len(), 1);
    }
}

#[tokio::test]
async fn what_a_client_cannot_do_it_is_not_asked_for() {
    let forms = json!({ "elicitation": { "form": {} } });
    for (era, theirs) in pairs() {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped(&place, era, &stand_in, forms.clone()).await;
        for tool in ["opens", "samples", "looks_around"] {
            let answer = client.call(tool, json!({ "text": "x" })).await;
            let whole = answer.whole();
            let reached = whole.contains("Paris") || whole.contains("file:///of");
            assert!(!reached && !whole.contains("accept"), "{era:?} {theirs} {tool}: {whole}");
        }
        for what in ["asked", "sampled", "roots"] {
            assert!(client.heard(what).is_empty(), "{era:?} {theirs}: {what}");
        }
        assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
        client.end().await;
        assert!(events(&place, "question_relayed").is_empty());
    }
}

/// With an id, as the older protocol has it, and without, as the newer.
#[tokio::test]
async fn a_page_that_a_server_wants_opened_reaches_the_person_with_its_id_or_without() {
    for ((era, theirs), id) in pairs().flat_map(|pair| [(pair, None), (pair, Some("page-7"))]) {
        let place = place();
        let stand_in = telling(&place, theirs);
        stand_in.put("page id", &json!(id));
        let client = wrapped_for(&place, era, &stand_in, (all(), opens())).await;
        let answer = client.call("opens", json!({ "text": "Sign in, please." })).await;
        let case = format!("{era:?} {theirs} {id:?}: {}", answer.whole());
        assert!(!answer.is_refused(), "{case}");
        let heard: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(heard["action"], "accept", "{case}");
        let asked = client.heard("asked");
        let [asked] = asked.as_slice() else { panic!("{case}: {asked:?}") };
        assert_eq!(
            (&asked["mode"], &asked["url"]),
            (&json!("url"), &json!("https://example.org/sign-in"))
        );
        let text = asked["message"].as_str().unwrap();
        assert!(text.starts_with("The MCP server `desk` asks this."), "{case}: {text}");
        let given = asked["elicitationId"].as_str().unwrap();
        assert!(id.map_or(given.starts_with("lictor-"), |id| given == id), "{case}: {given}");
        client.end().await;
    }
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_is_called_off_at_the_server() {
    for (era, theirs) in pairs() {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped(&place, era, &stand_in, json!({})).await;
        let call = client.begin("waits", json!({})).await;
        let waits = || {
            let calls = stand_in.calls();
            calls.iter().find_map(|call| call.get("waits").cloned())
        };
        while waits().is_none() {
            // Every second it hears that its call goes on.
            client.progressed().await;
        }
        call.cancel(Some("enough".to_owned())).await.unwrap();
        // The server, who answers one at a time, is there again.
        let next = client.call("echo", json!({ "text": "next" })).await;
        assert_eq!(next.text(), "next", "{era:?} {theirs}: {}", next.whole());
        client.end().await;
        let told = json!({ "cancelled": waits().unwrap() });
        assert!(stand_in.calls().contains(&told), "{era:?} {theirs}: {:?}", stand_in.calls());
        let unknown = events(&place, "action_unknown");
        assert_eq!(unknown.len(), 1, "what it did before it was told is not known");
        assert_eq!(unknown[0]["action_name"], "mcp.desk.waits");
    }
}

/// The contract of a tool gives it so many seconds, and somebody let that in.
fn may_take(place: &Place, tool: &str, seconds: u32) {
    let file = format!(".lictor/capabilities/mcp.desk.{tool}.yaml");
    let mut contract: Value = serde_json::from_str(&place.read(&file).unwrap()).unwrap();
    contract["timeout"] = json!(format!("{seconds}s"));
    place.write(&file, &contract.to_string());
    place.done(&["--user", "somebody", "capability", "propose", &file]);
    place.approver(&["capability", "approve", &format!("mcp.desk.{tool}")]);
}

/// Longer than the call may take; there is no other clock here than that of the client's progress.
const MAY_TAKE: u32 = 6;

async fn longer_than_that(client: &Client) {
    for _ in 0..=MAY_TAKE {
        client.progressed().await;
    }
}

#[tokio::test]
async fn a_person_who_thinks_longer_than_the_call_may_take_is_waited_for() {
    for theirs in ["legacy", "modern"] {
        let place = place();
        let stand_in = telling(&place, theirs);
        may_take(&place, "asks", MAY_TAKE);
        let client = wrapped(&place, Era::Legacy, &stand_in, all()).await;
        client.decided(false);
        let call = client.begin("asks", json!({ "text": "Who?" })).await;
        client.told("asked", 1).await;
        // It hears on that its call goes on.
        longer_than_that(&client).await;
        client.decided(true);
        let answer = json!(call.await_response().await.unwrap()).to_string();
        assert!(answer.contains("Ann"), "{theirs}: {answer}");
        client.end().await;
        assert_eq!(events(&place, "action_unknown"), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_client_that_comes_again_later_than_the_call_may_take_is_waited_for() {
    for theirs in ["legacy", "modern"] {
        let place = place();
        let stand_in = telling(&place, theirs);
        // The stand-in does one thing at a time, so another server gives the time.
        let other = StandIn::named(&place, "other", &[looks("waits")]);
        let (code, told) = baseline(&place, "other", &[], &other);
        assert_eq!(code, 0, "{told}");
        may_take(&place, "asks", MAY_TAKE);
        let client = wrapped(&place, Era::Modern, &stand_in, all()).await;
        let ticking = arguments(&other);
        let mut ticking: Vec<&str> = ticking.iter().map(String::as_str).collect();
        ticking[2] = "other";
        let (nobody, _) = person();
        let ticks = Client::able(&place, Era::Legacy, "wrap", &ticking, (json!({}), nobody)).await;
        let input = json!({ "text": "Who?" });
        let asked = client.round("asks", input.clone(), None).await.unwrap();
        let rmcp::model::CallToolResponse::InputRequired(asked) = asked else {
            panic!("{asked:?}")
        };
        let (key, state) = (
            asked.input_requests.unwrap().into_keys().next().unwrap(),
            asked.request_state.unwrap(),
        );
        let waiting = ticks.begin("waits", json!({})).await;
        longer_than_that(&ticks).await;
        waiting.cancel(None).await.unwrap();
        let said = json!({ "action": "accept", "content": { "name": "Ann" } });
        let done = client.answered("asks", input, &state, &key, &said).await.unwrap();
        let rmcp::model::CallToolResponse::Complete(done) = done else { panic!("{done:?}") };
        assert!(json!(done).to_string().contains("Ann"), "{theirs}: {done:?}");
        ticks.end().await;
        client.end().await;
    }
}

#[tokio::test]
async fn over_http_a_question_is_for_the_client_whose_call_it_is_and_for_no_other() {
    for theirs in ["legacy", "modern"] {
        let place = place();
        let stand_in = telling(&place, theirs);
        let token = |user: &str| {
            let made = place.done(&["mcp", "clients", "add", "--user", user, "--agent", "ide"]);
            made["token"].as_str().unwrap().to_owned()
        };
        let (ann, bob) = (token("ann"), token("bob"));
        let all = with_secret(&stand_in);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let server = HttpServer::start_as(&place, "wrap", &all, |command| {
            command.env("LICTOR_SECRET_KEY", "a-secret-of-some-length");
        })
        .await;
        let mut ann = HttpClient::ready(&server, &ann, Era::Modern).await;
        let mut bob = HttpClient::ready(&server, &bob, Era::Modern).await;
        bob.can = json!({ "elicitation": { "form": {} } });
        ann.can = bob.can.clone();
        let mut wish = json!({ "name": "asks", "arguments": { "text": "Who?" } });
        let asked = ann.request(1, "tools/call", wish.clone()).await.answer().await;
        let asked = &asked["result"];
        assert_eq!(asked["resultType"], "input_required", "{theirs}: {asked}");
        let (key, question) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
        let text = question["params"]["message"].as_str().unwrap();
        assert!(text.starts_with("The MCP server `desk` asks this."), "{text}");
        wish["requestState"] = asked["requestState"].clone();
        wish["inputResponses"] =
            json!({ key: { "action": "accept", "content": { "name": "Ann" } } });
        let stolen = bob.request(2, "tools/call", wish.clone()).await.answer().await;
        assert!(stolen["error"].is_object(), "{theirs}: {stolen}");
        let done = ann.request(3, "tools/call", wish.clone()).await.answer().await;
        assert!(done["result"].to_string().contains("Ann"), "{theirs}: {done}");
        let again = ann.request(4, "tools/call", wish).await.answer().await;
        assert!(again["error"].is_object(), "{theirs}: it is good once: {again}");
        server.end().await;
        let asked = events(&place, "question_relayed");
        let users: Vec<&Value> = asked.iter().map(|event| &event["user_id"]).collect();
        assert_eq!(users, ["ann"], "{asked:?}");
    }
}
