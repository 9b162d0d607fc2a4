//! What is promised to be quick: an input, a change set and a diff held against what is there.
#![expect(clippy::expect_used, reason = "a benchmark may fail loudly")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lictor_capability::{
    Body, Change, Contract, Entry, EntryKind, Listed, UnifiedDiff, ViewError, ViewErrorKind,
    WorkspaceView, resolve,
};
use lictor_context::{Digest, WorkspacePath};
use lictor_document::{Limits, Source};
use serde_json::json;

/// Files in memory; no directories but those that the paths name.
struct Files(HashMap<WorkspacePath, Vec<u8>>);

impl Files {
    fn get(&self, path: &WorkspacePath) -> Result<&Vec<u8>, ViewError> {
        self.0.get(path).ok_or_else(|| ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }
}

impl WorkspaceView for Files {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        Ok(self.0.get(path).map(|bytes| Entry {
            kind: EntryKind::File,
            mode: 0o644,
            size: bytes.len() as u64,
            links: 1,
        }))
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        self.get(path).map(|bytes| Digest::of(bytes))
    }

    fn read(&self, path: &WorkspacePath, _max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        self.get(path).cloned()
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }

    fn list(&self, _dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        Ok(Vec::new())
    }
}

const CONTRACT: &str = r#"id: fs.write
version: 1.0.0
title: Write a text file
description: Create or replace one UTF-8 file in the workspace.
kind: skill
source: builtin
input:
  type: object
  required: [path, content]
  additionalProperties: false
  properties:
    path: { type: string, minLength: 1, maxLength: 4096 }
    content: { type: string }
    mode: { type: string, pattern: "^[0-7]{4}$" }
    tags: { type: array, items: { type: string }, maxItems: 16 }
output: { type: object }
risk: medium
handler: { builtin: fs.write }
"#;

/// About 4 KiB of lines.
fn content(n: usize) -> String {
    (0..100).fold(String::new(), |mut text, line| {
        writeln!(text, "file {n}, line {line}: the quick brown fox jumps").expect("a string");
        text
    })
}

fn path(n: usize) -> WorkspacePath {
    WorkspacePath::parse(&format!("src/module_{}/file_{n}.rs", n % 20)).expect("a path")
}

fn check_input(c: &mut Criterion) {
    let contract = Contract::from_yaml(&Source::new("c.yaml", CONTRACT.as_bytes())).expect("one");
    let input = json!({
        "path": "src/date.rs", "content": content(1), "mode": "0644", "tags": ["a", "b"]
    });
    c.bench_function("check_input", |b| b.iter(|| contract.check_input(black_box(&input))));
}

fn resolve_modifies(c: &mut Criterion) {
    let mut group = c.benchmark_group("resolve_modified_files");
    for n in [1, 100, 1000] {
        let files = Files((0..n).map(|n| (path(n), content(n).into_bytes())).collect());
        let changes: Vec<Change> = (0..n)
            .map(|n| Change::Modify {
                path: path(n),
                before: Digest::of(content(n).as_bytes()),
                content: Body::new(content(n).replace("line 50", "row 50").into_bytes()),
                mode: None,
            })
            .collect();
        group.throughput(Throughput::Elements(n as u64));
        group.bench_with_input(BenchmarkId::from_parameter(n), &changes, |b, changes| {
            b.iter(|| resolve(black_box(changes), &files).expect("no contradiction"));
        });
    }
    group.finish();
}

fn diff(c: &mut Criterion) {
    let mut files = HashMap::new();
    let mut text = String::new();
    let mut n = 0;
    while text.len() < 1_000_000 {
        let old = content(n);
        write!(
            text,
            "diff --git a/{0} b/{0}\n--- a/{0}\n+++ b/{0}\n@@ -1,100 +1,100 @@\n",
            path(n)
        )
        .expect("a string");
        for (idx, line) in old.lines().enumerate() {
            match idx % 10 {
                5 => writeln!(text, "-{line}\n+changed {line}"),
                _ => writeln!(text, " {line}"),
            }
            .expect("a string");
        }
        files.insert(path(n), old.into_bytes());
        n += 1;
    }
    let files = Files(files);
    let source = Source::new("a.diff", text.as_bytes());
    let limits = Limits::default().with_max_bytes(8 << 20);
    let parse = || UnifiedDiff::parse(black_box(&source), &limits).expect("a diff");
    let mut group = c.benchmark_group("unified_diff_1mb");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |b| b.iter(parse));
    group.bench_function("parse_and_match", |b| {
        b.iter(|| parse().into_changes(&files).expect("changes"));
    });
    group.finish();
}

criterion_group!(benches, check_input, resolve_modifies, diff);
criterion_main!(benches);
