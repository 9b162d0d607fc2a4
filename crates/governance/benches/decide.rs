//! What a decision costs: by files and by rules, and the whole way of a small call.

#![expect(clippy::unwrap_used, reason = "a bench that cannot set itself up may stop")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lictor_capability::{
    Action, CapabilityGraph, CapabilityId, ChangeKind, Contract, Described, Effects, FileMode,
    Item, State,
};
use lictor_context::{Digest, Name, Principal, Session, SystemClock, WorkspacePath};
use lictor_document::Source;
use lictor_governance::{PolicySet, WriteGate};
use serde_json::json;

fn gate(n_rules: usize) -> WriteGate {
    let mut text = "version: 1\ndefault: deny\npaths:\n  forbidden: ['**/.env', '**/*.pem']\n  \
                    protected: ['docs/**']\n  allowed: ['src/**', 'tests/**']\n\
                    risk: {low: allow, medium: allow, high: need_approval}\nrules:\n"
        .to_owned();
    for n in 0..n_rules {
        let when = match n % 4 {
            0 => format!("{{path: 'src/gen{n}/**'}}"),
            1 => "{effect: fs.delete}".to_owned(),
            2 => format!("{{capability: 'payments{n}.*', input: {{amount: {{gte: 1000}}}}}}"),
            _ => format!("{{path: ['**/*.ext{n}', 'lib{n}/*.rs'], user: ann}}"),
        };
        writeln!(text, "  - {{name: r{n}, when: {when}, verdict: need_approval}}").unwrap();
    }
    if n_rules == 0 {
        text.push_str("  []\n");
    }
    let set = PolicySet::workspace(&Source::new("policy.yaml", text.as_bytes())).unwrap();
    WriteGate::new(Arc::new(set), Arc::new(SystemClock))
}

fn contract() -> Arc<Contract> {
    let yaml = json!({
        "id": "fs.write", "version": "1.0.0", "title": "T", "description": "D", "kind": "skill",
        "source": "builtin", "output": {}, "risk": "low",
        "input": { "type": "object", "properties": { "path": { "type": "string" } } },
        "effects": { "fs": { "read": ["**"], "write": ["**"], "delete": ["**"] } },
        "handler": { "builtin": "x" },
    })
    .to_string();
    Arc::new(Contract::from_yaml_lazily(&Source::new("c.yaml", yaml.as_bytes())).unwrap())
}

fn described(effects: Effects) -> Described {
    let contract = contract();
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
    let session = Session::new(principal, &SystemClock);
    let graph = CapabilityGraph::build(&session, [&contract]);
    let id = CapabilityId::parse("fs.write").unwrap();
    let action = Action::new(&session, id, json!({"path": "src/a.rs"}), &SystemClock);
    graph.admit(action).unwrap().describe(effects).unwrap()
}

fn writes(n_files: usize) -> Effects {
    let item = |n: usize| Item {
        kind: ChangeKind::Create,
        from: None,
        to: Some(WorkspacePath::parse(&format!("src/module/file{n}.rs")).unwrap()),
        before: None,
        after: Some(State::File { digest: Digest::of(b"x"), mode: FileMode::FILE, bytes: 1 }),
        content: None,
        implicit: false,
    };
    let mut effects = Effects::default();
    effects.changes.items = (0..n_files).map(item).collect();
    effects
}

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for n_rules in [10, 100, 1000] {
        let gate = gate(n_rules);
        for n_files in [1, 5, 50, 1000] {
            let described = described(writes(n_files));
            let id = BenchmarkId::new(format!("{n_rules} rules"), format!("{n_files} files"));
            group.bench_with_input(id, &described, |b, described| {
                b.iter(|| gate.decide(black_box(described)));
            });
        }
    }
    group.finish();
}

fn small_call(c: &mut Criterion) {
    let gate = gate(0);
    let mut effects = Effects::default();
    effects.reads.push(WorkspacePath::parse("src/a.rs").unwrap());
    let described = described(effects);
    c.bench_function("decide and authorize one read", |b| {
        b.iter(|| {
            let decision = gate.decide(black_box(&described));
            gate.authorize(described.clone(), &decision, None).unwrap()
        });
    });
}

/// Policies in Cedar beside the YAML: each is asked about each effect.
#[cfg(feature = "cedar")]
fn cedar(c: &mut Criterion) {
    use lictor_governance::CedarFiles;
    let yaml = b"version: 1\ndefault: deny\npaths: {allowed: ['src/**']}\n";
    let gate = |n_policies: usize, looks: bool| {
        let mut text = String::new();
        for n in 0..n_policies {
            let when = match (looks, n % 3) {
                (true, _) => {
                    format!("context.input has path && context.input.path like \"lib{n}/*\"")
                }
                (false, 0) => format!("resource.path like \"lib{n}/*\""),
                (false, 1) => "context.effect == \"fs.delete\"".to_owned(),
                (false, _) => format!("resource in Path::\"lib{n}\" && context.riskLevel > 2"),
            };
            writeln!(text, "forbid(principal, action, resource is Path) when {{ {when} }};")
                .unwrap();
        }
        let policies = [Source::new("policies/a.cedar", text.as_bytes())];
        let files = CedarFiles { policies: &policies, roles: None };
        let set = PolicySet::workspace(&Source::new("policy.yaml", yaml)).unwrap();
        let set = set.with_cedar(files, [&*contract()]).unwrap();
        WriteGate::new(Arc::new(set), Arc::new(SystemClock))
    };
    let mut group = c.benchmark_group("cedar");
    for n_policies in [1, 10, 100] {
        let gate = gate(n_policies, false);
        for n_files in [1, 5, 50] {
            let described = described(writes(n_files));
            let id = BenchmarkId::new(format!("{n_policies} policies"), format!("{n_files} files"));
            group.bench_with_input(id, &described, |b, described| {
                b.iter(|| gate.decide(black_box(described)));
            });
        }
    }
    let (gate, described) = (gate(10, true), described(writes(5)));
    group.bench_function("10 policies that look at the input/5 files", |b| {
        b.iter(|| gate.decide(black_box(&described)));
    });
    group.finish();
}

#[cfg(not(feature = "cedar"))]
criterion_group!(benches, decide, small_call);
#[cfg(feature = "cedar")]
criterion_group!(benches, decide, small_call, cedar);
criterion_main!(benches);
