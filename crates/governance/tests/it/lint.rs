//! Remarks about policies: what is said and probably not meant.

use lictor_governance::{LintFinding, PolicyLayer, Preset};

use crate::common::layered;

fn lint(text: &str) -> Vec<LintFinding> {
    layered(&[(PolicyLayer::Workspace, text)]).lint(&[])
}

#[track_caller]
fn check(text: &str, code: &str, rule: &str, says: &str) {
    let found = lint(text);
    let hit =
        found.iter().any(|one| one.code == code && one.rule == rule && one.message.contains(says));
    assert!(hit, "{found:#?}");
    for one in &found {
        assert!(one.place.starts_with("policy.yaml:"), "{one:?}");
    }
}

fn rule(when: &str, verdict: &str) -> String {
    format!("{{version: 1, rules: [{{name: r, when: {when}, verdict: {verdict}}}]}}")
}

#[test]
fn rules_that_never_change_a_verdict() {
    check(
        "{version: 1, paths: {forbidden: ['secrets/**']}, rules: [{name: r, when: {path: 'secrets/a/*'}, verdict: allow}]}",
        "unreachable",
        "r",
        "is forbidden",
    );
    check(
        "{version: 1, paths: {forbidden: ['**/.env'], allowed: ['deploy/.env']}}",
        "unreachable",
        "paths.allowed",
        "has no effect",
    );
    check(
        "{version: 1, rules: [{name: a, when: {user: ann}, verdict: deny}, {name: r, when: {user: ann}, verdict: allow}]}",
        "unreachable",
        "r",
        "`a` has the same condition and says deny",
    );
    check(&rule("{risk: {gt: critical}}", "deny"), "unreachable", "r", "no risk");
    check(&rule("{lines: {gt: 5, lt: 6}}", "deny"), "unreachable", "r", "no number of lines");
    check(&rule("{files: {lt: 0}}", "deny"), "unreachable", "r", "no number of files");
}

#[test]
fn globs_that_match_everything_or_nothing() {
    check(
        "{version: 1, paths: {allowed: ['**']}}",
        "matches_everything",
        "paths.allowed",
        "every path",
    );
    check(
        "{version: 1, paths: {forbidden: ['**']}}",
        "matches_everything",
        "paths.forbidden",
        "forbidden",
    );
    check(&rule("{capability: '*'}", "allow"), "matches_everything", "r", "allows everything");
    check("{version: 1, paths: {allowed: ['a./b']}}", "matches_nothing", "paths.allowed", "a./b");
    let set = layered(&[(
        PolicyLayer::Workspace,
        "{version: 1, paths: {allowed: ['src/**', 'gone/**']}}",
    )]);
    let found = set.lint(&["src/main.rs".to_owned()]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].message.contains("gone/**"));
}

#[test]
fn allowing_more_than_is_meant() {
    check(
        "{version: 1, paths: {allowed: ['src**']}}",
        "broader_than_meant",
        "paths.allowed",
        "plain `*`",
    );
    check(
        "{version: 1, paths: {allowed: ['src*/**']}}",
        "broader_than_meant",
        "paths.allowed",
        "src-anything",
    );
    check(&rule("{capability: 'fs*'}", "allow"), "broader_than_meant", "r", "end it with `.*`");
    check(&rule("{host: '*example.com'}", "allow"), "broader_than_meant", "r", "evilexample.com");
    check(&rule("{user: {matches: 'ann'}}", "allow"), "broader_than_meant", "r", "not anchored");
    // What denies may be broad.
    assert_eq!(lint(&rule("{host: '*example.com'}", "deny")), []);
}

#[test]
fn layers_that_contradict_each_other() {
    let managed = "{version: 1, default: deny, limits: {max_files: 5}, paths: {forbidden: ['ops/**']}, risk: {high: deny}}";
    let workspace = "{version: 1, default: allow, limits: {max_files: 9}, paths: {allowed: ['ops/x']}, risk: {high: allow}}";
    let set = layered(&[(PolicyLayer::Managed, managed), (PolicyLayer::Workspace, workspace)]);
    let found = set.lint(&[]);
    for rule in ["default", "limits.max_files", "paths.allowed", "risk"] {
        let hit = found.iter().any(|one| one.rule == rule && one.code == "layer_conflict");
        assert!(hit, "{rule}: {found:#?}");
    }
}

#[test]
fn presets_hold_nothing_that_is_not_meant() {
    for preset in Preset::ALL {
        let warned: Vec<_> = lint(preset.text())
            .into_iter()
            .filter(|one| one.level == lictor_governance::LintLevel::Warning)
            .collect();
        assert_eq!(warned, [], "{preset}");
    }
}
