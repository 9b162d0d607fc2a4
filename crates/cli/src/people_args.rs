//! The command line of what people decide: approvals, grants, halts, approvers.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{DryRun, Id};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Approvals {
    /// What waits for an answer.
    List {
        /// Also what is settled.
        #[arg(long)]
        all: bool,
    },
    /// One of them, with everything that is agreed to.
    Show(Id),
    /// Agree: by token, or at a terminal by typing a code that is shown.
    Approve(Approve),
    /// Refuse: by token, or at a terminal by typing a code that is shown.
    Deny(Answer),
    /// Withdraw a request: what was asked for is not wanted any more.
    Cancel(Answer),
    /// Take an answer that the service of a webhook signed, from a file or `-`.
    Answer {
        /// The signed answer: `{"answer": {...}, "signature": "..."}`.
        file: PathBuf,
        #[command(flatten)]
        dry: DryRun,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    pub(crate) answer: Answer,
    /// Agree in advance as well to what is like it: the same capability and principal, the same
    /// kinds of effect, no higher risk, under the policies as they are now.
    #[arg(long, requires = "until")]
    pub(crate) grant: bool,
    /// A glob that every path has to fit; may be given several times. It begins with a folder or a
    /// file, not with a wildcard.
    #[arg(long, value_name = "GLOB", requires = "grant")]
    pub(crate) paths: Vec<String>,
    /// How long the grant holds, `1h` for example; 30 days at most.
    #[arg(long, value_name = "DURATION", requires = "grant")]
    pub(crate) until: Option<String>,
    /// How often the grant may be used [default: as often as there is time].
    #[arg(long, value_name = "N", requires = "grant")]
    pub(crate) uses: Option<u32>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Grants {
    /// What was agreed to in advance.
    List {
        /// Also what has ended.
        #[arg(long)]
        all: bool,
    },
    /// Take one back; anybody may.
    Revoke {
        /// The grant.
        id: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Halt {
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Resume {
    /// The halt; the only one in force when not given.
    pub(crate) id: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Answer {
    /// The approval.
    pub(crate) id: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Approvers {
    /// Enrol somebody; an approver does it. Their token is shown once.
    Add {
        /// Their name; the name of their user.
        name: String,
        /// A role of theirs; may be given several times.
        #[arg(long)]
        role: Vec<String>,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Set your PIN: at a terminal you are asked for it from then on, beside the code.
    ///
    /// Takes your token, or the PIN that you have. Whoever gets it wrong five times waits.
    Pin(DryRun),
    /// Who is or was an approver.
    List,
    /// Strike somebody off; an approver does it.
    Revoke {
        /// Their name.
        name: String,
        #[command(flatten)]
        dry: DryRun,
    },
}
