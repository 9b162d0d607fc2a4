//! Workflows, packs and facades as tools: what is begun comes to an end or waits, where a call led is
//! said with the reason, and what is listed is what can be called.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::Place;

const PUBLISH: &str = "id: publish\nversion: 1.0.0\ntitle: Publish\n\
    input: { type: object, required: [second], properties: { second: { type: string } } }\n\
    output: { wrote: \"{{ steps.two.output.path }}\" }\n\
    steps:\n\
    \x20 - { id: one, use: fs.write, with: { path: out/one.txt, content: one } }\n\
    \x20 - { id: two, needs: [one], use: fs.write, with: { path: \"{{ input.second }}\", content: two } }\n";

const REVIEW: &str = "id: review\nversion: 1.0.0\ntitle: Review\ninput: { type: object }\n\
    output: { wrote: \"{{ steps.write.output.path }}\" }\n\
    steps:\n\
    \x20 - { id: ask, approval: { message: \"Shall it be?\", risk: high, approvals: 1, timeout: 1h } }\n\
    \x20 - { id: write, needs: [ask], use: fs.write, with: { path: reviewed.txt, content: reviewed } }\n";

const PACK: &str = "id: docs\nversion: 1.0.0\ntitle: Documents\ncapabilities: [fs.write]\n\
    workflows: [publish, review]\n";

const FACADE: &str = "id: release\nversion: 1.0.0\ntitle: Release\ntriggers: [release it]\n\
    routes: { primary: { workflow: publish }, fallback: { workflow: review } }\n";

/// A contract over a workflow.
fn contract(workflow: &str) -> String {
    json!({
        "id": format!("notes.{workflow}"), "version": "1.0.0", "title": "T", "description": "D",
        "kind": "workflow", "source": "local", "input": { "type": "object" },
        "output": { "type": "object", "required": ["wrote"] }, "risk": "low", "timeout": "60s",
        "handler": { "workflow": workflow },
    })
    .to_string()
}

fn propose(place: &Place, kind: &str, text: &str) {
    let file = place.path(format!("../proposed-{kind}.yaml"));
    std::fs::write(&file, text).unwrap();
    place.done(&[kind, "propose", file.to_str().unwrap(), "--user", "somebody"]);
}

fn approve(place: &Place, kind: &str, id: &str) {
    place.approver(&[kind, "approve", id]);
}

/// The four documents of these tests, by kind and id.
const ALL: [(&str, &str); 4] = [
    ("capability", "notes.publish"),
    ("capability", "notes.review"),
    ("pack", "docs"),
    ("facade", "release"),
];

fn furnished() -> Place {
    let place = Place::new();
    place.write(".lictor/workflows/publish.workflow.yaml", PUBLISH);
    place.write(".lictor/workflows/review.workflow.yaml", REVIEW);
    for (kind, id) in ALL {
        let text = match id {
            "notes.publish" => contract("publish"),
            "notes.review" => contract("review"),
            "docs" => PACK.to_owned(),
            _ => FACADE.to_owned(),
        };
        propose(&place, kind, &text);
    }
    place
}

fn in_use() -> Place {
    let place = furnished();
    for (kind, id) in ALL {
        approve(&place, kind, id);
    }
    place
}

#[tokio::test]
async fn a_workflow_is_a_tool_and_answers_with_its_end() {
    for era in [Era::Legacy, Era::Modern] {
        let place = in_use();
        let client = Client::connect(&place, era, &[]).await;
        let done = client.call("notes-publish", json!({ "second": "out/two.txt" })).await;
        assert_eq!(done.done(), json!({ "wrote": "out/two.txt" }));
        assert_eq!(place.read("out/two.txt").as_deref(), Some("two"));
        let execution = &done.execution()["execution_id"];
        client.call("undo", json!({ "execution": execution })).await.done();
        assert_eq!((place.read("out/one.txt"), place.read("out/two.txt")), (None, None));
        let failed = client.call("notes-publish", json!({ "second": "no/two.txt" })).await;
        assert_eq!(failed.refused()["error"]["code"], "failed");
        assert_eq!(place.read("out/one.txt"), None, "what it had done was taken back");
        client.end().await;
    }
}

#[tokio::test]
async fn a_workflow_that_waits_goes_on_by_the_same_call() {
    let place = in_use();
    let client = Client::connect(&place, Era::Modern, &[]).await;
    let call = || client.call("pack--docs", json!({ "workflow": "review" }));
    let first = call().await;
    let waits = first.refused();
    assert_eq!(waits["error"]["code"], "approval_required");
    let about = &waits["error"]["details"];
    let id = about["approval_id"].as_str().unwrap();
    assert!(first.text().contains(id) && first.text().contains("You cannot"), "{}", first.text());
    let pending = client.call("pending", json!({})).await.done();
    assert_eq!(pending["approvals"][0]["approval_id"], id);
    let again = call().await.refused();
    assert_eq!(again["error"]["details"], *about, "it is the same run that waits");
    assert_eq!(place.read("reviewed.txt"), None);
    place.approver(&["approvals", "approve", id]);
    assert_eq!(call().await.done(), json!({ "wrote": "reviewed.txt" }));
    assert_eq!(place.read("reviewed.txt").as_deref(), Some("reviewed"));
    let runs = |place: &Place| place.done(&["workflow", "list"])["runs"].as_array().unwrap().len();
    assert_eq!(runs(&place), 1);
    let other = call().await.refused();
    assert_ne!(other["error"]["details"]["run_id"], about["run_id"], "a run that ended is over");
    assert_eq!(runs(&place), 2);
    client.end().await;
}

#[tokio::test]
async fn a_facade_leads_to_what_may_be_used_and_says_why() {
    let place = in_use();
    let client = Client::connect(&place, Era::Legacy, &[]).await;
    let input = json!({ "input": { "second": "two.txt" } });
    let done = client.call("facade--release", input.clone()).await;
    assert_eq!(done.done(), json!({ "wrote": "two.txt" }));
    let route = done.about("lictor/route");
    assert_eq!(
        (&route["workflow"], &route["capability"]),
        (&json!("publish"), &json!("notes.publish"))
    );
    assert!(done.text().contains("`release` leads to the workflow `publish`"), "{}", done.text());
    place.approver(&["capability", "freeze", "notes.publish"]);
    let waits = client.call("facade--release", json!({})).await;
    assert_eq!(waits.refused()["error"]["code"], "approval_required");
    let route = waits.about("lictor/route");
    assert_eq!(route["capability"], "notes.review");
    let because = route["because"].to_string();
    assert!(
        because.contains("no capability of this session begins the workflow `publish`"),
        "{because}"
    );
    let several = client.call("pack--docs", json!({ "workflow": "publish" })).await.refused();
    assert!(several["error"]["message"].as_str().unwrap().contains("only `review`"), "{several}");
    client.end().await;
}

#[tokio::test]
async fn clients_hear_when_packs_facades_and_files_of_the_catalogue_change() {
    for era in [Era::Legacy, Era::Modern] {
        let place = in_use();
        let client = Client::connect(&place, era, &[]).await;
        client.listen().await;
        let listed = async |name: &str| client.tools().await.iter().any(|tool| tool.name == name);
        assert!(listed("pack--docs").await && listed("facade--release").await);
        place.approver(&["pack", "freeze", "docs"]);
        client.changed().await;
        assert!(!listed("pack--docs").await);
        assert!(!listed("facade--release").await, "its workflows are those of a frozen pack");
        place.approver(&["pack", "unfreeze", "docs"]);
        client.changed().await;
        assert!(listed("pack--docs").await && listed("facade--release").await);
        // Whoever edits a file that was let in has another document, and nobody let that in.
        let file = std::fs::read_dir(place.path(".lictor/capabilities")).unwrap();
        let mut files = file.map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.to_str().unwrap().contains("notes.publish")).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let other = text.replace("\"D\"", "\"Does what it likes\"").replace(": D\n", ": Other\n");
        assert_ne!(text, other);
        std::fs::write(&file, other).unwrap();
        client.changed().await;
        assert!(!listed("notes-publish").await);
        let refused = client.call("notes-publish", json!({})).await.refused();
        assert_eq!(refused["error"]["code"], "integrity", "{refused}");
        client.end().await;
    }
}

/// What may be asked for by name, listed or not.
const NAMES: [&str; 9] = [
    "notes-publish",
    "notes-review",
    "pack--docs",
    "facade--release",
    "fs-write",
    "time-now",
    "undo",
    "workflow-approval",
    "no-such-tool",
];

/// What a session may be narrowed to.
const ONLY: &[&[&str]] = &[&[], &["fs.*", "notes.*"], &["notes.review"], &["fs.*", "time.now"]];

fn is_there(answer: &crate::client::Answer) -> bool {
    if !answer.is_refused() {
        return true;
    }
    let refused: Value = answer.refused();
    let message = refused["error"]["message"].as_str().unwrap();
    // What is withheld is `denied`, and what is unknown `not_found`; an undo finds nothing to undo.
    let unknown = ["denied", "not_found"].contains(&refused["error"]["code"].as_str().unwrap());
    !unknown || message.contains("nothing to undo")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_listed_is_what_can_be_called(
        active in proptest::collection::vec(any::<bool>(), 4),
        only in proptest::sample::select(ONLY),
        modern: bool,
    ) {
        let place = furnished();
        for ((kind, id), _) in ALL.iter().zip(&active).filter(|(_, active)| **active) {
            approve(&place, kind, id);
        }
        let arguments: Vec<&str> = only.iter().flat_map(|id| ["--only", id]).collect();
        let era = if modern { Era::Modern } else { Era::Legacy };
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found: Vec<(&str, bool, bool)> = tokio.block_on(async {
            let client = Client::connect(&place, era, &arguments).await;
            let tools = client.tools().await;
            let mut found = Vec::new();
            for name in NAMES {
                let listed = tools.iter().any(|tool| tool.name == name);
                found.push((name, listed, is_there(&client.call(name, json!({})).await)));
            }
            client.end().await;
            found
        });
        for (name, listed, callable) in found {
            prop_assert_eq!(listed, callable, "{} ({:?}, {:?})", name, active, only);
        }
    }
}
