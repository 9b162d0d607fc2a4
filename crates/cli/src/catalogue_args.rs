//! The command line of `capability`, `pack` and `facade`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::args::DryRun;

/// What can be done with everything in the catalogue.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Bundle {
    /// Everything of its kind, with its state.
    List,
    /// One in full, with its life.
    Show(Named),
    /// Ask for one to be let in.
    Propose(Propose),
    /// Let a proposal in; an approver does it, and not the one who proposed it.
    Approve(Decide),
    /// Turn a proposal down; an approver does it.
    Reject(Decide),
    /// Take an active one out of use for the time being; an approver does it.
    Freeze(Decide),
    /// Bring a frozen one back into use; an approver does it.
    Unfreeze(Decide),
    /// Give one up for good; an approver does it.
    Deprecate(Decide),
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Capability {
    #[command(flatten)]
    Life(Bundle),
    /// The capabilities of this session as a tool list of a model's API.
    Export {
        /// Whose: openai, anthropic or mcp.
        #[arg(long)]
        format: String,
    },
    /// What belongs to what, as a drawing.
    Graph {
        /// As a Mermaid flowchart (the default).
        #[arg(long, conflicts_with = "dot")]
        mermaid: bool,
        /// As a Graphviz digraph.
        #[arg(long)]
        dot: bool,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum FacadeWish {
    #[command(flatten)]
    Life(Bundle),
    /// Where a text leads, and why.
    Route {
        /// What somebody says.
        text: String,
    },
}

/// One of the catalogue, by its id.
#[derive(Debug, Clone, Args)]
pub(crate) struct Named {
    /// Its id.
    pub(crate) id: String,
    /// Its version, where there are several.
    #[arg(long, value_name = "VERSION")]
    pub(crate) of_version: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Propose {
    /// The file; `-` reads standard input. It is copied into the catalogue's folder unless it
    /// lies there.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

/// A decision of an approver: by token, or at a terminal by typing a code that is shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct Decide {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// The digest of what was looked at: a document that is another one by now is refused.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<String>,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}
