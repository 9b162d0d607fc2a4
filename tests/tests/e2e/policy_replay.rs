//! A decision can be judged again, and a new policy be held against the old ones.

use serde_json::json;

use crate::place::{POLICY, Place, text};

const FREQUENT: &str = "\
version: 1
default: deny
paths: { forbidden: [\"no/**\"], allowed: [\"**\"] }
rules:
  - { name: named, when: { capability: fs.write, input: { path: { matches: \"^big\" } } }, verdict: need_approval }
frequency: [{ capability: \"fs.*\", scope: org, per: 1h, max: 3 }]
";

fn decision(answer: &serde_json::Value) -> String {
    text(&answer["decision"], "id").to_owned()
}

#[test]
fn explain_proves_a_decision_that_was_made_under_an_older_policy() {
    let place = Place::with_policy(FREQUENT);
    let done = place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    let denied = place.run(&["call", "fs.write", "path=no/a", "content=x"]).ends(3, "denied");
    let asked =
        place.run(&["call", "fs.write", "path=big", "content=x"]).ends(4, "approval_required");
    place.policy("version: 1\ndefault: deny\n");
    for answer in [&done, &denied, &asked] {
        let explained = place.run(&["policy", "explain", &decision(answer)]).done();
        assert_eq!(explained["proof"]["status"], "proven", "{explained}");
        assert_eq!(explained["verdict"], answer["decision"]["verdict"]);
        assert_eq!(explained["reasons"], answer["decision"]["reasons"]);
    }
}

#[test]
fn a_decision_about_sealed_content_is_not_said_to_be_proven() {
    let policy = format!(
        "{POLICY}rules:\n  - {{ name: words, when: {{ input: {{ content: {{ matches: secret }} }} }}, verdict: deny }}\n"
    );
    let place = Place::with_policy(&policy);
    let denied = place.run(&["call", "fs.write", "path=a", "content=secret"]).ends(3, "denied");
    let explained = place.run(&["policy", "explain", &decision(&denied)]).done();
    assert_eq!(explained["proof"]["status"], "unproven", "{explained}");
    assert!(explained["proof"]["because"].to_string().contains("words"), "{explained}");
}

#[test]
fn a_decision_that_was_tampered_with_is_contradicted_by_the_trail() {
    let place = Place::new();
    let denied = place.run(&["call", "fs.write", "path=no/a", "content=x"]).ends(3, "denied");
    let database = place.root.join(".lictor/lictor.db");
    let connection = rusqlite::Connection::open(database).unwrap();
    let changed = connection
        .execute("UPDATE decision SET inputs = replace(inputs, 'no/a', 'ok/a')", [])
        .unwrap();
    assert_eq!(changed, 1);
    drop(connection);
    let explained = place.run(&["policy", "explain", &decision(&denied)]).ends(6, "integrity");
    assert_eq!(explained["proof"]["status"], "contradicted", "{explained}");
}

#[test]
fn diff_lists_what_a_new_policy_would_have_said_otherwise() {
    let place = Place::new();
    let done = place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    place.run(&["call", "fs.write", "path=b", "content=x"]).done();
    place.run(&["call", "fs.write", "path=no/a", "content=x"]).ends(3, "denied");
    let old = place.document("old.yaml", POLICY);
    let new = place.document("new.yaml", POLICY.replace("no/**", "a"));
    let same = place.run(&["policy", "diff", &old, &old, "--against", "log"]).done();
    assert_eq!((&same["decisions"], &same["changed"]), (&json!(3), &json!([])));
    let diff = place.run(&["policy", "diff", &old, &new, "--against", "log"]).done();
    let changed = diff["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 2, "{diff}");
    assert_eq!(changed[0]["decision"], done["decision"]["id"]);
    assert_eq!((&changed[0]["old"], &changed[0]["new"]), (&json!("allow"), &json!("deny")));
    assert_eq!(changed[0]["because"][0]["rule"], "paths.forbidden");
    assert_eq!((&changed[1]["old"], &changed[1]["new"]), (&json!("deny"), &json!("allow")));
    let broken = place.document("broken.yaml", "version: 9\n");
    place.run(&["policy", "diff", &old, &broken]).ends(2, "invalid_input");
}

#[test]
fn what_asking_cost_counts_against_the_budget() {
    let policy = format!("{POLICY}budgets: {{ session: {{ cost_usd: 1.0, tokens: 100 }} }}\n");
    let place = Place::with_policy(&policy);
    let call = |extra: &[&str]| {
        let mut arguments = vec!["call", "time.now", "--session", "ses_0190"];
        arguments.extend_from_slice(extra);
        place.run(&arguments)
    };
    call(&["--spent-usd", "0.75", "--spent-tokens", "90"]).done();
    let refused = call(&["--spent-usd", "0.5"]).ends(3, "denied");
    assert!(refused.to_string().contains("has spent 0.750000 of 1.000000 USD"), "{refused}");
    call(&["--spent-tokens", "11"]).ends(3, "denied");
    call(&["--spent-tokens", "10"]).done();
    call(&[]).ends(3, "denied");
    for usd in ["nan", "inf", "-1"] {
        let flag = format!("--spent-usd={usd}");
        call(&[&flag]).ends(2, "usage");
    }
    place.run(&["call", "time.now"]).done();
}
