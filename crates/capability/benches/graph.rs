//! The graph of a session: made for so many capabilities, asked for one of them, and an input held
//! against what it says.
#![expect(clippy::expect_used, reason = "a benchmark may fail loudly")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lictor_capability::{CapabilityGraph, CapabilityId, Contract};
use lictor_context::{Name, Principal, Session, SystemClock};
use lictor_document::Source;

fn id(n: usize) -> String {
    format!("desk_{}.area_{}.verb_{n}", n % 7, n % 53)
}

fn contracts(n: usize) -> Vec<Arc<Contract>> {
    let contract = |n| {
        let text = format!(
            "id: {}\nversion: 1.0.0\ntitle: T\ndescription: D\nkind: tool\nsource: local\n\
             input: {{ type: object }}\noutput: {{}}\nrisk: low\nhandler: {{ builtin: b }}\n",
            id(n)
        );
        let source = Source::new("c.yaml", text.as_bytes());
        Arc::new(Contract::from_yaml_lazily(&source).expect("a contract"))
    };
    (0..n).map(contract).collect()
}

fn session() -> Session {
    let name = |text| Name::parse(text).expect("a name");
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
    Session::new(principal, &SystemClock)
}

fn graph(c: &mut Criterion) {
    let session = session();
    let mut build = c.benchmark_group("graph_build");
    let sizes = [10, 1000, 10_000].map(|n| (n, contracts(n)));
    for (n, contracts) in &sizes {
        build.throughput(Throughput::Elements(*n as u64));
        build.bench_with_input(BenchmarkId::from_parameter(n), contracts, |b, contracts| {
            b.iter(|| CapabilityGraph::build(black_box(&session), contracts));
        });
    }
    build.finish();
    let mut lookup = c.benchmark_group("graph_lookup");
    for (n, contracts) in &sizes {
        let graph = CapabilityGraph::build(&session, contracts);
        let wanted = CapabilityId::parse(&id(n / 2)).expect("an id");
        lookup.bench_with_input(BenchmarkId::from_parameter(n), &wanted, |b, wanted| {
            b.iter(|| graph.get(black_box(wanted), None).expect("there"));
        });
    }
    lookup.finish();
}

criterion_group!(benches, graph);
criterion_main!(benches);
