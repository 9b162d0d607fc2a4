//! Approval by the person behind the client: what counts, and what never does.

use std::sync::{Arc, Mutex};

use rmcp::model::{CallToolResponse, ElicitationAction};
use serde_json::{Value, json};

use crate::client::{Client, Era, Person};
use crate::place::{POLICY, Place};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

/// The code that a question shows.
fn code(text: &str) -> &str {
    let (_, after) = text.split_once("Type ").expect("a code is shown");
    after.split_once(" to agree").expect("a code is shown").0
}

/// A person who answers so, and what they were shown.
fn person(
    answer: impl Fn(&str) -> (ElicitationAction, Option<Value>) + Send + 'static,
) -> (Person, Arc<Mutex<Vec<String>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    let person = move |text: &str| {
        seen.lock().unwrap().push(text.to_owned());
        answer(text)
    };
    (Arc::new(Mutex::new(person)), shown)
}

fn reads(text: &str) -> (ElicitationAction, Option<Value>) {
    (ElicitationAction::Accept, Some(json!({ "code": code(text).to_lowercase() })))
}

fn write() -> Value {
    json!({ "path": "ask/x", "content": "what is asked about\n" })
}

#[tokio::test]
async fn whoever_reads_and_types_the_code_approves_once() {
    for era in ERAS {
        let place = Place::new();
        let (person, shown) = person(reads);
        let client = Client::with_person(&place, era, person).await;
        client.call("fs-write", write()).await.done();
        assert_eq!(place.read("ask/x").as_deref(), Some("what is asked about\n"));
        let question = shown.lock().unwrap()[0].clone();
        for part in ["ask/x", "what is asked about", "`mcp`", "protected"] {
            assert!(question.contains(part), "{era:?}: no {part} in {question}");
        }
        let other = json!({ "path": "ask/x", "content": "something else" });
        client.call("fs-write", other).await.done();
        assert_eq!(shown.lock().unwrap().len(), 2, "{era:?}: an answer is good for one action");
        client.end().await;
        let trail = place.trail();
        let granted = trail.iter().filter(|event| event["event_type"] == "approval_granted");
        let by: Vec<&Value> =
            granted.map(|event| &event["metadata"]["approval"]["channel"]).collect();
        assert_eq!(by, ["elicitation", "elicitation"]);
    }
}

#[tokio::test]
async fn a_client_that_says_yes_to_everything_approves_nothing() {
    for era in ERAS {
        for content in
            [None, Some(json!({})), Some(json!({ "code": "" })), Some(json!({ "code": "AAAAAA" }))]
        {
            let place = Place::new();
            let said = content.clone();
            let (person, shown) = person(move |_| (ElicitationAction::Accept, said.clone()));
            let client = Client::with_person(&place, era, person).await;
            let refused = client.call("fs-write", write()).await.refused();
            assert_eq!(refused["error"]["code"], "denied", "{era:?} {content:?}");
            assert_eq!(shown.lock().unwrap().len(), 1, "it is not asked until it is right");
            assert_eq!(place.read("ask/x"), None);
            client.end().await;
            let trail = place.trail();
            assert!(trail.iter().all(|event| event["event_type"] != "approval_granted"));
            assert!(trail.iter().any(|event| event["action_name"] == "approvals.elicited"));
            // It still waits for somebody who proves more.
            assert_eq!(
                place.done(&["approvals", "list"])["approvals"].as_array().unwrap().len(),
                1
            );
        }
    }
}

#[tokio::test]
async fn who_declines_withdraws_and_who_looks_away_leaves_it_to_the_inbox() {
    for era in ERAS {
        let place = Place::new();
        let (declines, _) = person(|_| (ElicitationAction::Decline, None));
        let client = Client::with_person(&place, era, declines).await;
        assert_eq!(client.call("fs-write", write()).await.refused()["error"]["code"], "denied");
        assert_eq!(place.done(&["approvals", "list"])["approvals"], json!([]));
        client.end().await;

        let (looks_away, shown) = person(|_| (ElicitationAction::Cancel, None));
        let client = Client::with_person(&place, era, looks_away).await;
        let waits = client.call("fs-write", write()).await;
        let id = if era == Era::Legacy {
            let waits = waits.refused();
            assert_eq!(waits["error"]["code"], "approval_required");
            waits["error"]["details"]["approval_id"].as_str().unwrap().to_owned()
        } else {
            // The call comes again without an answer, so it is asked again, until the client stops.
            let open = place.done(&["approvals", "list"]);
            open["approvals"][0]["id"].as_str().unwrap().to_owned()
        };
        assert!(!shown.lock().unwrap().is_empty());
        assert_eq!(place.read("ask/x"), None);
        place.approver(&["approvals", "approve", &id]);
        client.call("fs-write", write()).await.done();
        assert!(place.read("ask/x").is_some());
        client.end().await;
        place.trail();
    }
}

#[tokio::test]
async fn what_the_policy_caps_is_never_asked_this_way() {
    let low = POLICY.to_owned() + "approvals: { channels: { elicitation: low } }\n";
    let pin = POLICY.to_owned() + "approvals: { pin_from: low }\n";
    let other = POLICY.to_owned() + "approvals: { requester_may_approve: false }\n";
    let two = POLICY.to_owned()
        + "rules: [{ name: two, when: { path: \"ask/**\" }, verdict: need_approval, approvals: 2 }]\n";
    let high = POLICY.to_owned()
        + "escalate: [{ when: { path: \"ask/**\" }, risk: high, reason: it is }]\n";
    for policy in [low, pin, other, two, high] {
        for era in ERAS {
            let place = Place::with_policy(&policy);
            let (person, shown) = person(reads);
            let client = Client::with_person(&place, era, person).await;
            let waits = client.call("fs-write", write()).await.refused();
            assert_eq!(waits["error"]["code"], "approval_required", "{policy}");
            assert_eq!(shown.lock().unwrap().len(), 0, "{era:?}: asked under {policy}");
            assert_eq!(place.read("ask/x"), None);
            client.end().await;
        }
    }
}

#[tokio::test]
async fn a_state_is_good_for_its_own_call_once() {
    let place = Place::new();
    let (nobody, _) = person(|_| panic!("rounds are made by hand"));
    let client = Client::with_person(&place, Era::Modern, nobody).await;
    let asked = client.round("fs-write", write(), None).await.unwrap();
    let CallToolResponse::InputRequired(asked) = asked else { panic!("{asked:?}") };
    let asked = json!(asked);
    let text = asked["inputRequests"]["approval"]["params"]["message"].as_str().unwrap();
    let said = json!({ "action": "accept", "content": { "code": code(text) } });
    let state = asked["requestState"].as_str().unwrap();

    let mut tampered = state.to_owned();
    let last = if tampered.pop() == Some('A') { 'B' } else { 'A' };
    tampered.push(last);
    let other = json!({ "path": "ask/y", "content": "x" });
    for (input, state) in [(write(), tampered.as_str()), (other, state), (write(), "rs1.x.y")] {
        let refused = client.round("fs-write", input.clone(), Some((state, said.clone()))).await;
        assert!(refused.is_err(), "{input} {state}: {refused:?}");
    }
    // Another connection is another session.
    let (nobody, _) = person(|_| panic!("rounds are made by hand"));
    let stranger = Client::with_person(&place, Era::Modern, nobody).await;
    assert!(stranger.round("fs-write", write(), Some((state, said.clone()))).await.is_err());
    stranger.end().await;
    assert_eq!((place.read("ask/x"), place.read("ask/y")), (None, None));

    let done = client.round("fs-write", write(), Some((state, said.clone()))).await.unwrap();
    assert!(matches!(done, CallToolResponse::Complete(_)), "{done:?}");
    assert!(place.read("ask/x").is_some());
    std::fs::remove_file(place.path("ask/x")).unwrap();
    let again = client.round("fs-write", write(), Some((state, said))).await.unwrap();
    assert!(matches!(again, CallToolResponse::InputRequired(_)), "used twice: {again:?}");
    assert_eq!(place.read("ask/x"), None);
    client.end().await;
    place.trail();
}
