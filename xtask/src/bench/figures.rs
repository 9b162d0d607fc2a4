//! What is measured, what it stands beside, and what was aimed at.

use std::path::Path;

use serde_json::Value;

use super::{Measured, Run, VARIABLE, build};
use crate::process::{self, Ended};
use crate::report::Failure;

/// Something that measures.
pub(super) struct Bench {
    pub(super) package: &'static str,
    pub(super) name: &'static str,
    how: How,
}

/// How something is measured.
enum How {
    /// By one of cargo's benches.
    Cargo,
    /// By one of its groups, which takes a feature.
    Group { feature: &'static str, group: &'static str },
    /// By a program of the workspace, which says what it saw.
    Program(&'static [Said]),
    /// By building it.
    Build,
}

/// One run of such a program.
struct Said {
    id: &'static str,
    arguments: &'static [&'static str],
    /// What of its answer goes into the report, in which unit.
    figures: &'static [(&'static str, &'static str)],
}

const fn cargo(package: &'static str, name: &'static str) -> Bench {
    Bench { package, name, how: How::Cargo }
}

pub(super) const BENCHES: &[Bench] = &[
    cargo("lictor-store", "commit"),
    cargo("lictor-governance", "decide"),
    Bench {
        package: "lictor-governance",
        name: "decide",
        how: How::Group { feature: "cedar", group: "cedar" },
    },
    cargo("lictor-executor", "road"),
    cargo("lictor-capability", "validate"),
    cargo("lictor-capability", "graph"),
    cargo("lictor-audit", "trail"),
    cargo("lictor-audit", "scale"),
    cargo("lictor", "transactions"),
    cargo("lictor-mcp", "relay"),
    Bench {
        package: "lictor-bench",
        name: "load and chaos",
        how: How::Program(&[
            Said {
                id: "load/1",
                arguments: &["load", "--total", "1000", "--concurrency", "1", "--json"],
                figures: OF_LOAD,
            },
            Said {
                id: "load/20",
                arguments: &["load", "--total", "4000", "--concurrency", "20", "--json"],
                figures: OF_LOAD,
            },
            Said {
                id: "load/100",
                arguments: &["load", "--total", "4000", "--concurrency", "100", "--json"],
                figures: OF_LOAD,
            },
            Said {
                id: "chaos",
                arguments: &["chaos", "--runs", "1000", "--inject", "0.5", "--seed", "1", "--json"],
                figures: OF_CHAOS,
            },
        ]),
    },
    Bench { package: "lictor-cli", name: "cold build", how: How::Build },
];

/// What a run of the load program says that goes into the report.
const OF_LOAD: &[(&str, &str)] = &[
    ("per_second", "/s"),
    ("p50_ms", "ms"),
    ("p95_ms", "ms"),
    ("p99_ms", "ms"),
    ("commits_per_workflow", ""),
    ("barriers_per_workflow", ""),
    ("fsyncs_per_workflow", ""),
    ("fsync_awake_ms", "ms"),
    ("fsync_idle_ms", "ms"),
];

const OF_CHAOS: &[(&str, &str)] =
    &[("injected_failures", ""), ("rolled_back", ""), ("file_removed", "")];

impl Bench {
    /// Runs it; gives what it said by itself.
    pub(super) fn measure(
        &self,
        root: &Path,
        figures: &Path,
    ) -> Result<Vec<(String, Measured)>, Failure> {
        match &self.how {
            How::Cargo => self.cargo(root, figures, &[]),
            How::Group { feature, group } => {
                self.cargo(root, figures, &["--features", feature, "--", group])
            }
            How::Program(runs) => {
                let found: Result<Vec<_>, _> =
                    runs.iter().map(|run| self.said(root, run)).collect();
                Ok(found?.concat())
            }
            How::Build => build::measure(root, self.package),
        }
    }

    fn failed(&self) -> Failure {
        Failure::new(format!("the bench {} of {} failed", self.name, self.package))
    }

    fn cargo(
        &self,
        root: &Path,
        figures: &Path,
        more: &[&str],
    ) -> Result<Vec<(String, Measured)>, Failure> {
        let mut args = vec!["bench", "--quiet", "--package", self.package, "--bench", self.name];
        args.extend_from_slice(more);
        let variable = figures.to_string_lossy();
        match process::cargo(root, &args, &[(VARIABLE, &variable)])? {
            Ended::Well => Ok(Vec::new()),
            Ended::Badly => Err(self.failed()),
        }
    }

    fn said(&self, root: &Path, run: &Said) -> Result<Vec<(String, Measured)>, Failure> {
        let mut args = vec!["run", "--quiet", "--release", "--package", self.package, "--"];
        args.extend_from_slice(run.arguments);
        let said = process::cargo_says(root, &args)?.ok_or_else(|| self.failed())?;
        let said: Value = serde_json::from_str(said.trim()).map_err(|_| self.failed())?;
        let figures = run.figures.iter().map(|(key, unit)| {
            let value = said.get(key).and_then(Value::as_f64).ok_or_else(|| self.failed())?;
            Ok((format!("{}/{key}", run.id), Measured::once(value, unit)))
        });
        figures.collect()
    }
}

/// What was aimed at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// The figure itself, in its unit.
    AtMost(f64),
    AtLeast(f64),
    /// The figure in proportion to what it stands beside.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// None was set.
    None,
}

/// One row of the report.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) figure: &'static str,
    /// What it stands beside, from the same run.
    pub(super) beside: Option<(&'static str, &'static str)>,
    pub(super) goal: Goal,
    /// Why a goal is missed when it is, and what would change it.
    pub(super) why: &'static str,
}

const fn row(what: &'static str, figure: &'static str) -> Row {
    Row { what, figure, beside: None, goal: Goal::None, why: "" }
}

impl Row {
    const fn beside(mut self, name: &'static str, figure: &'static str) -> Self {
        self.beside = Some((name, figure));
        self
    }

    const fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    const fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }
}

const THREE_FLUSHES: &str = "Three flushes in a row (two barriers, one commit of the database) are a third to half of it. The rest is the \
    processor's: the inodes of the transaction's folder, the pages of the commit, and changes of threads. A folder made in advance, \
    and fewer indices of events, would save some of it.";
const INODES: &str = "A thousand new inodes are a thousand times what the file system asks for one, and ext4 looks at each that was \
    deleted just now. Plain overwriting makes none, and keeps nothing. Slots without a directory of their own would save some.";
const AS_MUCH: &str = "An undo moves as many files as the apply did and writes a journal as long, so the two differ by what the disk does \
    in between: the ranges overlap. Less work for each file, as under the applies, is what would change both.";
const ONE_COMMITTER: &str = "One thread commits, and it writes the row of each event and its entries in the indices that queries use. Fewer indices, or rows that are smaller, are what would change it; the flush is shared by all and costs little.";
const TWO_CORES: &str = "On two cores what a caller computes bounds them all, long before the disk does. Less work for each action \
    is what would change it, or more cores.";

const TWO_COMMITS: &str = "A call that may change something elsewhere is on record before it is made and after, which is two commits where a line is one, \
    and each is signed. They are two waits for the disk where the line has one: that it begins is durable before it is made, and that it ended before anybody is told. A policy that gives up the first \
    of these for what risks little gives up the second as well (`durability.records: lazy`, the line above); nothing in between is offered.";
const NO_COMMIT: &str = "No commit is left in the way of a call. What is left is spread thin (`docs/trials.md`): everything that the decision was made from is written canonically and hashed, the contract is held twice \
    against its record and its file, the files of policies and the kill switch are looked at anew, messages with what became of a call are read again by the client, and another thread writes the records on the same two processors. To look less often would change \
    it: then what was frozen, edited or halted a moment ago would still be done.";

/// The rows of the report, section by section.
pub(super) const SECTIONS: &[(&str, &[Row])] = &[
    (
        "The road",
        &[
            row("contract, gate, warrant, dispatch and commit of a read-only skill, no disk", "road/whole")
                .goal(Goal::AtMost(10_000.0)),
            row("a durable governed `fs.write` of a new file", "write/ours")
                .beside("a bare file with one fsync", "write/bare")
                .goal(Goal::AtMost(0.6))
                .why(THREE_FLUSHES),
            row("its device flushes", "write/flushes").goal(Goal::AtMost(3.0)),
        ],
    ),
    (
        "Transactions: N modified files of 4 KiB in ten directories",
        &[
            row("apply, N = 1", "files/1/apply")
                .beside("temporary file, fsync, rename, fsync", "files/1/each")
                .goal(Goal::AtMost(0.72))
                .why(THREE_FLUSHES),
            row("apply, N = 10", "files/10/apply").beside("the same", "files/10/each"),
            row("apply, N = 100", "files/100/apply").beside("the same", "files/100/each"),
            row("apply, N = 1000", "files/1000/apply")
                .beside("the same", "files/1000/each")
                .goal(Goal::RatioAtMost(0.2))
                .why(INODES),
            row("apply, N = 1000", "files/1000/apply")
                .beside("plain overwriting, neither whole nor durable", "files/1000/plain")
                .goal(Goal::RatioAtMost(1.0))
                .why(INODES),
            row("apply, N = 1000", "files/1000/apply")
                .beside("`git add -A && git commit` in a tree of 10,000 files", "files/1000/git"),
            row("undo, N = 1", "files/1/undo")
                .beside("apply", "files/1/apply")
                .goal(Goal::RatioAtMost(1.0))
                .why("An undo writes a journal and an event as an apply does; there is nothing to be saved with one file."),
            row("undo, N = 1000", "files/1000/undo")
                .beside("apply", "files/1000/apply")
                .goal(Goal::RatioAtMost(1.0))
                .why(AS_MUCH),
            row("flushes of an apply, N = 1000", "files/1000/flushes")
                .beside("N = 1", "files/1/flushes")
                .goal(Goal::RatioAtMost(1.0)),
            row("apply of 10 files in a tree of 100,000", "tree/100000")
                .beside("of 1,000", "tree/1000")
                .goal(Goal::RatioAtMost(1.2)),
            row("writes a second, 16 callers in 16 workspaces", "crowd/16")
                .beside("one caller", "crowd/1")
                .goal(Goal::RatioAtLeast(6.0))
                .why(TWO_CORES),
            row("a dead holder's lock", "lock").goal(Goal::AtMost(10.0)),
            row("recovery of 10,000 operations", "recovery").goal(Goal::AtMost(2_000.0)),
        ],
    ),
    (
        "Decisions and contracts",
        &[
            row("a decision, 5 files, 100 rules", "decide/100 rules/5 files")
                .goal(Goal::AtMost(10_000.0)),
            row("a decision, 1000 files, 1000 rules", "decide/1000 rules/1000 files")
                .beside("1000 files, 10 rules", "decide/10 rules/1000 files")
                .goal(Goal::RatioAtMost(2.0)),
            row("a decision, 1 file, 1000 rules", "decide/1000 rules/1 files")
                .beside("1 file, 10 rules", "decide/10 rules/1 files"),
            row("a decision with 10 policies in Cedar, 5 files", "cedar/10 policies/5 files")
                .beside("1 policy", "cedar/1 policies/5 files"),
            row(
                "the same, of policies that look at the input",
                "cedar/10 policies that look at the input/5 files",
            ),
            row("checking an input against its schema", "check_input").goal(Goal::AtMost(5_000.0)),
            row("the graph of a session, 10,000 capabilities", "graph_build/10000")
                .beside("1,000", "graph_build/1000"),
            row("looking one up among 10,000", "graph_lookup/10000")
                .beside("among 10", "graph_lookup/10"),
        ],
    ),
    (
        "The store and the trail",
        &[
            row("a commit, one caller", "durable/commit/1")
                .beside("a bare append with fdatasync", "durable/append_fdatasync"),
            row("a commit, one caller", "durable/commit/1")
                .beside("a bare commit of SQLite", "durable/bare_sqlite"),
            row("a commit, 64 callers", "durable/commit/64")
                .beside("a bare commit of SQLite", "durable/bare_sqlite"),
            row("one event inside a transaction", "append/one event inside a transaction"),
            row("one event, durable and guarded", "append/one event, durable and guarded"),
            row("checking 100,000 events in the store", "verify/100k events in the store"),
            row("checking 100,000 events of an export", "verify/100k events of an export"),
            row("handing an event to the logger", "enqueue/one event").goal(Goal::AtMost(5_000.0)),
            row("an event durable, 64 producers (25,000 a second)", "producers/64")
                .beside("a bare append of its bytes with fdatasync", "producers/bare append")
                .goal(Goal::AtMost(40_000.0))
                .why(ONE_COMMITTER),
            row("checking 1,000,000 events in the store", "scale/verify")
                .goal(Goal::AtMost(2_500_000_000.0))
                .why("A third is SHA-256 of what has to be hashed (the event, the chain, the tree), at what the processor's own instructions do; a third is SQLite reading the rows. Pages read through a memory map would save a part of that, and end the process with a signal where the disk cannot be read: a verifier has to say so."),
            row("the proof of one event of 1,000,000", "scale/prove").goal(Goal::AtMost(200_000.0)),
            row("a page of 100 at the end of 1,000,000", "scale/page of 100 at the end")
                .goal(Goal::AtMost(1_000_000.0)),
            row("erasing a person with 100,000 events", "erase/a tenth as many")
                .goal(Goal::AtMost(50_000_000.0)),
            row("looking for secrets in a run of 4 steps that has none", "secrets/a look through a run of 4 steps")
                .beside("writing it as JSON", "secrets/writing a run of 4 steps as JSON"),
            row("the same, of 100 steps", "secrets/a look through a run of 100 steps")
                .beside("writing it as JSON", "secrets/writing a run of 100 steps as JSON"),
            row("looking for names of secrets in a run of 100 steps", "secrets/by name alone, 100 steps")
                .beside("writing it as JSON", "secrets/writing a run of 100 steps as JSON"),
        ],
    ),
    (
        "MCP: a call of `echo` through `mcp wrap`, over the same server",
        &[
            row("the server itself", "mcp/direct"),
            row("policy, pin and trail, records a moment later (`durability.records: lazy`)", "mcp/buffered")
                .beside("a bare relay", "mcp/bare")
                .goal(Goal::RatioAtMost(1.5))
                .why(NO_COMMIT),
            row("the same, each commit flushed", "mcp/durable")
                .beside("a relay that flushes a line for each call", "mcp/synced")
                .goal(Goal::RatioAtMost(1.2))
                .why(TWO_COMMITS),
            row("records a moment later, and 200 tools of the server were let in", "mcp/many")
                .beside("one was", "mcp/buffered"),
        ],
    ),
    (
        "Workflows: `time.now`, `text.render`, `fs.write`, `fs.hash`, every guarantee on",
        &[
            row("throughput, one at a time", "load/1/per_second"),
            row("median, one at a time", "load/1/p50_ms")
                .beside("an append with fdatasync after a pause", "load/1/fsync_idle_ms"),
            row("flushes for each workflow, one at a time", "load/1/fsyncs_per_workflow"),
            row("throughput, 20 at a time", "load/20/per_second")
                .goal(Goal::AtLeast(2_000.0))
                .why(TWO_CORES),
            row("median, 20 at a time", "load/20/p50_ms")
                .beside("an append with fdatasync after another", "load/20/fsync_awake_ms")
                .goal(Goal::AtMost(10.0)).why(TWO_CORES),
            row("95th percentile, 20 at a time", "load/20/p95_ms").goal(Goal::AtMost(25.0)).why(TWO_CORES),
            row("flushes for each workflow, 20 at a time", "load/20/fsyncs_per_workflow"),
            row("throughput, 100 at a time", "load/100/per_second")
                .beside("20 at a time", "load/20/per_second")
                .goal(Goal::RatioAtLeast(0.8)),
            row("99th percentile, 100 at a time", "load/100/p99_ms"),
            row("of 1000 with failures injected: rolled back", "chaos/rolled_back")
                .beside("failures injected", "chaos/injected_failures")
                .goal(Goal::RatioAtLeast(1.0)),
            row("of these: file gone", "chaos/file_removed")
                .beside("failures injected", "chaos/injected_failures")
                .goal(Goal::RatioAtLeast(1.0)),
        ],
    ),
    (
        "Building the command",
        &[
            row("all packages of `Cargo.lock`, those of tests and tools with them", "build/locked"),
            row("packages that the command is built of", "build/packages"),
            row("a release build from nothing", "build/cold").goal(Goal::AtMost(300_000.0)).why(
                "Half of it is our own crates, and nine tenths of that are LLVM's passes: the MCP door with the messages of its protocol, `lictor`, contracts, policies, workflows; of the others, the checker of JSON schemas and SQLite. Bodies of `async` functions that are compiled once and lines that are compared in one crate (decisions 91 and 92) took half of the command's own code away, and moved the other half. Doors that are optimised less would change it, and be slower at reading messages; fewer kinds of documents would too (`docs/trials.md`).",
            ),
            row("the command's file", "build/size"),
        ],
    ),
];

/// What a row names and nothing measured.
pub(super) fn missing(run: &Run) -> Vec<&'static str> {
    let rows = SECTIONS.iter().flat_map(|(_, rows)| rows.iter());
    rows.flat_map(|row| [Some(row.figure), row.beside.map(|(_, figure)| figure)])
        .flatten()
        .filter(|id| !run.figures.contains_key(*id))
        .collect()
}
