//! The command line, as it is parsed and as help, completions and man pages show it.

use std::path::PathBuf;

pub(crate) use crate::audit_args::{Audit, Filter};
use crate::catalogue_args::{Bundle, Capability, FacadeWish};
#[cfg(feature = "mcp")]
pub(crate) use crate::mcp_args::Mcp;
pub(crate) use crate::people_args::{Answer, Approvals, Approve, Approvers, Grants, Halt, Resume};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueHint};

/// Judges, executes, verifies, records what an AI agent wants done, and takes it back.
#[derive(Debug, Parser)]
#[command(name = "lictor", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The workspace [default: the nearest folder upwards with `.lictor`, else this one].
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) workspace: Option<PathBuf>,
    /// The folder of the database, if not `.lictor` in the workspace; the first use pins it.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Print one JSON object, and nothing else, on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but what was asked for.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say more about what happens, on standard error; twice or thrice for more.
    #[arg(short, long = "verbose", global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No colours.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// The organisation that asks.
    #[arg(long, global = true, env = "LICTOR_ORG", default_value = "local")]
    pub(crate) org: String,
    /// The user who asks [default: the user of the operating system].
    #[arg(long, global = true, env = "LICTOR_USER")]
    pub(crate) user: Option<String>,
    /// The agent that asks.
    #[arg(long, global = true, env = "LICTOR_AGENT", default_value = "cli")]
    pub(crate) agent: String,
    /// The session that asks [default: a new one].
    #[arg(long, global = true, env = "LICTOR_SESSION")]
    pub(crate) session: Option<String>,
    /// What asking for it has cost, in US dollars: it counts against budgets.
    #[arg(long, global = true, value_name = "USD", env = "LICTOR_SPENT_USD")]
    pub(crate) spent_usd: Option<f64>,
    /// The model tokens that asking for it has taken: they count against budgets.
    #[arg(long, global = true, value_name = "N", env = "LICTOR_SPENT_TOKENS")]
    pub(crate) spent_tokens: Option<u64>,
    /// A file with an approver's token; LICTOR_APPROVER_TOKEN holds the token itself.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// Which of `session`, `user` and `agent` stood on the command line: for verbs that look
    /// back, such a flag says whose history, not who asks.
    #[arg(skip)]
    pub(crate) given: GivenIdentity,
}

/// Which flags stood on the command line, and not only in the environment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GivenIdentity {
    pub(crate) org: bool,
    pub(crate) session: bool,
    pub(crate) user: bool,
    pub(crate) agent: bool,
    /// Whether the environment or the command line names the agent.
    #[cfg_attr(not(feature = "mcp"), expect(dead_code, reason = "only the MCP door asks"))]
    pub(crate) agent_named: bool,
}

impl Cli {
    /// Parses the command line.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut deepest = &matches;
        while let Some((_, inner)) = deepest.subcommand() {
            deepest = inner;
        }
        let given = |id| deepest.value_source(id) == Some(ValueSource::CommandLine);
        cli.global.given = GivenIdentity {
            org: given("org"),
            session: given("session"),
            user: given("user"),
            agent: given("agent"),
            agent_named: deepest.value_source("agent") != Some(ValueSource::DefaultValue),
        };
        Ok(cli)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make this folder a workspace: a policy, a place for capabilities, the first approver.
    Init(Init),
    /// Judge and apply a plan with its change set (JSON), or a unified diff.
    Apply(Apply),
    /// Make change sets.
    #[command(subcommand)]
    Change(Change),
    /// Only judge: the decision for the same arguments as `apply`, `call` and `run`.
    #[command(subcommand)]
    Check(Check),
    /// One governed call of a capability.
    Call(Call),
    /// Put in place what a command changed in its copy, once people have agreed to it.
    Land(Land),
    /// Run a workflow to its end, or to a pause.
    Run(Run),
    /// Put files back as they were before an execution; by default the last.
    Undo(Undo),
    /// Take an undo back; by default the last.
    Redo(Redo),
    /// What was done, the newest first.
    Log(Log),
    /// One execution, decision, approval or run in full.
    Show(Id),
    /// As a unified diff: what an execution, a decision or a run changed, or what an approval is about.
    Diff(Id),
    /// What people are asked.
    #[command(subcommand)]
    Approvals(Approvals),
    /// What people agreed to in advance; `lictor approvals approve ID --grant` gives one.
    #[command(subcommand)]
    Grants(Grants),
    /// Who may approve.
    #[command(subcommand)]
    Approvers(Approvers),
    /// The kill switch: from now on nothing new begins, and what waits is withdrawn.
    ///
    /// `--org`, `--user`, `--agent` and `--session` on the command line say for whom; for everybody
    /// when none is given. What is being done just now comes to its end.
    Halt(Halt),
    /// Lift a halt; an approver does it, by token, or at a terminal by typing a code that is shown.
    Resume(Resume),
    /// What can be asked for.
    #[command(subcommand)]
    Capability(Capability),
    /// What is let in and frozen together.
    #[command(subcommand)]
    Pack(Bundle),
    /// What leads from what somebody says to a workflow or a pack.
    #[command(subcommand)]
    Facade(FacadeWish),
    /// The rules.
    #[command(subcommand)]
    Policy(Policy),
    /// The workflow runs of this workspace.
    #[command(subcommand)]
    Workflow(Workflow),
    /// Finish or put back whatever a crash left; every start does it, too.
    Recover(DryRun),
    /// Who holds the workspace.
    #[command(subcommand)]
    Lock(Lock),
    /// The trail.
    #[command(subcommand)]
    Audit(Audit),
    /// Between a model and its tools: the Model Context Protocol.
    #[cfg(feature = "mcp")]
    #[command(subcommand)]
    Mcp(Mcp),
    /// What is set up here, what is enforced, what is missing.
    Doctor,
    /// See it work: a scratch repository, a real patch, a failing workflow, an undo, the trail.
    Demo(Demo),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder.
    #[command(hide = true)]
    Man {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DryRun {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Init {
    /// The policy to begin with: coding-agent, docs-only, read-only, ops [default: one that
    /// allows files and nothing else].
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<lictor::governance::Preset>,
    /// Bind the workspace to the database in `--state-dir`; an approver of the present one does it.
    #[arg(long, requires = "state_dir")]
    pub(crate) rebind: bool,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

/// A document with changes, and what is said of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Proposal {
    /// The plan with its change set (JSON), or a unified diff; `-` reads standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// A plan (JSON) for changes that come without one.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,
    /// What the changes are for, for changes that come without a plan.
    #[arg(long, value_name = "TEXT")]
    pub(crate) intent: Option<String>,
    /// The risk that is proposed, for changes that come without a plan: low, medium, high or
    /// critical.
    #[arg(long, value_name = "RISK")]
    pub(crate) risk: Option<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Approve at once what the policy asks approval for: by token, or at a terminal by typing a
    /// code that is shown.
    #[arg(long)]
    pub(crate) approve: bool,
}

/// What was approved before.
#[derive(Debug, Clone, Args)]
pub(crate) struct Under {
    /// Do what was approved under this id, byte for byte, or nothing.
    ///
    /// Whatever differs from it is refused with exit code 6, where otherwise people would be asked
    /// anew.
    #[arg(long, value_name = "APPROVAL")]
    pub(crate) approval: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) proposal: Proposal,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) under: Under,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Change {
    /// Fill ids and checksum into a bare change set.
    Seal(Proposal),
    /// Turn a unified diff into a sealed change set.
    FromDiff(Proposal),
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Check {
    /// As `lictor apply`.
    Apply(Proposal),
    /// As `lictor call`.
    Call(Input),
    /// As `lictor run`.
    Run(RunInput),
}

/// A capability and its input.
#[derive(Debug, Clone, Args)]
pub(crate) struct Input {
    /// The capability, `fs.read` for example.
    pub(crate) capability: String,
    /// Its input, key by key: KEY=VALUE takes the value as JSON where it is, else as text;
    /// KEY:=VALUE takes it as JSON, KEY=@FILE takes a file's text.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) pairs: Vec<String>,
    /// Its input as one JSON object; `-` reads standard input.
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// The versions that would do, `^1.2` for example.
    #[arg(long, value_name = "RANGE")]
    pub(crate) version_range: Option<String>,
    /// The risk that is proposed.
    #[arg(long, value_name = "RISK")]
    pub(crate) risk: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) under: Under,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Land {
    /// The execution of the command.
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) under: Under,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

/// A workflow and its input.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunInput {
    /// The workflow; `-` reads standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Its input as one JSON object.
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) input: RunInput,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Undo {
    /// The execution or the workflow run.
    ///
    /// With `--session ID` and none of this: every execution of that session.
    #[arg(value_name = "EXECUTION|RUN", conflicts_with = "last")]
    pub(crate) id: Option<String>,
    /// The last so many executions.
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<u32>,
    /// Undo nothing, and remove the undo records that the policy (`retention.undo`) does not keep.
    ///
    /// What they would have undone cannot be undone any more. With --dry-run: only name them.
    #[arg(long, conflicts_with_all = ["id", "last", "keep_both", "merge", "diff"])]
    pub(crate) purge: bool,
    #[command(flatten)]
    pub(crate) way: UndoWay,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

/// What to do where somebody has changed a file since. Without any of it, nothing at all is done
/// then, and every such file is named.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct UndoWay {
    /// Leave files that were changed since where they are, and put the old content beside them.
    ///
    /// As NAME.lictor-EXECUTION. This is an execution like any other and can be undone.
    #[arg(long, conflicts_with = "merge")]
    pub(crate) keep_both: bool,
    /// Merge text files that were changed since, line by line, or do nothing where that is not clean.
    #[arg(long)]
    pub(crate) merge: bool,
    /// Show as a unified diff what would be done, and do nothing.
    #[arg(long)]
    pub(crate) diff: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Redo {
    /// The undo, or the execution that was undone.
    #[arg(value_name = "EXECUTION")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) way: UndoWay,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Log {
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// Those that touched this path, or something below it.
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// Those as well that changed nothing, and that nobody was asked about.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Id {
    /// The id.
    pub(crate) id: String,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Policy {
    /// Check the policies of all layers, or a file: self-tests, and what is probably not meant.
    Lint {
        /// A policy file, YAML or `.cedar`; the policies in force when not given.
        file: Option<PathBuf>,
        /// Fail when there is a warning.
        #[arg(long)]
        strict: bool,
    },
    /// Run the `match` and `not_match` examples, and the cases of `*.policy-test.yaml` files.
    Test {
        /// A policy file; the policies in force when not given.
        file: Option<PathBuf>,
        /// A file of cases; may be repeated [default: `.lictor/*.policy-test.yaml`].
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        cases: Vec<PathBuf>,
    },
    /// Look for ways around the rules: other spellings, moves, links, patches, archives.
    Fuzz {
        /// A policy file; the policies in force when not given.
        file: Option<PathBuf>,
    },
    /// Explain a decision rule by rule, and prove it: the policies of then, the same question.
    Explain {
        /// The decision.
        decision: String,
    },
    /// Past decisions that another policy would make otherwise.
    Diff {
        /// The policy file that is compared with, in the place of `.lictor/policy.yaml`; or a
        /// folder with `policy.yaml` and `policies/`, in the place of `.lictor`.
        old: PathBuf,
        /// The new policy file or folder.
        new: PathBuf,
        /// What both are held against.
        #[arg(long, value_enum, default_value_t = Against::Log)]
        against: Against,
        /// Only decisions since then (RFC 3339).
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Remove decisions older than `retention.audit`, and counts that nothing counts; an approver does
    /// it. Nothing goes that an open request is about, and nothing at all while the trail is held.
    Prune(DryRun),
    /// The policies in force and what they set together.
    Show,
    /// The schema that policies in Cedar are held against, made of the catalogue.
    Schema,
}

/// What policies are held against.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Against {
    /// Every decision on record.
    Log,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Workflow {
    /// The newest runs.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// One run in full.
    Show(Id),
    /// Let a run wait until it is resumed; one under way stops after the steps that it is at.
    Pause {
        /// The run.
        id: String,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Go on with a paused run, or with the rollback of one that is stuck.
    Resume {
        /// The run.
        id: String,
        /// Try again to take back what is stuck.
        #[arg(long)]
        rollback: bool,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Stop a run and take back what it did.
    Cancel {
        /// The run.
        id: String,
        /// Leave what it did.
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        dry: DryRun,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Lock {
    /// Who holds it, or held it last.
    Status,
    /// Break the lock of a holder that is gone; with --force, of any.
    Break {
        /// The execution that holds it, as `lock status` shows it; who holds it by then, when not
        /// given.
        execution: Option<String>,
        /// Also when the holder is alive.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        dry: DryRun,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// The folder of the scratch repository; it must not exist [default: a new one among the
    /// temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
