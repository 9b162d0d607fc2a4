//! Chaos: the process is killed, and another one finishes its runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use lictor::store::Durability;
use lictor::workflow::{RunRecord, RunStatus};
use serde_json::{Value, json};

use crate::Failure;
use crate::chaos::{Chaos, fails};
use crate::place::{Place, Places, expected, flow, input};
use crate::random::Random;

#[derive(Debug, Clone, Args)]
pub(crate) struct Child {
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    chaos: Chaos,
}

/// Runs workflows until it is killed, and says when each has ended.
pub(crate) async fn child(wish: Child) -> Result<bool, Failure> {
    let places = Places::open(&wish.dir, Durability::Full)?;
    let workflow = Arc::new(flow(false)?);
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for n in 0..wish.chaos.concurrency {
        let place = places.place(n).await?;
        let (chaos, workflow, next) =
            (wish.chaos.clone(), Arc::clone(&workflow), Arc::clone(&next));
        workers.push(tokio::spawn(async move {
            let engine = place.engine(None);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= chaos.runs {
                    return Ok::<_, Failure>(());
                }
                let run = engine.run(&place.session, &workflow, input(n, fails(&chaos, n))).await?;
                writeln!(std::io::stdout(), "{n} {}", run.status())?;
            }
        }));
    }
    for worker in workers {
        worker.await??;
    }
    Ok(true)
}

/// What was found after all kills.
#[derive(Debug, Default)]
struct Found {
    acknowledged: u64,
    taken_over: u64,
    completed: u64,
    rolled_back: u64,
    wrong: Vec<String>,
}

pub(crate) async fn measure(wish: &Chaos) -> Result<Value, Failure> {
    let mut random = Random::new(wish.seed);
    let mut found = Found::default();
    for round in 0..wish.rounds {
        let scratch = tempfile::tempdir()?;
        let after = random.below(wish.runs.max(2) / 2);
        let said = killed(wish, scratch.path(), after)?;
        found.acknowledged += said.len() as u64;
        let before = found.wrong.len();
        look(wish, scratch.path(), &said, &mut found).await?;
        for wrong in found.wrong.iter_mut().skip(before) {
            *wrong = format!("round {round}: {wrong}");
        }
    }
    let fine = found.wrong.is_empty();
    let mut report = json!({
        "runs": wish.runs, "concurrency": wish.concurrency, "inject": wish.inject,
        "seed": wish.seed, "mode": "kill", "kills": wish.rounds,
        "acknowledged": found.acknowledged, "taken_over": found.taken_over,
        "completed": found.completed, "rolled_back": found.rolled_back, "ok": fine,
    });
    if !fine {
        wish.explain(&mut report, &found.wrong);
    }
    Ok(report)
}

/// Starts a process that runs workflows, and kills it after so many have ended. What it said until
/// then.
fn killed(wish: &Chaos, folder: &Path, after: u64) -> Result<Vec<(u64, String)>, Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .arg("--dir")
        .arg(folder)
        .args(["--runs", &wish.runs.to_string(), "--seed", &wish.seed.to_string()])
        .args(["--concurrency", &wish.concurrency.to_string()])
        .args(["--inject", &wish.inject.to_string(), "--mode", "kill"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while said.len() as u64 <= after
            && let Some(line) = lines.next()
        {
            said.extend(parse(&line?));
        }
        child.kill()?;
        // What it had said already counts as well.
        for line in lines {
            said.extend(parse(&line?));
        }
    }
    child.wait()?;
    Ok(said)
}

fn parse(line: &str) -> Option<(u64, String)> {
    let (n, status) = line.split_once(' ')?;
    Some((n.parse().ok()?, status.to_owned()))
}

/// Another process finishes the runs; then files and runs have to agree.
async fn look(
    wish: &Chaos,
    folder: &Path,
    said: &[(u64, String)],
    found: &mut Found,
) -> Result<(), Failure> {
    let places = Places::open(folder, Durability::Full)?;
    let mut open = Vec::new();
    for n in 0..wish.concurrency {
        let place = places.place(n).await?;
        for (run_id, outcome) in place.engine(None).recover(8).await? {
            found.taken_over += 1;
            if let Err(error) = outcome {
                found.wrong.push(format!("{run_id} was not taken over: {error}"));
            }
        }
        open.push(place);
    }
    let Some(first) = open.first() else { return Ok(()) };
    let mut whole: BTreeSet<u64> = BTreeSet::new();
    let mut back: BTreeSet<u64> = BTreeSet::new();
    for record in first.runtime.runs().list(u32::MAX)? {
        let run: RunRecord = serde_json::from_value(record)?;
        let n = run.input.get("n").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let (kept, expect) = match run.status() {
            RunStatus::Completed => (&mut whole, !fails(wish, n)),
            RunStatus::RolledBack => (&mut back, fails(wish, n)),
            other => {
                found.wrong.push(format!("run {n} {} is {other}: {:?}", run.run_id, run.rollback));
                continue;
            }
        };
        if !expect || !kept.insert(n) {
            found.wrong.push(format!("run {n} {} is {}", run.run_id, run.status()));
        }
        agree(&open, &run, n, found);
    }
    for (n, status) in said {
        let kept = if status == "completed" { &whole } else { &back };
        if !kept.contains(n) {
            found.wrong.push(format!("run {n} was said to be {status}, and is not"));
        }
    }
    found.completed += whole.len() as u64;
    found.rolled_back += back.len() as u64;
    for place in &open {
        for entry in fs::read_dir(&place.root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let n = name.strip_prefix("out-").and_then(|it| it.strip_suffix(".txt"));
            if let Some(n) = n
                && !n.parse().is_ok_and(|n| whole.contains(&n))
            {
                found.wrong.push(format!("{name} is left of a run that did not complete"));
            }
        }
    }
    Ok(())
}

fn agree(open: &[Place], run: &RunRecord, n: u64, found: &mut Found) {
    let files: Vec<String> = open.iter().filter_map(|place| place.file(run)).collect();
    let right = match run.status() {
        RunStatus::Completed => {
            files.len() == 1 && files.first().map(String::as_str) == expected(run)
        }
        _ => files.is_empty(),
    };
    if !right {
        found.wrong.push(format!("run {n} is {}, and the files are {files:?}", run.status()));
    }
}
