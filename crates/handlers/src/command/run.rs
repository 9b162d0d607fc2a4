//! One run: the launcher is started, given its order, and listened to until it reports.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_executor::HandlerError;

use crate::launch::{End, LAUNCHER, Order, Report, SHARED};

/// Who commands run as, where this process may choose: nobody, who owns nothing but the copy.
pub(super) const NOBODY: u32 = 65534;

/// The program that starts commands: one whose `main` hands [`crate::LAUNCHER`] on to
/// [`crate::launch()`].
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// A program.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }
}

/// Whether commands run as somebody else than this process does.
pub(super) fn as_nobody() -> bool {
    rustix::process::geteuid().is_root() && is_known("uid_map") && is_known("gid_map")
}

/// Whether there is such a user here: not everybody is in every namespace.
fn is_known(map: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/self/{map}")) else { return false };
    text.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (first, _, n) = (numbers.next(), numbers.next(), numbers.next());
        let (Some(Ok(first)), Some(Ok(n))) = (first, n) else { return false };
        (first..first.saturating_add(n)).contains(&u64::from(NOBODY))
    })
}

/// Ends a run when it is dropped: nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    given_up: bool,
    child: Option<Child>,
    lifeline: Option<ChildStdin>,
}

/// The side of whoever waits.
#[derive(Debug)]
pub(super) struct Waiting(pub(super) Wanted);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut running = self.0.running();
        running.given_up = true;
        running.lifeline = None;
        if let Some(child) = &mut running.child
            && let Err(error) = child.kill()
        {
            tracing::debug!(%error, "a launcher had ended by itself");
        }
    }
}

impl Wanted {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs it to its end. Blocks, and has to be called on the thread that stays: the launcher ends
    /// with the thread that started it.
    pub(super) fn run(
        &self,
        launcher: &Launcher,
        folder: &Path,
        order: &Order,
    ) -> Result<Report, HandlerError> {
        let report = self.once(launcher, folder, order, true)?;
        match report.end {
            // Nothing was run. What is content with less is run with less.
            End::NoSandbox(_) if !order.strict => self.once(launcher, folder, order, false),
            _ => Ok(report),
        }
    }

    fn once(
        &self,
        launcher: &Launcher,
        folder: &Path,
        order: &Order,
        isolated: bool,
    ) -> Result<Report, HandlerError> {
        let fail = |error: std::io::Error| {
            let program = launcher.program.display();
            HandlerError::failed(format!("the launcher `{program}`: {error}"))
        };
        let text = serde_json::to_string(order).map_err(HandlerError::failed)? + "\n";
        let mut stdout = self.start(launcher, folder, (order, isolated), &text).map_err(fail)?;
        let most = order.limits.output.saturating_mul(3).saturating_add(1 << 20);
        let mut said = Vec::new();
        let read = (&mut stdout).take(most).read_to_end(&mut said);
        self.end();
        read.map_err(fail)?;
        serde_json::from_slice(&said).map_err(|_| {
            HandlerError::failed("the launcher ended without saying what became of the command")
        })
    }

    fn start(
        &self,
        launcher: &Launcher,
        folder: &Path,
        (order, isolated): (&Order, bool),
        text: &str,
    ) -> std::io::Result<std::process::ChildStdout> {
        // By their descriptors: whoever it runs as may not walk the way there.
        let (program, folder) = (File::open(&launcher.program)?, File::open(folder)?);
        let by = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut command = prepared(&by(&program));
        command.arg0("lictor").args([LAUNCHER, "outer"]);
        if isolated {
            let network = if order.ports.is_empty() { "no-network" } else { SHARED };
            command.args(["isolated", network]);
        } else {
            command.arg("bare");
        }
        command.env_clear().current_dir(by(&folder));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if as_nobody() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut running = self.running();
        if running.given_up {
            return Err(std::io::Error::other("nobody waits for it any more"));
        }
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        running.child = Some(child);
        drop(running);
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(std::io::Error::other("it has no pipes"));
        };
        let given = stdin.write_all(text.as_bytes());
        // Kept open while it is wanted, however the writing went: it may have a report all the same.
        let mut running = self.running();
        running.lifeline = (!running.given_up).then_some(stdin);
        drop(running);
        match given {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
            Err(_) | Ok(()) => Ok(stdout),
        }
    }

    /// Nothing of it is left behind: it is waited for.
    fn end(&self) {
        let (child, lifeline) = {
            let mut running = self.running();
            (running.child.take(), running.lifeline.take())
        };
        drop(lifeline);
        if let Some(mut child) = child
            && let Err(error) = child.wait()
        {
            tracing::warn!(%error, "a launcher could not be waited for");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is who starts commands")]
fn prepared(program: &str) -> Command {
    Command::new(program)
}
