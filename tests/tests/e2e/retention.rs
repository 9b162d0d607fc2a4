//! `retention.undo`: what the policy keeps of undo records, and `undo --purge`.

use serde_json::json;

use crate::place::{POLICY, Place, text};

fn write(place: &Place, path: &str) -> String {
    let (path, content) = (format!("path={path}"), format!("content={path}"));
    text(&place.run(&["call", "fs.write", &path, &content]).done(), "execution_id").to_owned()
}

/// Sets what the policy says of undo records.
fn keep(place: &Place, undo: &str) {
    let policy = place.read(".lictor/policy.yaml");
    let kept = policy.lines().filter(|line| !line.starts_with("retention:"));
    let policy: String = kept.map(|line| format!("{line}\n")).collect();
    place.write(".lictor/policy.yaml", format!("{policy}retention: {{ undo: {undo} }}\n"));
}

fn records(place: &Place) -> u64 {
    place.run(&["log"]).done()["undo_records"]["records"].as_u64().unwrap()
}

#[test]
fn undo_purge_removes_what_the_policy_does_not_keep_and_says_so() {
    let place = Place::new();
    let all = ["a", "b", "c"].map(|path| write(&place, path));
    assert_eq!(records(&place), 3);
    assert_eq!(place.run(&["undo", "--purge"]).done()["purged"], json!([]), "30 days, unless told");
    keep(&place, "{ count: 1 }");
    let tree = place.tree();
    let dry = place.run(&["undo", "--purge", "--dry-run"]).done();
    assert_eq!((&dry["purged"], &dry["kept"]), (&json!(all[..2]), &json!([])));
    assert_eq!(records(&place), 3, "a dry run removes nothing");
    let purged = place.run(&["undo", "--purge"]).done();
    assert_eq!(purged, dry);
    assert!(purged["bytes"].as_u64().unwrap() > 0);
    assert_eq!(records(&place), 1);
    assert!(place.run(&["show", &all[0]]).done()["undo_record"].is_null());
    assert!(place.run(&["show", &all[2]]).done()["undo_record"]["bytes"].as_u64().unwrap() > 0);
    let refused = place.run(&["undo", &all[0]]).ends_with_one_of(&[2, 3]);
    assert!(refused["error"]["message"].to_string().contains("its record was purged"), "{refused}");
    assert_eq!(place.tree(), tree, "nothing is touched");
    let doctor = place.run(&["doctor"]).done();
    assert!(doctor["checks"].to_string().contains("the policy keeps them at most 1 records"));
    place.run(&["undo", &all[2]]).done();
    place.verify();
}

/// What cannot be counted on later is not promised now.
#[test]
fn a_decision_says_when_the_record_of_a_change_may_be_purged_right_away() {
    let place = Place::new();
    place.write("big", "x".repeat(100 << 10));
    let judged = |place: &Place, path: &str| {
        let (path, content) = (format!("path={path}"), "content=y");
        let judged = place.run(&["check", "call", "fs.write", &path, content]).done();
        let decision = judged["decision"].clone();
        let because = decision["undo_because"].to_string();
        (text(&decision, "undo").to_owned(), because)
    };
    for enough in ["30d", "{ count: 1 }", "{ bytes: 1GiB }", "{ bytes: 64KiB }"] {
        keep(&place, enough);
        assert_eq!(judged(&place, "a"), ("full".to_owned(), "null".to_owned()), "{enough}");
    }
    // That would be set aside, and is more than is kept.
    let (undo, because) = judged(&place, "big");
    assert_eq!(undo, "none");
    assert!(because.contains("64KiB") && because.contains("purged right away"), "{because}");
    for nothing in ["0s", "{ count: 0 }", "{ bytes: 1KiB }"] {
        keep(&place, nothing);
        let (undo, because) = judged(&place, "a");
        assert_eq!(undo, "none", "{nothing}");
        assert!(because.contains("undo records are kept"), "{because}");
    }
    let person = place.person(&["check", "call", "fs.write", "path=a", "content=y"]);
    assert!(
        person.stdout.contains("can be undone: nothing\n  undo records are kept"),
        "{person:?}"
    );
    // It is as it was said.
    let done = write(&place, "a");
    assert!(place.run(&["show", &done]).done()["undo_record"].is_null());
    place.run(&["undo"]).ends_with_one_of(&[2, 3]);
    // What changes nothing needs no record; an undo needs that of what it takes back as well.
    let same = place.run(&["call", "fs.write", "path=a", "content=a"]).done();
    assert_eq!(same["decision"]["undo"], "full");
    keep(&place, "{ count: 1 }");
    write(&place, "b");
    let undo = place.run(&["undo", "--dry-run"]).done();
    assert_eq!(undo["decision"]["undo"], "none", "{undo}");
    // People are shown the same before they agree.
    keep(&place, "0s");
    place.run(&["call", "fs.write", "path=ask/a", "content=y"]).ends(4, "approval_required");
    let shown = place.person(&["approvals", "show", &place.waiting()]);
    assert!(shown.stdout.contains("nothing can be undone"), "{shown:?}");
    place.verify();
}

#[test]
fn what_is_no_retention_is_refused_with_what_is_accepted() {
    let place = Place::new();
    for wrong in ["7", "{ age: 30d, files: 1 }", "{ bytes: many }"] {
        keep(&place, wrong);
        let refused = place.run(&["policy", "lint"]).ends_with_one_of(&[1, 2, 3]);
        let said = refused.to_string();
        assert!(["30d", "count", "MiB"].iter().any(|accepted| said.contains(accepted)), "{said}");
    }
    place.run(&["undo", "--purge", "--last", "1"]).ends(2, "usage");
}

#[test]
fn old_decisions_go_when_an_approver_asks_and_never_those_of_an_open_request() {
    let place = Place::with_policy(&format!("{POLICY}retention: {{ audit: 1ms }}\n"));
    let done = place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    let old = done["decision"]["id"].as_str().unwrap().to_owned();
    let waits = place.run(&["call", "fs.write", "path=ask/a", "content=x"]);
    let waits = waits.ends(4, "approval_required");
    let asked = waits["decision"]["id"].as_str().unwrap().to_owned();
    let count = place.run(&["policy", "prune", "--dry-run"]).done();
    assert_eq!(count["pruned"]["decisions"], 1, "{count}");
    place.run(&["policy", "prune"]).ends(3, "denied");
    place.run_as_approver(&["audit", "hold", "case-1"]).done();
    place.run_as_approver(&["policy", "prune"]).ends(3, "denied");
    place.run(&["policy", "explain", &old]).done();
    place.run_as_approver(&["audit", "release", "case-1"]).done();

    let pruned = place.run_as_approver(&["policy", "prune"]).done();
    assert_eq!(pruned["pruned"]["decisions"], 1, "{pruned}");
    place.run(&["policy", "explain", &asked]).done();
    let trail = place.trail();
    let about = |kind: &str| {
        let found = trail.iter().filter(|event| event["action_name"] == "policy.prune");
        found.filter(|event| event["event_type"] == kind).count()
    };
    let counts = ["action_started", "action_completed", "action_rejected"].map(about);
    assert_eq!(counts, [1, 1, 2]);
    // The trail still says that it was decided.
    assert!(trail.iter().any(|event| event["decision_id"] == old.as_str()));
    place.run(&["undo"]).done();
    place.verify();
}
