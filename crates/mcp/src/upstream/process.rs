//! The program behind a server: in a process group of its own, and ended with all that it started.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

/// How long it may take to end by itself when its input ends.
const GRACE: Duration = Duration::from_secs(2);
/// How long it may take to end when it is told to.
const TOLD: Duration = Duration::from_secs(2);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// So much of what it says beside the protocol is kept for messages.
const KEPT: usize = 2048;

/// What is started, and with what.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) cwd: PathBuf,
    /// All that it gets of an environment.
    pub(super) env: BTreeMap<String, OsString>,
}

/// A program that runs. It does not outlive this.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
    said: Said,
}

/// The end of what it said beside the protocol.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<VecDeque<u8>>>);

impl Said {
    fn hear(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }

    /// It as one line, without what turns a terminal around.
    pub(super) fn words(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        drop(kept);
        let text = String::from_utf8_lossy(&bytes);
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        clean.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Process {
    /// Starts it.
    pub(super) fn start(order: &Order) -> io::Result<(Self, ChildStdout, ChildStdin)> {
        let mut command = Command::new(&order.program);
        command.args(&order.arguments).current_dir(&order.cwd).env_clear().envs(&order.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What it starts is in its group, and signals of our terminal are not for it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let gone = || io::Error::other("a pipe to it is missing");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let said = Said::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(listen(stderr, said.clone()));
        }
        let process = Self { child, group, said };
        Ok((process, output.ok_or_else(gone)?, input.ok_or_else(gone)?))
    }

    /// What it says beside the protocol.
    pub(super) fn said(&self) -> Said {
        self.said.clone()
    }

    /// Ends it, whose input is closed, and everything in its group.
    pub(super) async fn end(mut self) {
        if !self.ends_within(GRACE).await {
            self.signal(Signal::TERM);
            self.ends_within(TOLD).await;
        }
        // It is not reaped before, so the number of the group is nobody else's.
        self.signal(Signal::KILL);
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "an MCP server could not be waited for");
        }
        self.group = None;
    }

    async fn ends_within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while !self.has_ended() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// Looks, and leaves it for whoever waits for it.
    fn has_ended(&self) -> bool {
        let Some(pid) = self.group else { return true };
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(pid), how), Ok(None))
    }

    fn signal(&self, signal: Signal) {
        let Some(group) = self.group else { return };
        match kill_process_group(group, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::warn!(%error, "an MCP server could not be signalled"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody waits for it any more; its child object takes care of the first process.
        self.signal(Signal::KILL);
    }
}

async fn listen(mut stderr: ChildStderr, said: Said) {
    let mut buffer = vec![0_u8; 4096];
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        said.hear(buffer.get(..n).unwrap_or_default());
    }
}
