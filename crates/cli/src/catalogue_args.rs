//! The command line of `capability`, `pack` and `facade`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

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
    /// Propose what another description of tools holds: OpenAPI 3, tools of OpenAI or Anthropic, a
    /// Claude skill, a command. Nothing of it runs before an approver lets it in.
    Import(ImportWish),
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

/// Whose description of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum ImportFrom {
    /// An OpenAPI 3 document, one proposal an operation.
    Openapi,
    /// Functions as OpenAI's API takes them.
    Openai,
    /// Tools as Anthropic's API takes them.
    Anthropic,
    /// A folder with a `SKILL.md`, in the workspace.
    ClaudeSkill,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ImportWish {
    /// The file, or the folder of a skill; `-` reads standard input.
    #[arg(value_hint = ValueHint::AnyPath, required_unless_present = "command", requires = "from")]
    pub(crate) file: Option<PathBuf>,
    /// What it is.
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "command")]
    pub(crate) from: Option<ImportFrom>,
    /// The program and its arguments, as they will be given to it: everything to the end of the
    /// line, or to a `;`.
    #[arg(long, value_name = "ARGV", num_args = 1.., value_terminator = ";", allow_hyphen_values = true, conflicts_with = "file")]
    pub(crate) command: Vec<String>,
    /// What the ids begin with.
    #[arg(long, value_name = "WORD", default_value = "imported")]
    pub(crate) namespace: String,
    /// Where requests go, in place of the servers that an OpenAPI document names.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Only these ids; `pets.*` stands for all that begin so. May be given several times.
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) dry: DryRun,
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
