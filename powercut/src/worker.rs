//! The process that works on the disk while it is recorded: Lictor's runtime, as any program would
//! use it, and somebody else who keeps flushing a file of theirs.
//!
//! It says what it is about to do and what was acknowledged, a JSON object a line, and goes on
//! when it reads a line.
#![expect(clippy::print_stdout, reason = "standard output is how it talks to the recorder")]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use lictor::audit::Filter;
use lictor::context::{Digest, ExecutionId, Hasher, Name, Principal, Session, SystemClock};
use lictor::state::ExecutionFilter;
use lictor::store::Durability;
use lictor::{Agent, OnConflict, Runtime, RuntimeOptions, UndoRequest};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::plan::{self, STEPS, Step};
use crate::random::Random;

/// Whose log everything stands in.
pub(crate) const ORG: &str = "acme";

const POLICY: &str = "version: 1\ndefault: allow\n";

/// What is not flushed before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lazy {
    /// The database's commits.
    pub(crate) database: bool,
    /// What changes do to the workspace: the policy says `durability: { changes: lazy }`.
    pub(crate) changes: bool,
}

impl Lazy {
    /// As the worker is told.
    pub(crate) fn arguments(self) -> impl Iterator<Item = &'static str> {
        let database = self.database.then_some("--lazy");
        database.into_iter().chain(self.changes.then_some("--lazy-changes"))
    }

    /// For people.
    pub(crate) fn named(self) -> &'static str {
        match (self.database, self.changes) {
            (false, false) => "",
            (true, false) => ", lazy database",
            (false, true) => ", lazy changes",
            (true, true) => ", lazy database and changes",
        }
    }

    fn policy(self) -> String {
        let changes = if self.changes { "durability: { changes: lazy }\n" } else { "" };
        format!("{POLICY}{changes}")
    }
}

/// Where things lie on the disk under test.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) workspace: PathBuf,
    pub(crate) keys: PathBuf,
    pub(crate) others: PathBuf,
}

impl Places {
    pub(crate) fn on(mounted: &Path) -> Self {
        let place = |name| mounted.join(name);
        Self { workspace: place("ws"), keys: place("keys"), others: place("others") }
    }

    pub(crate) fn options(&self, lazy: Lazy) -> RuntimeOptions {
        let mut options = RuntimeOptions::new(&self.workspace, &self.keys);
        options.durability = if lazy.database { Durability::Normal } else { Durability::Full };
        options
    }
}

/// What stands in the trail and in the index of executions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// How many events there are.
    pub(crate) events: usize,
    /// A digest over their lines.
    pub(crate) trail: String,
    /// The executions that stand and could be undone, the newest first.
    pub(crate) standing: Vec<ExecutionId>,
}

impl Recorded {
    /// What a runtime has on record; of its trail, the first `events` if that many are wanted.
    pub(crate) fn read(runtime: &Runtime, events: Option<usize>) -> Result<Self, Failure> {
        let filter = Filter { limit: events.map(|n| n as u64), ..Filter::default() };
        let found = runtime.audit().query(&Name::parse(ORG)?, &filter)?;
        let mut hasher = Hasher::new();
        for event in &found {
            hasher.update_framed(&event.bytes);
        }
        let digest: Digest = hasher.finish();
        let filter = ExecutionFilter { undoable: true, ..ExecutionFilter::default() };
        let standing = runtime.executions().list(&filter)?;
        Ok(Self {
            events: found.len(),
            trail: digest.hex(),
            standing: standing.into_iter().map(|stored| stored.record.execution_id).collect(),
        })
    }
}

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// What has to be there is there, and nothing is on the log yet.
    Ready(Recorded),
    /// A step begins.
    Begun,
    /// It was acknowledged, or the recovery was.
    Acknowledged(Recorded),
    /// That was all.
    Over,
}

/// A session like any other.
pub(crate) fn agent(runtime: &Runtime) -> Result<Agent, Failure> {
    let principal = Principal {
        org: Name::parse(ORG)?,
        user: Name::parse("ann")?,
        agent: Name::parse("planner")?,
    };
    Ok(runtime.agent(&Session::new(principal, &SystemClock)))
}

/// Does everything there is to do on a mounted disk.
pub(crate) async fn work(mounted: &Path, seed: u64, lazy: Lazy) -> Result<(), Failure> {
    let places = Places::on(mounted);
    for folder in [&places.workspace.join(".lictor"), &places.keys, &places.others] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    plan::make_tree(&places.workspace, seed)?;
    let policy = places.workspace.join(".lictor/policy.yaml");
    File::create_new(policy)?.write_all(lazy.policy().as_bytes())?;
    let recorded = {
        let runtime = Runtime::open(places.options(lazy)).await?;
        Recorded::read(&runtime, None)?
    };
    say(&Said::Ready(recorded))?;
    let others = Others::begin(&places.others, seed)?;
    let runtime = Runtime::open(places.options(lazy)).await?;
    let agent = agent(&runtime)?;
    for step in STEPS {
        say(&Said::Begun)?;
        do_step(&agent, step, seed).await.map_err(|error| error.context(&format!("{step:?}")))?;
        say(&Said::Acknowledged(Recorded::read(&runtime, None)?))?;
    }
    others.end()?;
    drop((agent, runtime));
    say(&Said::Over)
}

/// Only opens the runtime on a mounted disk, and so recovers.
pub(crate) async fn recover(mounted: &Path, lazy: Lazy) -> Result<(), Failure> {
    say(&Said::Ready(Recorded::default()))?;
    let runtime = Runtime::open(Places::on(mounted).options(lazy)).await?;
    say(&Said::Acknowledged(Recorded::read(&runtime, None)?))?;
    drop(runtime);
    say(&Said::Over)
}

async fn do_step(agent: &Agent, step: Step, seed: u64) -> Result<(), Failure> {
    match step {
        Step::Apply(which) => {
            let action = agent.apply_action(&plan::document(which, seed)?)?;
            let done = agent.act(action, None).await?;
            if done.duplicate {
                return Err(Failure::new("it was taken for a duplicate"));
            }
        }
        Step::Undo => {
            let last = agent.to_undo(&UndoRequest::Last(1))?;
            agent.undo(&last, OnConflict::Refuse, None).await?;
        }
        Step::Redo => {
            let last = agent.to_redo(None)?;
            agent.undo(&[last], OnConflict::Refuse, None).await?;
        }
    }
    Ok(())
}

fn say(said: &Said) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(said)?);
    let mut answer = String::new();
    if std::io::stdin().lock().read_line(&mut answer)? == 0 {
        return Err(Failure::new("nobody listens"));
    }
    Ok(())
}

/// Somebody else on the same disk: their flushes make the file system write down what it has,
/// Lictor's half-done work included.
struct Others {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(), Failure>>,
}

/// How busy they are. Each of these hides another mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Business {
    /// Nothing reaches the disk but by Lictor, and by the file system itself.
    Calm,
    /// A file is flushed, again and again.
    Saving,
    /// The same, and now and then everything is flushed.
    Syncing,
}

impl Others {
    fn begin(folder: &Path, seed: u64) -> Result<Self, Failure> {
        let mut random = Random::new(seed ^ 0x07e4);
        let business = match random.below(4) {
            0 => Business::Calm,
            1 => Business::Saving,
            _ => Business::Syncing,
        };
        let mut file = OpenOptions::new().create(true).append(true).open(folder.join("notes"))?;
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if business == Business::Calm {
                    pause(2000);
                    continue;
                }
                let length = 1 + random.below(3000);
                file.write_all(&random.bytes(length))?;
                if business == Business::Syncing && random.percent(40) {
                    rustix::fs::syncfs(&file)?;
                } else {
                    file.sync_all()?;
                }
                // Mostly at once: the sooner, the more often it comes into the middle of something.
                if random.percent(30) {
                    pause(random.below(2000));
                }
            }
            Ok(())
        });
        Ok(Self { over, thread })
    }

    fn end(self) -> Result<(), Failure> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the other writer panicked"))?
    }
}

#[expect(clippy::disallowed_methods, reason = "a person who saves now and then")]
fn pause(micros: usize) {
    sleep(Duration::from_micros(micros as u64));
}
