//! What is said between whoever wants a command run and the launcher.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// What is to be run. Its environment may hold secrets, so it is passed by a pipe only.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    /// The file that the program is.
    pub(crate) file: String,
    /// The arguments, the program's own name first.
    pub(crate) argv: Vec<String>,
    /// The folder of the copy that it begins in, if that is not its top.
    pub(crate) cwd: Option<String>,
    /// Variables beside those that every command gets.
    pub(crate) env: BTreeMap<String, String>,
    /// What it reads.
    pub(crate) stdin: String,
    /// Places that it may read and run programs from.
    pub(crate) system: Vec<String>,
    /// The TCP ports that it may connect to.
    pub(crate) ports: Vec<u16>,
    /// Whether all of the sandbox has to be there.
    pub(crate) strict: bool,
    /// Its limits.
    pub(crate) limits: Limits,
}

/// What it may use.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Milliseconds.
    pub(crate) time_ms: u64,
    /// Bytes on each output.
    pub(crate) output: u64,
    /// Bytes of memory, of all processes together.
    pub(crate) memory: u64,
    /// Bytes of a file.
    pub(crate) file: u64,
    /// Processes and threads.
    pub(crate) processes: u64,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// By itself.
    Exited(i32),
    /// By a signal that somebody else sent, or that it earned.
    Signalled(i32),
    /// It took too long, and was killed.
    TimedOut,
    /// It printed too much, and was killed.
    TooMuchOutput,
    /// It used too much memory, and was killed.
    TooMuchMemory,
    /// It started too many processes, and was killed.
    TooManyProcesses,
    /// Nobody wanted it any more, and it was killed.
    Unwanted,
    /// The sandbox is not to be had here; nothing was run.
    NoSandbox(String),
    /// It could not be started.
    NotStarted(String),
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// How it ended.
    pub(crate) end: End,
    /// What it printed, in base64.
    pub(crate) stdout: String,
    /// What it printed on the other output, in base64.
    pub(crate) stderr: String,
    /// What of the sandbox was not to be had.
    pub(crate) missing: Vec<String>,
}

impl Report {
    pub(crate) fn of(end: End) -> Self {
        Self { end, stdout: String::new(), stderr: String::new(), missing: Vec::new() }
    }

    /// Says it to whoever gave the order.
    pub(super) fn say(&self) -> ExitCode {
        let said = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .and_then(|text| std::io::stdout().write_all(&text));
        // Nobody listens: then nobody wants to know.
        if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
