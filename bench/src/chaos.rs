//! Chaos: failures of every kind, and nothing left behind.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use lictor::store::Durability;
use lictor::workflow::{
    Hooks, Purpose, Resume, RollbackStatus, RunRecord, RunStatus, StepCall, StepDone, StepFailure,
    Workflow,
};
use serde_json::{Value, json};

use crate::place::{Place, Places, expected, flow, input};
use crate::random::Random;
use crate::{Failure, kill, say, system};

#[derive(Debug, Clone, Args)]
pub(crate) struct Chaos {
    /// How many workflows.
    #[arg(long, default_value_t = 100)]
    pub(crate) runs: u64,
    /// How many at a time, each in a workspace of its own.
    #[arg(long, default_value_t = 20)]
    pub(crate) concurrency: usize,
    /// How many of them fail, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) inject: f64,
    /// What is drawn from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What fails.
    #[arg(long, value_enum, default_value = "last")]
    pub(crate) mode: Mode,
    /// How often the process is killed, with `--mode kill`.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u64,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The last step.
    Last,
    /// Each step in turn.
    Each,
    /// The undo of what was written: somebody has changed the file.
    Undo,
    /// The compensation.
    Compensation,
    /// The process, at a random moment; another one finishes its runs.
    Kill,
}

/// What of a run fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The step of that number.
    Step(u64),
    Undo,
    Compensation,
}

const STEPS: [&str; 4] = ["now", "render", "write", "hash"];

impl Chaos {
    fn fault(&self, n: u64) -> Fault {
        // Each run draws for itself, so the same ones fail however they are scheduled.
        let mut random = Random::new(self.seed ^ n.wrapping_mul(0x2545_f491_4f6c_dd1d));
        if !random.chance(self.inject) {
            return Fault::Nothing;
        }
        match self.mode {
            Mode::Last | Mode::Kill => Fault::Step(3),
            Mode::Each => Fault::Step(n % 4),
            Mode::Undo => Fault::Undo,
            Mode::Compensation => Fault::Compensation,
        }
    }

    /// What is wrong, and how to see it again.
    pub(crate) fn explain(&self, report: &mut Value, wrong: &[String]) {
        if let Some(report) = report.as_object_mut() {
            report.insert("wrong".to_owned(), json!(wrong));
            report.insert("commit".to_owned(), json!(system::commit()));
            report.insert("again".to_owned(), json!(self.again()));
        }
    }

    /// The command that does it again.
    pub(crate) fn again(&self) -> String {
        let Self { runs, concurrency, inject, seed, rounds, .. } = self;
        let mode = format!("{:?}", self.mode).to_lowercase();
        format!(
            "cargo xtask chaos --runs {runs} --concurrency {concurrency} --inject {inject} \
             --seed {seed} --mode {mode} --rounds {rounds}"
        )
    }
}

/// What was found of the runs of one worker.
#[derive(Debug, Default, Clone)]
struct Found {
    injected: u64,
    rolled_back: u64,
    file_removed: u64,
    completed: u64,
    file_whole: u64,
    stuck_said: u64,
    wrong: Vec<String>,
}

pub(crate) async fn chaos(wish: Chaos) -> Result<bool, Failure> {
    let report = match wish.mode {
        Mode::Kill => kill::measure(&wish).await?,
        _ => measure(&wish).await?,
    };
    say(&report, wish.json);
    Ok(report.get("ok") == Some(&json!(true)))
}

/// Any mode but that which kills.
pub(crate) async fn measure(wish: &Chaos) -> Result<Value, Failure> {
    let scratch = tempfile::tempdir()?;
    let places = Places::open(scratch.path(), Durability::Full)?;
    let workflow = Arc::new(flow(wish.mode == Mode::Compensation)?);
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for n in 0..wish.concurrency {
        let place = places.place(n).await?;
        let (wish, workflow, next) = (wish.clone(), Arc::clone(&workflow), Arc::clone(&next));
        workers.push(tokio::spawn(async move {
            let mut found = Found::default();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= wish.runs {
                    return Ok::<_, Failure>(found);
                }
                one(&wish, &place, &workflow, n, &mut found).await?;
            }
        }));
    }
    let mut all = Found::default();
    for worker in workers {
        let found = worker.await??;
        all.injected += found.injected;
        all.rolled_back += found.rolled_back;
        all.file_removed += found.file_removed;
        all.completed += found.completed;
        all.file_whole += found.file_whole;
        all.stuck_said += found.stuck_said;
        all.wrong.extend(found.wrong);
    }
    let fine = all.wrong.is_empty()
        && all.injected == all.rolled_back
        && all.injected == all.file_removed
        && all.completed == wish.runs - all.injected
        && all.completed == all.file_whole;
    let mut report = json!({
        "runs": wish.runs, "concurrency": wish.concurrency, "inject": wish.inject,
        "seed": wish.seed, "mode": format!("{:?}", wish.mode).to_lowercase(),
        "injected_failures": all.injected, "rolled_back": all.rolled_back,
        "file_removed": all.file_removed, "completed": all.completed,
        "file_whole": all.file_whole, "stuck_said_first": all.stuck_said, "ok": fine,
    });
    if !fine {
        wish.explain(&mut report, &all.wrong);
    }
    Ok(report)
}

async fn one(
    wish: &Chaos,
    place: &Place,
    workflow: &Workflow,
    n: u64,
    found: &mut Found,
) -> Result<(), Failure> {
    let fault = wish.fault(n);
    // A missing file is what really fails the last step; other steps are refused by a hook.
    let missing = matches!(fault, Fault::Step(3) | Fault::Undo | Fault::Compensation);
    let path = place.root.join(format!("out-{n}.txt"));
    let hooks = Arc::new(Injector { fault, path: path.clone() });
    let engine = place.engine(Some(hooks));
    let mut run = engine.run(&place.session, workflow, input(n, missing)).await?;
    if fault == Fault::Nothing {
        found.completed += u64::from(run.status() == RunStatus::Completed);
        found.file_whole += u64::from(place.file(&run).as_deref() == expected(&run));
        return Ok(());
    }
    found.injected += 1;
    if matches!(fault, Fault::Undo | Fault::Compensation) {
        run = repaired(place, run, fault, found).await?;
    }
    let removed = !path.exists();
    found.file_removed += u64::from(removed);
    found.rolled_back += u64::from(run.status() == RunStatus::RolledBack);
    if !removed || run.status() != RunStatus::RolledBack {
        found.wrong.push(format!("run {n}, {fault:?}: {} {:?}", run.run_id, run.rollback));
    }
    Ok(())
}

/// The rollback was kept from its end, and has to say so. Then the cause is repaired.
async fn repaired(
    place: &Place,
    run: RunRecord,
    fault: Fault,
    found: &mut Found,
) -> Result<RunRecord, Failure> {
    let stuck: Vec<&str> = run.rollback.stuck.iter().map(|stuck| stuck.step.as_str()).collect();
    let said = run.status() == RunStatus::Failed
        && run.rollback.status == RollbackStatus::Partial
        && stuck == ["write"];
    let path = run.input.get("path").and_then(Value::as_str).unwrap_or_default();
    let file = place.root.join(path);
    let untouched = match fault {
        Fault::Undo => fs::read_to_string(&file).is_ok_and(|text| text == OTHER),
        _ => true,
    };
    if said && untouched {
        found.stuck_said += 1;
    } else {
        found.wrong.push(format!("{}: {} {:?}", run.run_id, run.status(), run.rollback));
    }
    if fault == Fault::Undo {
        fs::write(&file, expected(&run).unwrap_or_default())?;
    }
    let run = place.engine(None).resume(&run.run_id, Resume::RollBack).await?;
    if fault == Fault::Compensation && !file.with_extension("txt.back").exists() {
        found.wrong.push(format!("{}: its compensation did nothing", run.run_id));
    }
    Ok(run)
}

/// What somebody else has written into the file.
const OTHER: &str = "somebody else was here\n";

struct Injector {
    fault: Fault,
    path: std::path::PathBuf,
}

#[async_trait]
impl Hooks for Injector {
    async fn pre_step(&self, call: &StepCall) -> Result<(), String> {
        let refused = match (self.fault, call.purpose) {
            (Fault::Step(n), Purpose::Step) if n < 3 => {
                usize::try_from(n).ok().and_then(|n| STEPS.get(n)) == Some(&call.step_id.as_str())
            }
            (Fault::Compensation, Purpose::Compensation) => true,
            _ => false,
        };
        if refused { Err("injected".to_owned()) } else { Ok(()) }
    }

    async fn post_step(&self, call: &StepCall, answer: &Result<StepDone, StepFailure>) {
        if self.fault == Fault::Undo && call.step_id == "hash" && answer.is_err() {
            // If it fails, the run will not be stuck, and that is found.
            fs::write(&self.path, OTHER).unwrap_or_default();
        }
    }
}

/// Whether the n-th run is to fail, for whoever runs it in another process.
pub(crate) fn fails(wish: &Chaos, n: u64) -> bool {
    wish.fault(n) != Fault::Nothing
}
