//! Soak: load, chaos, kills and undo beside each other for as long as is asked, and a look at what
//! grows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum as _};
use lictor::OnConflict;
use lictor::context::{ExecutionId, Name};
use lictor::store::Durability;
use lictor::workflow::{RunStatus, Workflow};
use serde_json::{Value, json};

use crate::chaos::{self, Chaos, Mode};
use crate::place::{Place, Places, expected, flow, input};
use crate::random::Random;
use crate::{Failure, kill, say, system};

/// Workspaces that one process keeps open all the time.
const WORKSPACES: usize = 4;
/// What each of them does in a cycle.
const STEPS: u64 = 50;
/// What may be open more than after the first cycle: what a pool has opened meanwhile.
const MORE_OPEN: u64 = 8;
/// What may be resident more than after the first cycle, in KiB.
const MORE_KIB: u64 = 64 * 1024;

#[derive(Debug, Clone, Args)]
pub(crate) struct Soak {
    /// For how long; the cycle that has begun is finished.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// What is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

/// One workspace, with what has to be in it.
struct Worker {
    place: Place,
    random: Random,
    n: u64,
    /// By file: what it held when its run completed, and the execution to undo next.
    files: BTreeMap<String, File>,
    told: Told,
}

struct File {
    content: String,
    there: bool,
    last: ExecutionId,
}

/// What was done.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    completed: u64,
    rolled_back: u64,
    undone: u64,
    redone: u64,
}

pub(crate) async fn soak(wish: Soak) -> Result<bool, Failure> {
    let scratch = tempfile::tempdir()?;
    let places = Places::open(scratch.path(), Durability::Full)?;
    let workflow = Arc::new(flow(false)?);
    let mut workers = Vec::new();
    for n in 0..WORKSPACES {
        let random = Random::new(wish.seed.wrapping_add(n as u64));
        let place = places.place(n).await?;
        let (files, told) = (BTreeMap::new(), Told::default());
        workers.push(Worker { place, random, n: 0, files, told });
    }
    let begun = Instant::now();
    let end = Duration::from_secs_f64(wish.minutes.max(0.0) * 60.0);
    let (mut samples, mut wrong, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut cycle = 0;
    while cycle == 0 || begun.elapsed() < end {
        let (chaotic, killing) = (chaotic(&wish, cycle), killing(&wish, cycle));
        let (back, failed, killed) = tokio::join!(
            steady(workers, &workflow),
            chaos::measure(&chaotic),
            kill::measure(&killing),
        );
        workers = back?;
        for report in [failed?, killed?] {
            if report.get("ok") != Some(&json!(true)) {
                wrong.push(format!("cycle {cycle}: {report}"));
            }
            others.push(report);
        }
        for worker in &workers {
            wrong.extend(worker.look().into_iter().map(|it| format!("cycle {cycle}: {it}")));
        }
        let Some(first) = workers.first() else { break };
        let found = first.place.runtime.audit().verify_store(&Name::parse("bench")?)?;
        if !found.verdict.is_proven() {
            wrong.push(format!("cycle {cycle}: the trail is {}", found.verdict));
        }
        let mut sample = system::taken();
        if let Some(sample) = sample.as_object_mut() {
            sample.insert("disk_kib".to_owned(), json!(disk(scratch.path())? / 1024));
            sample.insert("events".to_owned(), json!(found.events));
            sample.insert("seconds".to_owned(), json!(begun.elapsed().as_secs()));
        }
        if !wish.json {
            say(&json!({ "cycle": cycle, "taken": sample }), false);
        }
        samples.push(sample);
        cycle += 1;
    }
    wrong.extend(grown(&samples));
    let ok = wrong.is_empty();
    let report = json!({
        "minutes": begun.elapsed().as_secs_f64() / 60.0, "seed": wish.seed, "cycles": cycle,
        "steady": told(&workers), "chaos": sum(&others, "runs"), "kills": sum(&others, "kills"),
        "taken_over": sum(&others, "taken_over"), "first": samples.first(), "last": samples.last(),
        "wrong": wrong, "ok": ok, "commit": system::commit(),
        "again": format!("cargo xtask soak --minutes {} --seed {}", wish.minutes, wish.seed),
    });
    say(&report, wish.json);
    Ok(ok)
}

/// Another kind of failure in each cycle, and another seed.
fn chaotic(wish: &Soak, cycle: u64) -> Chaos {
    let modes: Vec<Mode> =
        Mode::value_variants().iter().copied().filter(|mode| *mode != Mode::Kill).collect();
    let mode = usize::try_from(cycle).ok().and_then(|n| modes.get(n % modes.len()));
    Chaos {
        runs: 60,
        concurrency: 4,
        inject: 0.5,
        seed: wish.seed.wrapping_add(cycle),
        mode: mode.copied().unwrap_or(Mode::Last),
        rounds: 1,
        json: true,
    }
}

fn killing(wish: &Soak, cycle: u64) -> Chaos {
    Chaos { mode: Mode::Kill, ..chaotic(wish, cycle) }
}

/// All workers at once, each until it has done its share.
async fn steady(workers: Vec<Worker>, workflow: &Arc<Workflow>) -> Result<Vec<Worker>, Failure> {
    let tasks: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            let workflow = Arc::clone(workflow);
            tokio::spawn(async move {
                for _ in 0..STEPS {
                    worker.step(&workflow).await?;
                }
                Ok::<_, Failure>(worker)
            })
        })
        .collect();
    let mut back = Vec::new();
    for task in tasks {
        back.push(task.await??);
    }
    Ok(back)
}

impl Worker {
    /// A run, or an undo or a redo of an earlier one beside it.
    async fn step(&mut self, workflow: &Workflow) -> Result<(), Failure> {
        let fails = self.random.chance(0.25);
        self.n += 1;
        let engine = self.place.engine(None);
        let run = engine.run(&self.place.session, workflow, input(self.n, fails));
        if self.files.is_empty() || self.random.chance(0.5) {
            let run = run.await?;
            return self.ended(&run);
        }
        let at = usize::try_from(self.random.below(self.files.len() as u64))?;
        let Some((name, last)) =
            self.files.iter().nth(at).map(|(name, file)| (name.clone(), file.last.clone()))
        else {
            return Ok(());
        };
        let agent = self.place.runtime.agent(&self.place.session);
        let wanted = [last];
        // Both want the lock of the same workspace.
        let (run, undone) = tokio::join!(run, agent.undo(&wanted, OnConflict::Refuse, None));
        self.ended(&run?)?;
        let undone = undone?;
        let (Some(file), Some(execution)) =
            (self.files.get_mut(&name), undone.executions.into_iter().next())
        else {
            return Err(format!("{name}: the undo names no execution").into());
        };
        file.there = !file.there;
        file.last = execution;
        *if file.there { &mut self.told.redone } else { &mut self.told.undone } += 1;
        Ok(())
    }

    fn ended(&mut self, run: &lictor::workflow::RunRecord) -> Result<(), Failure> {
        match run.status() {
            RunStatus::RolledBack => self.told.rolled_back += 1,
            RunStatus::Completed => {
                let wrote = run.step("write").and_then(|step| step.attempts.last());
                let last = wrote.and_then(|attempt| attempt.execution_id.clone());
                let content = expected(run).unwrap_or_default().to_owned();
                let name = run.input.get("path").and_then(Value::as_str).unwrap_or_default();
                let last = last.ok_or("a run that wrote names no execution")?;
                self.files.insert(name.to_owned(), File { content, there: true, last });
                self.told.completed += 1;
            }
            other => return Err(format!("{} is {other}: {:?}", run.run_id, run.error).into()),
        }
        Ok(())
    }

    /// What the workspace holds and should not, and the other way round.
    fn look(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, file) in &self.files {
            let found = fs::read_to_string(self.place.root.join(name)).ok();
            if found.as_ref() != file.there.then_some(&file.content) {
                wrong.push(format!("{name} holds {found:?}, undone: {}", !file.there));
            }
        }
        let entries = fs::read_dir(&self.place.root).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != ".lictor" && !self.files.get(&name).is_some_and(|file| file.there) {
                wrong.push(format!("{name} is left"));
            }
        }
        wrong
    }
}

/// What is open or resident more at the end than after the first cycle, and should not be.
fn grown(samples: &[Value]) -> Vec<String> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let bounds = [("handles", MORE_OPEN), ("threads", MORE_OPEN), ("rss_kib", MORE_KIB)];
    let mut grown = Vec::new();
    for (what, more) in bounds {
        let of = |sample: &Value| sample.get(what).and_then(Value::as_u64).unwrap_or(u64::MAX);
        if of(last) > of(first).saturating_add(more) {
            grown.push(format!("{what} grew from {} to {}", of(first), of(last)));
        }
    }
    grown
}

fn told(workers: &[Worker]) -> Value {
    let of = |part: fn(&Told) -> u64| workers.iter().map(|it| part(&it.told)).sum::<u64>();
    json!({
        "workspaces": workers.len(), "completed": of(|it| it.completed),
        "rolled_back": of(|it| it.rolled_back), "undone": of(|it| it.undone),
        "redone": of(|it| it.redone),
    })
}

fn sum(reports: &[Value], key: &str) -> u64 {
    reports.iter().filter_map(|report| report.get(key).and_then(Value::as_u64)).sum()
}

/// What a folder takes on the disk, in bytes.
fn disk(folder: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What goes away meanwhile takes nothing.
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        total += if meta.is_dir() { disk(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(total)
}
