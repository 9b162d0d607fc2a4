//! Who may do what to what: every capability of the catalogue, under the policy that `init
//! --preset coding-agent` writes with two rules more. A capability that is new has to be looked at.

use std::fmt::Write as _;

use lictor::capability::{Contract, EffectKind, Risk};
use lictor::context::Timestamp;
use lictor::document::Source;
use lictor::governance::{DecisionInputs, PolicySet, Preset, Question, Tallies, Tally, Verdict};
use lictor::{Runtime, RuntimeOptions};

const SNAPSHOT: &str = include_str!("../data/matrix.txt");

const PRINCIPALS: [(&str, &str); 3] = [("ann", "planner"), ("bob", "planner"), ("ann", "intern")];

const PATHS: [&str; 4] = ["src/a.rs", ".github/ci.yml", "db/migrations/1.sql", "deploy/.env"];

const MORE: &str = "  - { name: interns-write-nothing, when: { agent: intern, effect: [fs.write, fs.delete] }, verdict: deny }
  - { name: bob-asks-for-deletions, when: { user: bob, effect: fs.delete }, verdict: need_approval }
";

/// The kinds of effect that a contract declares, with the resources that are tried.
fn resources(contract: &Contract) -> Vec<(EffectKind, &'static str)> {
    let ceiling = &contract.effects;
    let mut all = Vec::new();
    for (kind, globs) in [
        (EffectKind::FsRead, &ceiling.fs.read),
        (EffectKind::FsWrite, &ceiling.fs.write),
        (EffectKind::FsDelete, &ceiling.fs.delete),
    ] {
        if !globs.is_empty() {
            all.extend(PATHS.map(|path| (kind, path)));
        }
    }
    if !ceiling.net.is_empty() {
        all.push((EffectKind::Net, "api.example:443"));
    }
    if !ceiling.process.is_empty() {
        all.push((EffectKind::Process, "make"));
    }
    all
}

fn verdict(set: &PolicySet, question: &Question) -> &'static str {
    let now = Timestamp::parse("2026-11-20T10:00:00Z").unwrap();
    // Nothing was used yet, in the one window that the preset looks at.
    let limit = set.settings().frequency.first().unwrap();
    let window = lictor::governance::UsageWindow { scope: limit.scope, per: Some(limit.per) };
    let inputs = DecisionInputs {
        decided_at: now,
        question: question.clone(),
        tallies: Tallies { windows: vec![(window, Tally::default())], problem: None },
        notice: None,
    };
    match inputs.replay(set).verdict {
        Verdict::Allow => "allow",
        Verdict::NeedApproval => "ask",
        Verdict::Deny => "deny",
    }
}

fn matrix(contracts: &[std::sync::Arc<Contract>]) -> String {
    let text = Preset::CodingAgent.text().replace("\nescalate:", &format!("{MORE}\nescalate:"));
    let set = PolicySet::workspace(&Source::new("policy.yaml", text.as_bytes())).unwrap();
    let mut lines: Vec<String> = Vec::new();
    for contract in contracts {
        let mut tried: Vec<Option<(EffectKind, &str)>> =
            resources(contract).into_iter().map(Some).collect();
        if tried.is_empty() {
            tried.push(None);
        }
        for resource in tried {
            let mut line = match resource {
                Some((kind, target)) => format!("{:<18} {kind:<9} {target:<20}", contract.id),
                None => format!("{:<18} {:<9} {:<20}", contract.id, "-", "-"),
            };
            for (user, agent) in PRINCIPALS {
                let base = Question {
                    capability: contract.id.to_string(),
                    kind: contract.kind,
                    source: contract.source.clone(),
                    contract_risk: contract.risk.max(Risk::Low),
                    confirm: contract.confirm,
                    user: user.to_owned(),
                    agent: agent.to_owned(),
                    ..Question::default()
                };
                let question = match resource {
                    Some((kind, target)) => base.doing(kind, target),
                    None => base,
                };
                write!(line, " {user}/{agent}={}", verdict(&set, &question)).unwrap();
            }
            lines.push(line);
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn every_capability_is_in_the_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, keys) = (dir.path().join("workspace"), dir.path().join("keys"));
    std::fs::create_dir_all(workspace.join(".lictor")).unwrap();
    let runtime = Runtime::open(RuntimeOptions::new(workspace, keys)).await.unwrap();
    let found = matrix(&runtime.catalogue().active());
    for contract in runtime.catalogue().active() {
        let named = |line: &str| line.split_whitespace().next() == Some(contract.id.as_str());
        assert!(
            SNAPSHOT.lines().any(named),
            "`{}` is not in the matrix: look at what each line of its says, and put the lines into \
             crates/lictor/tests/data/matrix.txt, which is then:\n{found}",
            contract.id
        );
    }
    let how = "look at each line that changed, and put it into crates/lictor/tests/data/matrix.txt";
    assert_eq!(found, SNAPSHOT, "{how}; the matrix is now:\n{found}");
}
