//! Fuzzing finds the holes that are there, and none in what is shipped.

use lictor_context::Timestamp;
use lictor_governance::{FuzzReport, PolicyLayer, Preset};

use crate::common::{NOW, layered};

fn fuzz(text: &str) -> FuzzReport {
    let report = layered(&[(PolicyLayer::Workspace, text)]).fuzz(Timestamp::parse(NOW).unwrap());
    assert!(report.witnesses > 0, "nothing was tried");
    assert!(report.attempts > report.witnesses, "nothing was tried in another way");
    report
}

#[test]
fn presets_have_no_way_around_them() {
    for preset in Preset::ALL {
        let report = fuzz(preset.text());
        assert!(report.survivors.is_empty(), "{preset}: {:#?}", report.survivors);
        assert!(report.untested.is_empty(), "{preset}: {:?}", report.untested);
        assert!(report.witnesses >= 10, "{preset}: {}", report.witnesses);
    }
}

#[test]
fn every_way_is_tried_on_a_preset() {
    let ways = fuzz(Preset::CodingAgent.text()).ways;
    for way in [
        "upper case",
        "lower case",
        "mixed case",
        "NFD",
        "NFKD",
        "zero-width",
        "trailing dot",
        "trailing slash",
        "traversal",
        "moved away by a patch",
        "renamed onto",
        "patched",
        "deleted by a patch",
        "unpacked from an archive",
        "through a linked folder",
        "read through a linked folder",
        "linked, then read",
        "moved, then read",
        "copied",
        "mode changed by its other name",
    ] {
        assert!(ways.contains_key(way), "{way}: {ways:?}");
    }
}

#[track_caller]
fn hole(text: &str, rule: &str, mutation: &str) {
    let report = fuzz(text);
    let found = report.survivors.iter().any(|one| one.rule == rule && one.mutation == mutation);
    assert!(found, "`{mutation}` around `{rule}` is not found: {:#?}", report.survivors);
}

#[test]
fn seeded_holes_are_found() {
    // A rule compares letter case, and not every file system does.
    hole(
        "{version: 1, paths: {allowed: ['**']}, rules: [{name: r, when: {path: 'secrets/**'}, verdict: deny}]}",
        "r",
        "upper case",
    );
    // What is moved is read, so a rule about reading stands in the way of moving, too.
    let unread = fuzz(
        "{version: 1, paths: {allowed: ['**']}, rules: [{name: r, when: {effect: fs.read, path: 'secrets/**'}, verdict: deny}]}",
    );
    let moved = unread.survivors.iter().find(|one| one.mutation == "moved, then read");
    assert!(moved.is_none(), "{moved:?}");
    // So does an expression.
    hole(
        "{version: 1, paths: {allowed: ['**']}, rules: [{name: r, when: {path: {matches: '^Secrets/key'}}, verdict: deny}]}",
        "r",
        "lower case",
    );
}

#[test]
fn a_program_is_the_same_by_whatever_folder() {
    let text =
        "{version: 1, default: allow, rules: [{name: r, when: {program: rm}, verdict: deny}]}";
    assert_eq!(fuzz(text).survivors, []);
}

#[test]
fn a_number_is_the_same_in_whatever_type() {
    let text = "{version: 1, default: allow, rules: [{name: r, when: {input: {amount: {gte: 1000}}}, verdict: deny}]}";
    assert_eq!(fuzz(text).survivors, []);
}

#[test]
fn a_forbidden_path_has_no_other_spelling() {
    for glob in ["secrets/**", "**/.env", "*.key", "über/**", "straße/k*s"] {
        let text = format!("{{version: 1, paths: {{forbidden: ['{glob}'], allowed: ['**']}}}}");
        assert_eq!(fuzz(&text).survivors, [], "{glob}");
    }
}

#[test]
fn a_rule_without_a_witness_is_named() {
    let text = "{version: 1, default: allow, rules: [{name: odd, when: {user: {matches: '^[0-9]+$'}}, verdict: deny}]}";
    let report = layered(&[(PolicyLayer::Workspace, text)]).fuzz(Timestamp::parse(NOW).unwrap());
    assert!(report.untested.iter().any(|one| one.contains("odd")), "{:?}", report.untested);
}
