//! Pages that a server has people open, through `mcp wrap`: whoever was asked hears when one was done
//! with.

use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::http_client::{Begun, HttpClient, HttpServer};
use crate::stand_in::StandIn;
use crate::telling::{all, opens, pairs, telling, with_secret, wrapped_for};
use crate::wrap::place;

fn done(id: &str) -> Value {
    json!(["notifications/elicitation/complete", { "elicitationId": id }])
}

/// A call in whose middle a page is opened.
async fn has_opened(client: &Client, stand_in: &StandIn, id: &str) {
    stand_in.put("page id", &json!(id));
    let answer = client.call("opens", json!({ "text": "Sign in, please." })).await;
    assert!(answer.text().contains("accept"), "{id}: {}", answer.whole());
}

/// A call that is not made before a page was opened.
async fn is_to_open(client: &Client, id: &str) {
    let said = client.call("wants_a_page", json!({ "text": id })).await.whole();
    assert!(said.contains("sign in first"), "{id}: {said}");
}

async fn finishes(client: &Client, id: &str) {
    assert_eq!(client.call("finishes", json!({ "text": id })).await.text(), id);
}

#[tokio::test]
async fn a_client_hears_once_that_the_pages_it_was_asked_to_open_were_done_with_and_of_no_other() {
    let place = place();
    let stand_in = telling(&place, "legacy");
    let client = wrapped_for(&place, Era::Legacy, &stand_in, (all(), opens())).await;
    has_opened(&client, &stand_in, "in a call").await;
    is_to_open(&client, "before a call").await;
    for id in ["nobody was asked", "before a call", "in a call", "in a call"] {
        finishes(&client, id).await;
    }
    has_opened(&client, &stand_in, "the last").await;
    finishes(&client, "the last").await;
    client.told_where("custom", 1, |said| *said == done("the last")).await;
    let mut heard: Vec<String> = client.heard("custom").iter().map(Value::to_string).collect();
    heard.sort();
    assert_eq!(heard, ["before a call", "in a call", "the last"].map(|id| done(id).to_string()));
    client.end().await;
}

#[tokio::test]
async fn a_page_that_is_done_with_before_its_question_is_answered_is_told_at_once() {
    let place = place();
    let stand_in = telling(&place, "legacy");
    stand_in.put("page id", &json!("quick"));
    stand_in.put("done at once", &json!(true));
    let client = wrapped_for(&place, Era::Legacy, &stand_in, (all(), opens())).await;
    client.decided(false);
    let call = client.begin("opens", json!({ "text": "Sign in, please." })).await;
    assert_eq!(client.told("custom", 1).await, [done("quick")]);
    assert_eq!(client.told("asked", 1).await[0]["elicitationId"], "quick");
    client.decided(true);
    call.await_response().await.unwrap();
    client.end().await;
}

#[tokio::test]
async fn a_page_is_named_without_the_secrets_of_its_server_also_when_it_was_done_with() {
    let place = place();
    let stand_in = telling(&place, "legacy");
    let client = wrapped_for(&place, Era::Legacy, &stand_in, (all(), opens())).await;
    has_opened(&client, &stand_in, "of a-secret-of-some-length").await;
    client.call("finishes", json!({ "text": "of a-secret-of-some-length" })).await;
    assert_eq!(client.told("custom", 1).await, [done("of [secret]")]);
    assert_eq!(client.heard("asked")[0]["elicitationId"], "of [secret]");
    client.end().await;
}

#[tokio::test]
async fn where_a_protocol_has_no_word_for_it_nobody_hears_that_a_page_was_done_with() {
    for (era, theirs) in pairs().filter(|pair| *pair != (Era::Legacy, "legacy")) {
        let place = place();
        let stand_in = telling(&place, theirs);
        let client = wrapped_for(&place, era, &stand_in, (all(), opens())).await;
        has_opened(&client, &stand_in, "page").await;
        finishes(&client, "page").await;
        // Whatever it says is told in the order in which it says it.
        client.call("tells", json!({ "text": "x" })).await;
        client.told("progress", 2).await;
        assert_eq!(client.heard("custom"), Vec::<Value>::new(), "{era:?} {theirs}");
        client.end().await;
    }
}

/// What a client hears by itself, beside that the server's lists have changed since it began.
async fn next(stream: &mut Begun) -> Value {
    loop {
        let said = stream.message().await.expect("a message");
        if !said["method"].as_str().unwrap_or_default().ends_with("/list_changed") {
            return said;
        }
    }
}

#[tokio::test]
async fn over_http_only_the_client_that_was_asked_hears_that_a_page_was_done_with() {
    let place = place();
    let stand_in = telling(&place, "legacy");
    stand_in.put("page id", &json!("of one"));
    let made = place.done(&["mcp", "clients", "add", "--user", "ann", "--agent", "ide"]);
    let token = made["token"].as_str().unwrap();
    let arguments = with_secret(&stand_in);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = HttpServer::start_as(&place, "wrap", &arguments, |command| {
        command.env("LICTOR_SECRET_KEY", "a-secret-of-some-length");
    })
    .await;
    // Two of one person, and so of one session.
    let asked = HttpClient::able(&server, token, all()).await;
    let other = HttpClient::able(&server, token, all()).await;
    let (mut told, mut others) = (asked.listen().await, other.listen().await);
    let wish = json!({ "name": "opens", "arguments": { "text": "Sign in, please." } });
    let mut call = asked.request(1, "tools/call", wish).await;
    let question = loop {
        let message = call.message().await.expect("a question");
        if message["method"] == "elicitation/create" {
            break message;
        }
    };
    assert_eq!(question["params"]["elicitationId"], "of one");
    asked.answers(&question, json!({ "action": "accept" })).await;
    assert!(call.answer().await["result"].to_string().contains("accept"));
    // The other one has the call made in which it is said.
    let finished = other.call("finishes", json!({ "text": "of one" })).await;
    assert!(finished.to_string().contains("of one"), "{finished}");
    let said = next(&mut told).await;
    assert_eq!(json!([said["method"], said["params"]]), done("of one"), "{said}");
    let watch = json!({ "uri": "note://one" });
    other.request(2, "resources/subscribe", watch).await.answer().await;
    other.call("touches", json!({ "text": "note://one" })).await;
    let said = next(&mut others).await;
    assert_eq!(said["method"], "notifications/resources/updated", "{said}");
    server.end().await;
}
