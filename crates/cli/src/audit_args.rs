//! The command line of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::DryRun;

/// Which events. `--session`, `--user` and `--agent` on the command line narrow them as well; the
/// organisation is always the one that asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Filter {
    /// Events of this type; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Of this action: a capability's id.
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// Of this execution.
    #[arg(long)]
    pub(crate) execution: Option<String>,
    /// Of this workflow run.
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Only what worked (true) or did not (false).
    #[arg(long)]
    pub(crate) success: Option<bool>,
    /// Not before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// Leave out so many at the beginning.
    #[arg(long)]
    pub(crate) offset: Option<u64>,
    /// Those after the event with this `seq`: the last one of the page before.
    #[arg(long, value_name = "SEQ")]
    pub(crate) after: Option<u64>,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The events as they were signed, and the checkpoint beside them. Only this one proves
    /// anything.
    Jsonl,
    /// One CloudEvents 1.0 event a line.
    Cloudevents,
    /// One OCSF 1.6 event a line.
    Ocsf,
    /// One OTLP/JSON logs request.
    Otlp,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Audit {
    /// Events, the oldest first.
    Query(Filter),
    /// The newest events, one a line.
    Tail {
        #[command(flatten)]
        filter: Filter,
        /// Go on with those that come, until interrupted.
        #[arg(long, short)]
        follow: bool,
    },
    /// How many events.
    Count(Filter),
    /// Write the events, one a line, and the signed checkpoint beside them.
    Export {
        /// The file; the checkpoint goes beside it, with `.checkpoint` at the end.
        out: PathBuf,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        #[command(flatten)]
        filter: Filter,
    },
    /// Check the trail: the store, or offline an exported file or the proof of one event.
    Verify {
        /// An exported file.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Its checkpoint [default: beside the file].
        #[arg(long, value_name = "FILE", requires = "file")]
        checkpoint: Option<PathBuf>,
        /// The proof of one event.
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        proof: Option<PathBuf>,
        /// The public key that signed it, or the first one [default: this machine's].
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Be content when only the end is not proven.
        #[arg(long)]
        allow_unproven_end: bool,
    },
    /// The proof that one event is in the log, without the others.
    Prove {
        /// The event's id, or its `seq`.
        event: String,
        /// Where to write it [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Who did what, what was refused, what was undone, what waits.
    Report {
        /// Also as a page of HTML, to be printed.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        #[command(flatten)]
        filter: Filter,
    },
    /// What was sealed in an event. An approver's.
    Reveal {
        /// The event's id, or its `seq`.
        event: String,
    },
    /// Erase what was sealed of a person, whatever copies there are. An approver's.
    Erase {
        /// The person: a user of the organisation that asks.
        #[arg(long, value_name = "USER")]
        subject: String,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Write old events to files, verify these, and remove the events. An approver's.
    Archive {
        /// The file of events; what proves them and what was sealed goes beside it.
        out: PathBuf,
        /// Those before this time (RFC 3339) [default: as long ago as the policy's `retention`].
        #[arg(long, value_name = "TIME")]
        before: Option<String>,
        /// Those before this `seq`.
        #[arg(long, value_name = "SEQ", conflicts_with = "before")]
        until: Option<u64>,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Forbid that anything is removed, until it is released. An approver's.
    Hold {
        /// Its name.
        name: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Lift a hold. An approver's.
    Release {
        /// Its name.
        name: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Sign with a new key from now on. An approver's.
    RotateKey {
        #[command(flatten)]
        dry: DryRun,
    },
}
