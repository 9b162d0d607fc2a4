//! What the policy says is what happens, and every reason names its rule and its place.

use serde_json::{Value, json};

use crate::place::{POLICY, Place, has, text};
use crate::tree::digest;

/// The reasons of a decision that name a rule.
fn reasons<'a>(answer: &'a Value, rule: &str) -> Vec<&'a Value> {
    let all = answer["decision"]["reasons"].as_array().unwrap();
    all.iter().filter(|reason| text(reason, "rule").contains(rule)).collect()
}

#[track_caller]
fn judged(policy: &str, arguments: &[&str], code: i32, rule: &str) -> Value {
    let place = Place::with_policy(policy);
    place.write("old.txt", "old");
    let answer = place.run(arguments).ends_with_one_of(&[code]);
    let found = reasons(&answer, rule);
    assert!(!found.is_empty(), "`{rule}` is not named: {answer}");
    for reason in found {
        has(reason, &["layer", "rule", "verdict", "message", "where"]);
        assert!(text(reason, "where").starts_with("policy.yaml:"), "{reason}");
    }
    answer
}

const RULES: &str = r#"version: 1
default: deny
paths: { allowed: ["**"], protected: ["Cargo.toml"] }
rules:
  - { name: no-deletes, when: { effect: fs.delete }, verdict: need_approval, reason: deletions are reviewed }
  - { name: not-by-bots, when: { agent: "bot*", effect: fs.write }, verdict: deny, reason: bots read }
  - { name: big-names, when: { capability: fs.write, input: { path: { matches: "^big" } } }, verdict: need_approval, approvals: 2, reason: big }
escalate:
  - { when: { path: "**/migrations/**" }, risk: high, reason: database schema }
  - { when: { lines: { gt: 5 } }, risk: critical, reason: large change }
risk: { low: allow, medium: allow, high: need_approval, critical: { verdict: need_approval, approvals: 2 } }
"#;

#[test]
fn rules_speak_by_effect_agent_and_input() {
    let denied = judged(RULES, &["call", "fs.delete", "path=old.txt"], 4, "no-deletes");
    assert!(denied["decision"].to_string().contains("deletions are reviewed"));
    let write = ["call", "fs.write", "path=a", "content=x", "--agent", "bot-1"];
    judged(RULES, &write, 3, "not-by-bots");
    let asked = judged(RULES, &["call", "fs.write", "path=big", "content=x"], 4, "big-names");
    assert_eq!(asked["decision"]["approvals_needed"], 2);
    judged(RULES, &["call", "fs.write", "path=Cargo.toml", "content=x"], 4, "paths.protected");
}

#[test]
fn escalation_raises_the_risk_that_was_proposed() {
    let path = ["call", "fs.write", "path=db/migrations/1.sql", "content=x"];
    let asked = judged(RULES, &path, 4, "escalate");
    assert_eq!(asked["decision"]["risk_effective"], "high");
    let long = format!("content={}", "x\n".repeat(6));
    let asked = judged(RULES, &["call", "fs.write", "path=a", &long], 4, "escalate");
    assert_eq!(asked["decision"]["risk_effective"], "critical");
    assert_eq!(asked["decision"]["approvals_needed"], 2);
}

#[test]
fn what_no_rule_speaks_about_falls_to_the_default() {
    let policy = "version: 1\ndefault: deny\npaths: { allowed: [\"src/**\"] }\nrisk: { low: allow, medium: allow }\n";
    judged(policy, &["call", "fs.write", "path=other", "content=x"], 3, "default");
    let place = Place::with_policy(policy);
    place.run(&["call", "fs.write", "path=src/a", "content=x"]).done();
}

/// A policy whose verification command is a shell line.
fn verified_by(line: &str) -> String {
    let command = json!(["sh", "-c", line]);
    format!("{POLICY}verification:\n  check: {{ command: {command}, timeout: 10s }}\n")
}

fn planned(place: &Place, change: &Value, plan: Value) -> String {
    let mut whole =
        json!({ "id": "pln_01a1f87195887d508e144ffac6a323e7", "intent": "x", "risk": "low" });
    let fields = whole.as_object_mut().unwrap();
    fields.extend(plan.as_object().unwrap().clone());
    let plan = place.document("plan.json", whole.to_string());
    let bare = place.document("bare.json", json!({ "changes": change }).to_string());
    let sealed = place.run(&["change", "seal", &bare, "--plan", &plan]).done();
    place.document("planned.json", sealed.to_string())
}

#[test]
fn a_change_that_fails_its_verification_is_taken_back() {
    let place = Place::with_policy(&verified_by("test ! -e new.txt"));
    place.write("old.txt", "old");
    let before = place.tree();
    let change = json!([
        { "op": "create", "path": "new.txt", "content": "new" },
        { "op": "modify", "path": "old.txt", "before": digest(b"old"), "content": "changed" },
    ]);
    let document = planned(&place, &change, json!({ "verification": ["check"] }));
    let failed = place.run(&["apply", &document]).ends(1, "failed");
    assert_eq!(place.tree(), before);
    assert_eq!(failed["error"]["details"]["rollback"]["status"], "complete", "{failed}");
    let types: Vec<_> = place.trail().iter().map(|event| event["event_type"].clone()).collect();
    for kind in ["verification_failed", "rollback_started", "rollback_completed", "action_failed"] {
        assert!(types.contains(&json!(kind)), "no {kind}: {types:?}");
    }
    // Under a policy whose command is content, the same document goes through.
    place.policy(&verified_by("test -e new.txt"));
    let done = place.run(&["apply", &document]).done();
    assert!(done["checks"].to_string().contains("check"), "{done}");
    let passed =
        place.trail().iter().filter(|it| it["event_type"] == "verification_passed").count();
    assert_eq!(passed, 1);
    place.verify();
}

#[test]
fn a_check_that_the_policy_does_not_know_is_refused() {
    let place = Place::new();
    let before = place.tree();
    let change = json!([{ "op": "create", "path": "new.txt", "content": "new" }]);
    for plan in [json!({ "verification": ["rm -rf /"] }), json!({ "health_checks": ["none"] })] {
        let document = planned(&place, &change, plan);
        place.run(&["apply", &document]).ends_with_one_of(&[1, 2, 3]);
        assert_eq!(place.tree(), before);
    }
}

#[test]
fn what_a_change_must_bring_is_asked_for() {
    let policy =
        format!("{POLICY}require: {{ verification: [low, medium, high, critical] }}\n{}", {
            "verification:\n  check: { command: [\"true\"], timeout: 10s }\n"
        });
    let place = Place::with_policy(&policy);
    let change = json!([{ "op": "create", "path": "new.txt", "content": "new" }]);
    let without = planned(&place, &change, json!({}));
    let asked = place.run(&["apply", &without]).ends(4, "approval_required");
    let actions = asked["decision"]["required_actions"].to_string();
    assert!(actions.contains("verification"), "{asked}");
    let with = planned(&place, &change, json!({ "verification": ["check"] }));
    place.run(&["apply", &with]).done();
}

#[test]
fn a_health_check_that_fails_takes_the_change_back() {
    let policy = format!(
        "{POLICY}health_checks:\n  - {{ name: config, file_exists: {{ paths: [\"config.yaml\"] }}, for_risk: [low, medium] }}\n"
    );
    let place = Place::with_policy(&policy);
    let before = place.tree();
    let change = json!([{ "op": "create", "path": "new.txt", "content": "new" }]);
    place.run(&["apply", &planned(&place, &change, json!({}))]).ends(1, "failed");
    assert_eq!(place.tree(), before);
    let types: Vec<_> = place.trail().iter().map(|event| event["event_type"].clone()).collect();
    assert!(types.contains(&json!("health_failed")), "{types:?}");
    assert!(!types.contains(&json!("health_passed")), "{types:?}");
    place.write("config.yaml", "a: 1\n");
    place.run(&["apply", &planned(&place, &change, json!({}))]).done();
    let passed = place.trail().iter().filter(|it| it["event_type"] == "health_passed").count();
    assert_eq!(passed, 1);
}

#[test]
fn a_program_that_verifies_never_gets_the_approvers_token() {
    let place = Place::with_policy(&verified_by("test -z \"$LICTOR_APPROVER_TOKEN\""));
    let change = json!([{ "op": "create", "path": "new.txt", "content": "new" }]);
    let document = planned(&place, &change, json!({ "verification": ["check"] }));
    place.run_as_approver(&["apply", &document]).done();
}

#[test]
fn a_frequency_limit_is_counted_across_processes() {
    let policy = format!(
        "{POLICY}frequency:\n  - {{ capability: \"time.*\", scope: user, per: 1h, max: 2 }}\n"
    );
    let place = Place::with_policy(&policy);
    place.run(&["call", "time.now"]).done();
    place.run(&["call", "time.now"]).done();
    let refused = place.run(&["call", "time.now"]).ends(3, "denied");
    let found = reasons(&refused, "frequency[0]");
    assert!(text(found[0], "message").contains("2 of 2 within 1h"), "{refused}");
    // What is judged only is not counted, and others are not concerned.
    place.run(&["check", "call", "time.now"]).ends(3, "denied");
    place.run(&["call", "fs.list"]).done();
}
