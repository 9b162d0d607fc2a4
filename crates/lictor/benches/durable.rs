//! What a governed, durable, reversible change costs, beside the same files written bare.
//!
//! `cargo bench -p lictor` on a real disk; set `LICTOR_BENCH_DIR` to choose it. Figures are the
//! medians of each round, printed with their ratio to the floor of the same round.
#![expect(clippy::disallowed_methods, reason = "the floor is written bare, by the clock")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench may fail loudly")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lictor::capability::{Body, Change, ChangeDocument};
use lictor::context::{Digest, Name, Principal, Session, SystemClock, WorkspacePath};
use lictor::{Agent, Runtime, RuntimeOptions};
use serde_json::json;

const ROUNDS: usize = 60;

fn main() {
    let base = std::env::var_os("LICTOR_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let scratch = tempfile::Builder::new().prefix("lictor-bench").tempdir_in(base).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "medians of {ROUNDS} rounds; floor = the same files, each written and fsynced, in the same round"
    );
    runtime.block_on(one_write(&scratch.path().join("one")));
    for n in [1, 10, 100] {
        runtime.block_on(apply(&scratch.path().join(format!("apply{n}")), n));
    }
    let one = runtime.block_on(at_once(&scratch.path().join("alone"), 1));
    let many = runtime.block_on(at_once(&scratch.path().join("crowd"), 16));
    println!(
        "writes a second: one caller {one:.0}, 16 callers in 16 workspaces {many:.0}, ratio {:.1}",
        many / one
    );
}

/// Writes a second of so many callers, each in a workspace of its own.
async fn at_once(folder: &Path, callers: usize) -> f64 {
    let mut agents = Vec::new();
    for caller in 0..callers {
        agents.push(agent(&folder.join(format!("w{caller}"))).await);
    }
    let began = Instant::now();
    let tasks: Vec<_> = agents
        .into_iter()
        .map(|agent| {
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let input = json!({ "path": format!("f{round}"), "content": "text\n" });
                    let _done = agent.call("fs.write", input).await.expect("written");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (callers * ROUNDS) as f64 / began.elapsed().as_secs_f64()
}

async fn agent(folder: &Path) -> Agent {
    fs::create_dir_all(folder.join(".lictor")).unwrap();
    let policy = "version: 1\ndefault: deny\npaths: { allowed: ['**'], forbidden: ['**/.env'] }\n";
    fs::write(folder.join(".lictor/policy.yaml"), policy).unwrap();
    let keys = folder.parent().unwrap().join("keys");
    let runtime = Runtime::open(RuntimeOptions::new(folder, keys)).await.unwrap();
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("bench"), user: name("ann"), agent: name("a") };
    runtime.agent(&Session::new(principal, &SystemClock))
}

async fn one_write(folder: &Path) {
    let agent = agent(folder).await;
    fs::create_dir_all(folder.join("bare")).unwrap();
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    let mut batches = agent.runtime().store().stats().commits;
    for round in 0..ROUNDS {
        let text = format!("{round}\n").repeat(400);
        floor.push(timed(|| bare(&folder.join(format!("bare/f{round}")), text.as_bytes())));
        let began = Instant::now();
        let input = json!({ "path": format!("f{round}"), "content": text });
        let _done = agent.call("fs.write", input).await.expect("written");
        ours.push(began.elapsed());
    }
    batches = agent.runtime().store().stats().commits - batches;
    report("fs.write of one file", &mut ours, &mut floor);
    println!("  database commits a write: {:.2}", batches as f64 / ROUNDS as f64);
}

async fn apply(folder: &Path, n: usize) {
    let agent = agent(folder).await;
    fs::create_dir_all(folder.join("bare")).unwrap();
    let path = |i: usize| format!("d{}/f{i}", i % 10);
    let mut old = "old line\n".repeat(450);
    for i in 0..n {
        let file = folder.join(path(i));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &old).unwrap();
    }
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let new = format!("line {round}\n").repeat(450);
        let began = Instant::now();
        for i in 0..n {
            bare(&folder.join(format!("bare/r{round}f{i}")), new.as_bytes());
        }
        floor.push(began.elapsed());
        let before = Digest::of(old.as_bytes());
        let changes = (0..n).map(|i| Change::Modify {
            path: WorkspacePath::parse(&path(i)).unwrap(),
            before,
            content: Body::new(new.clone().into_bytes()),
            mode: None,
        });
        let document = ChangeDocument::seal(None, changes.collect()).unwrap();
        let began = Instant::now();
        let action = agent.apply_action(&document).unwrap();
        let _done = agent.act(action, None).await.expect("applied");
        ours.push(began.elapsed());
        old = new;
    }
    report(&format!("apply of {n} modified files of 4 KiB"), &mut ours, &mut floor);
}

fn bare(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn report(what: &str, ours: &mut [Duration], floor: &mut [Duration]) {
    let median = |times: &mut [Duration]| {
        times.sort();
        times.get(times.len() / 2).expect("rounds").as_secs_f64() * 1000.0
    };
    let (ours, floor) = (median(ours), median(floor));
    println!("{what}: {ours:.3} ms, floor {floor:.3} ms, ratio {:.2}", ours / floor);
}
