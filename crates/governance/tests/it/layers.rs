//! Layers: a lower one may only tighten; and what they set together.

use std::sync::Arc;

use lictor_capability::Risk;
use lictor_document::HumanDuration;
use lictor_governance::{
    Channel, Decision, OnAuditFailure, Policy, PolicyErrorKind, PolicyLayer, PolicySet, Probe,
    Verdict, WriteGate,
};

use PolicyLayer::{Managed, User, Workspace};

use crate::common::{Ask, clock, layered, policies};

fn decide(layers: &[(PolicyLayer, &str)], ask: &Ask) -> Decision {
    WriteGate::new(layered(layers), clock()).decide(&ask.describe())
}

#[track_caller]
fn check(layers: &[(PolicyLayer, &str)], ask: &Ask, expect: Verdict) {
    let decision = decide(layers, ask);
    assert_eq!(decision.verdict(), expect, "{}", decision.explain());
}

#[test]
fn a_lower_layer_never_widens() {
    let strict = (Managed, "version: 1\ndefault: deny\npaths: {allowed: ['src/**']}\n");
    let open = (Workspace, "version: 1\ndefault: allow\npaths: {allowed: ['**']}\n");
    let write = |target: &str| Ask::new("fs.write").write(target);
    check(&[strict, open], &write("src/a"), Verdict::Allow);
    check(&[strict, open], &write("docs/a"), Verdict::Deny);
    check(&[open, strict], &write("docs/a"), Verdict::Deny);
    let closed =
        (Workspace, "version: 1\nrules: [{name: no, when: {effect: fs.write}, verdict: deny}]\n");
    check(&[strict, closed], &write("src/a"), Verdict::Deny);
    let asks = (User, "version: 1\nrisk: {low: need_approval}\n");
    check(&[strict, asks, open], &write("src/a"), Verdict::NeedApproval);
}

#[test]
fn a_layer_without_default_leaves_the_rest_to_others() {
    let managed = (Managed, "version: 1\npaths: {forbidden: ['**/.env']}\n");
    let workspace = (Workspace, "version: 1\ndefault: deny\npaths: {allowed: ['**']}\n");
    check(&[managed, workspace], &Ask::new("fs.write").write("a"), Verdict::Allow);
    check(&[managed, workspace], &Ask::new("fs.write").write("a/.env"), Verdict::Deny);
    check(&[managed], &Ask::new("fs.write").write("a"), Verdict::Deny);
}

#[test]
fn limits_take_the_minimum() {
    let managed = (Managed, "version: 1\nlimits: {max_files: 1, max_step_time: 60s}\n");
    let workspace = (
        Workspace,
        "version: 1\npaths: {allowed: ['**']}\nlimits: {max_files: 9, max_step_time: 5s}\n",
    );
    let ask = Ask::new("fs.write").write("a").write("b");
    let decision = decide(&[managed, workspace], &ask);
    assert_eq!(decision.verdict(), Verdict::Deny);
    let set = layered(&[managed, workspace]);
    assert_eq!(set.settings().limits.max_files, Some(1));
    assert_eq!(set.settings().limits.max_step_time, Some(HumanDuration::from_secs(5)));
}

#[test]
fn changes_are_lazy_only_where_nobody_wants_them_strict() {
    use lictor_governance::ChangeDurability::{Lazy, Strict};
    let lazy = "version: 1\ndurability: {changes: lazy}\n";
    let strict = "version: 1\ndurability: {changes: strict}\n";
    let silent = "version: 1\n";
    let check = |managed, workspace, expect| {
        let set = layered(&[(Managed, managed), (Workspace, workspace)]);
        assert_eq!(set.settings().change_durability, expect, "{managed} {workspace}");
    };
    check(silent, silent, Strict);
    check(silent, lazy, Lazy);
    check(lazy, silent, Lazy);
    check(strict, lazy, Strict);
    check(lazy, strict, Strict);
}

#[test]
fn records_are_lazy_only_where_nobody_wants_them_strict_or_blocks_without_them() {
    use lictor_governance::RecordDurability::{Lazy, Strict};
    let lazy = "version: 1\ndurability: {records: lazy}\naudit: {on_failure: continue}\n";
    let strict = "version: 1\ndurability: {records: strict}\n";
    let blocks = "version: 1\naudit: {on_failure: block}\n";
    let only = "version: 1\ndurability: {records: lazy}\n";
    let silent = "version: 1\n";
    let check = |managed, workspace, expect| {
        let set = layered(&[(Managed, managed), (Workspace, workspace)]);
        assert_eq!(set.settings().record_durability, expect, "{managed} {workspace}");
        let changes = set.settings().change_durability;
        assert_eq!(changes, lictor_governance::ChangeDurability::Strict, "that is another matter");
    };
    check(silent, silent, Strict);
    check(silent, lazy, Lazy);
    check(lazy, silent, Lazy);
    check(strict, lazy, Strict);
    check(lazy, strict, Strict);
    check(blocks, lazy, Strict);
    check(lazy, blocks, Strict);
    check(silent, only, Strict);
}

#[test]
fn settings_come_together() {
    let managed = (
        Managed,
        "version: 1
approvals: {timeout: 5m, channels: {inbox: high}}
verification: {t: {command: [make, test]}}
retention: {undo: 7d}
audit: {on_failure: block, redact: [a]}
budgets: {session: {tokens: 10}}
concurrency: {lock_timeout: 10s}
",
    );
    let workspace = (
        Workspace,
        "version: 1
approvals: {timeout: 9m, requester_may_approve: false, channels: {inbox: critical, token: low}}
verification: {t: {command: ['true']}, u: {command: [u], timeout: 9s}}
retention: {undo: 1d, audit: 1d}
audit: {on_failure: continue, redact: [b]}
budgets: {session: {tokens: 99, cost_usd: 1}}
idempotency: {ttl: 2h}
",
    );
    let set = layered(&[workspace, managed]);
    let settings = set.settings();
    assert_eq!(settings.approvals.timeout, HumanDuration::from_secs(300));
    assert!(!settings.approvals.requester_may_approve);
    assert_eq!(settings.approvals.cap(Channel::Inbox), Risk::High);
    assert_eq!(settings.approvals.cap(Channel::Token), Risk::Low);
    assert_eq!(settings.approvals.cap(Channel::Webhook), Risk::Critical);
    assert_eq!(settings.verification["t"].command, ["make", "test"]);
    assert_eq!(settings.verification["u"].timeout, HumanDuration::from_secs(9));
    assert_eq!(settings.undo_retention.age, Some(HumanDuration::from_secs(7 * 86_400)));
    assert_eq!((settings.undo_retention.count, settings.undo_retention.bytes), (None, None));
    assert_eq!(settings.audit_retention, HumanDuration::from_secs(86_400));
    assert_eq!(settings.audit_on_failure, OnAuditFailure::Block);
    assert_eq!(settings.audit_redact, ["a", "b"]);
    assert_eq!(settings.budgets.session.tokens, Some(10));
    assert_eq!(settings.budgets.session.cost_usd, Some(1.0));
    assert_eq!(settings.lock_timeout, HumanDuration::from_secs(10));
    assert_eq!(settings.idempotency_ttl, HumanDuration::from_secs(7200));
}

#[test]
fn two_files_for_one_layer_are_refused() {
    let read = |layer| {
        let source = lictor_document::Source::new("p.yaml", b"version: 1");
        Policy::from_yaml(layer, &source).unwrap()
    };
    let error = PolicySet::new([read(User), read(User)]).unwrap_err();
    assert!(matches!(error.kind(), PolicyErrorKind::LayerTwice { layer: User }));
    assert_eq!(error.to_string(), "there are two policies for the layer `user`");
}

#[test]
fn the_digest_tells_layers_and_bytes_apart() {
    let text = "version: 1\n";
    let digests = [
        PolicySet::empty().digest(),
        layered(&[(Managed, text)]).digest(),
        layered(&[(Workspace, text)]).digest(),
        layered(&[(Workspace, "version: 1 \n")]).digest(),
        layered(&[(Managed, text), (Workspace, text)]).digest(),
    ];
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "{index}");
    }
    let (one, two) = ([(Managed, text), (User, text)], [(User, text), (Managed, text)]);
    assert_eq!(layered(&one).digest(), layered(&two).digest());
}

#[test]
fn the_example_of_the_formats_loads() {
    let set: Arc<PolicySet> = policies(include_str!("../data/full.yaml"));
    let settings = set.settings();
    assert_eq!(settings.health_checks.len(), 4);
    assert!(matches!(&settings.health_checks[0].probe, Probe::HttpGet { status: 200, .. }));
    assert_eq!(settings.health_checks_for(Risk::Critical).count(), 4);
    assert_eq!(settings.health_checks_for(Risk::Low).count(), 0);
    assert_eq!(settings.frequency[0].capability, ["process.*"]);
    assert_eq!(settings.approvals.cap(Channel::Elicitation), Risk::Medium);
    assert_eq!(settings.limits.max_files, Some(50));
    assert_eq!(settings.budgets.session.cost_usd, Some(5.0));
    let gate = WriteGate::new(set, clock());
    let decide = |ask: Ask| gate.decide(&ask.describe()).verdict();
    assert_eq!(decide(Ask::new("fs.write").write("src/a.rs")), Verdict::Allow);
    assert_eq!(decide(Ask::new("fs.write").write("Cargo.toml")), Verdict::NeedApproval);
    assert_eq!(decide(Ask::new("fs.write").write("other")), Verdict::Deny);
    assert_eq!(decide(Ask::new("time.now")), Verdict::Allow);
}
