//! Cuts the power under Lictor's transactions: records every write and flush that reaches a disk
//! while Lictor works on it, rebuilds the disk as each power cut would leave it, and looks whether
//! what comes up is old or new, and never a mixture.

mod again;
mod cuts;
mod disk;
mod failure;
mod judge;
mod plan;
mod random;
mod recording;
mod report;
mod server;
mod system;
mod tree;
mod worker;

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::cuts::{Cut, Wanted};
use crate::disk::Entry;
use crate::failure::Failure;
use crate::judge::{Found, Judge};
use crate::random::Random;
use crate::recording::{Recording, Scratch};
use crate::report::Report;
use crate::worker::Lazy;

const WRONG: u8 = 1;
const FAILED: u8 = 2;
/// This machine lacks something; nothing was tested.
const MISSING: u8 = 3;

/// The power-cut test of Lictor's transactions. Needs root, FUSE and loop devices.
#[derive(Debug, Parser)]
#[command(name = "lictor-powercut", version)]
struct Options {
    /// The file system.
    #[arg(long, value_enum, default_value = "ext4")]
    fs: system::Kind,
    /// How many disks to judge.
    #[arg(long, default_value_t = 5000)]
    states: u64,
    /// What everything random follows from; another one each time when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// At most so many of one recording; all of its prefixes when not given. Fewer means more
    /// recordings, and so more ways in which things happen to come together.
    #[arg(long)]
    per_recording: Option<u64>,
    /// Do not flush the database at each commit: the last events may be lost then, and that is
    /// counted, but no failure.
    #[arg(long)]
    lazy: bool,
    /// Acknowledge changes behind their first barrier (`durability: { changes: lazy }`). Nothing may
    /// be lost by that: the next start does what the disk had not got.
    #[arg(long)]
    lazy_changes: bool,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// In one state of so many, undo what stands after the recovery. 0 is never.
    #[arg(long, default_value_t = 8)]
    undo_every: u64,
    /// So many times in each recording, cut the power again while the recovery is at work.
    #[arg(long, default_value_t = 2)]
    again: u32,
    /// Keep the first few disks that were judged wrong in this folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// This process has a mount namespace of its own, and this empty folder.
    #[arg(long, hide = true, value_name = "FOLDER")]
    inside: Option<PathBuf>,
    /// Be the process that works on the disk which is mounted there.
    #[arg(long, hide = true, value_name = "FOLDER")]
    work: Option<PathBuf>,
    /// That process only recovers.
    #[arg(long, hide = true)]
    recover: bool,
}

impl Options {
    fn lazy(&self) -> Lazy {
        Lazy { database: self.lazy, changes: self.lazy_changes }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say_aside(&format!("lictor-powercut: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: &Options) -> Result<u8, Failure> {
    let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
    if let Some(mounted) = &options.work {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if options.recover {
            tokio.block_on(worker::recover(mounted, options.lazy()))?;
        } else {
            tokio.block_on(worker::work(mounted, seed, options.lazy()))?;
        }
        return Ok(0);
    }
    if let Some(folder) = &options.inside {
        return test(options, seed, folder);
    }
    let missing = system::missing(options.fs);
    if !missing.is_empty() {
        say_aside("skipped: nothing was tested, because this machine lacks");
        missing.iter().for_each(|what| say_aside(&format!("  {what}")));
        if options.json {
            say(&serde_json::json!({ "skipped": missing }).to_string());
        }
        return Ok(MISSING);
    }
    let folder = tempfile::Builder::new().prefix("lictor-powercut-").tempdir()?;
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    arguments.extend(["--inside".into(), folder.path().into()]);
    if options.seed.is_none() {
        arguments.extend(["--seed".into(), seed.to_string().into()]);
    }
    let status = system::run_apart(&arguments)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// Records and judges, until there are enough states.
fn test(options: &Options, seed: u64, folder: &Path) -> Result<u8, Failure> {
    let scratch = Scratch::make(folder)?;
    let mut run = Run {
        options,
        judge: Judge { kind: options.fs, scratch: &scratch, lazy: options.lazy() },
        report: Report::new(options.fs.name(), seed, options.lazy()),
        random: Random::new(seed),
        kept: 0,
        began: now(),
    };
    while run.report.states() < options.states {
        run.record()?;
    }
    let Run { mut report, began, .. } = run;
    report.ended(began.elapsed().as_secs_f64());
    scratch.remove()?;
    if options.json {
        say(&serde_json::to_string(&report)?);
    } else {
        say(&report.table());
    }
    Ok(if report.is_clean() { 0 } else { WRONG })
}

struct Run<'a> {
    options: &'a Options,
    judge: Judge<'a>,
    report: Report,
    random: Random,
    kept: u32,
    began: Instant,
}

impl Run<'_> {
    /// One recording, and everything that is cut out of it.
    fn record(&mut self) -> Result<(), Failure> {
        let Options { fs, states, undo_every, .. } = *self.options;
        let lazy = self.options.lazy();
        let recording = Recording::make(fs, self.judge.scratch, self.random.next(), lazy)?;
        let count = |wanted: fn(&Entry) -> bool| recording.log.iter().filter(|e| wanted(e)).count();
        let writes = count(|entry| matches!(entry, Entry::Write(_)));
        self.report.recorded(writes, count(|entry| matches!(entry, Entry::Flush)));
        let left = states - self.report.states();
        let left = self.options.per_recording.map_or(left, |most| left.min(most.max(1)));
        let wanted = wanted(&recording, left);
        let mut draw = self.random.clone();
        let mut again = 0;
        cuts::cut(&recording.base, &recording.log, wanted, &mut draw, |cut| {
            let undo = undo_every > 0 && self.report.states().is_multiple_of(undo_every);
            let found = self.judge.judge(&recording, &cut, undo)?;
            self.count(&cut, &found, false)?;
            // What was half published is worth most; now and then something else.
            let recovers = found.wrong.is_empty() && !found.recoveries.is_empty();
            let worth = found.mixed_before || self.random.percent(1);
            if recovers && worth && again < self.options.again && self.report.states() < states {
                again += 1;
                let mut draw = self.random.clone();
                let judge = self.judge;
                again::cut_again(&judge, &recording, &cut, &mut draw, |cut, found| {
                    self.count(cut, found, true)
                })?;
            }
            Ok::<_, Failure>(())
        })
    }

    fn count(&mut self, cut: &Cut, found: &Found, again: bool) -> Result<(), Failure> {
        let failed = self.report.add(cut, found, again);
        let (fs, states) = (self.options.fs.name(), self.report.states());
        if let Some(folder) = self.options.keep.as_deref().filter(|_| failed && self.kept < 8) {
            self.kept += 1;
            keep(folder, &format!("{fs}-{states}.img"), cut)?;
        }
        if states.is_multiple_of(500) {
            let seconds = self.began.elapsed().as_secs_f64();
            say_aside(&format!("{fs} {states} states, {seconds:.0} s"));
        }
        Ok(())
    }
}

/// As many random states as prefixes; of one recording, no more prefixes than there are.
fn wanted(recording: &Recording, left: u64) -> Wanted {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let prefixes = cuts::moments(&recording.log).min(left.div_ceil(2));
    Wanted { prefixes, random: prefixes.min(left - prefixes) }
}

/// The disk as the power left it.
fn keep(folder: &Path, name: &str, cut: &Cut) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).create(folder)?;
    cut.image.put_into(&File::create(folder.join(name))?)
}

#[expect(clippy::disallowed_methods, reason = "how long it took is told, and decides nothing")]
fn now() -> Instant {
    Instant::now()
}

fn say(text: &str) {
    // Whoever closed the pipe does not want to know.
    writeln!(std::io::stdout(), "{text}").unwrap_or_default();
}

fn say_aside(text: &str) {
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}
