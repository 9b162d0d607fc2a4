//! The second stage: the first process in there. It feeds the command, keeps its limits, and ends
//! everything.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lictor_context::{Clock as _, SystemClock};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{WaitOptions, WaitStatus, wait};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::LAUNCHER;
use super::inner::{Confinement, NOT_STARTED};
use super::order::{End, Order, Report};
use super::processes::Everybody;

/// How often it is looked at how much memory is used.
const WATCH: Duration = Duration::from_millis(50);
/// How long what was printed last may take to arrive, when everything has ended.
const LAST: Duration = Duration::from_secs(2);
/// The processes and threads of the launcher itself, which count like the command's.
const OWN_THREADS: u64 = 10;
/// What a problem begins with that is one of the sandbox.
pub(super) const NO_SANDBOX: &str = "no sandbox: ";
/// What every command gets.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

enum Event {
    Printed(Stream, Vec<u8>),
    Closed,
    TooMuch,
    Ended(u32, WaitStatus),
    AllEnded,
    Unwanted,
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// Either the first process of namespaces, or the one that gets the orphans of what it starts.
pub(super) fn run(isolated: bool) -> ExitCode {
    // The stage above may end early. Then the lifeline breaks, and before that the kernel does this.
    if isolated
        && let Err(error) =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        return Report::of(End::NoSandbox(error.to_string())).say();
    }
    let mut lines = BufReader::new(std::io::stdin());
    let mut text = String::new();
    let order = match lines.read_line(&mut text) {
        Ok(_) => serde_json::from_str::<Order>(&text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let report = match order {
        Ok(order) => Sandbox { order, isolated }.run(lines),
        Err(error) => Report::of(End::NotStarted(format!("the order is not readable: {error}"))),
    };
    report.say()
}

struct Sandbox {
    order: Order,
    isolated: bool,
}

impl Sandbox {
    fn run(&self, lifeline: BufReader<std::io::Stdin>) -> Report {
        let own = match self.furnish() {
            Ok(own) => own,
            Err(problem) => return Report::of(End::NoSandbox(problem)),
        };
        // Nobody outside knows it, and the command replaces whoever does in there.
        let token = format!("{:x}", std::process::id() as u128 ^ random());
        let (tell, events) = channel();
        let child = match self.start(&token, own) {
            Ok(child) => child,
            Err(error) => return Report::of(End::NotStarted(error.to_string())),
        };
        let main = child.id();
        self.listen(child, lifeline, &tell);
        drop(tell);
        let mut report = self.watch(main, &events);
        told_by(&token, &mut report);
        if !self.isolated {
            report.missing.push("namespaces".to_owned());
        }
        report
    }

    /// What the command finds: its own folder at `/tmp`, its own processes, and no sockets of others.
    fn furnish(&self) -> Result<PathBuf, String> {
        if !self.isolated {
            return std::env::current_dir().map_err(|error| error.to_string());
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        let careful = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let said = |what: &'static str| move |error| format!("{what} cannot be mounted: {error}");
        mount_change("/", private).map_err(said("the root"))?;
        mount_bind(".", "/tmp").map_err(said("the staging copy"))?;
        mount("run", "/run", "tmpfs", careful | MountFlags::RDONLY, None).map_err(said("/run"))?;
        mount("proc", "/proc", "proc", careful, None).map_err(said("/proc"))?;
        std::env::set_current_dir("/tmp").map_err(|error| error.to_string())?;
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        // With what is inheritable goes what is ambient.
        set_capabilities(None, sets)
            .map_err(|error| format!("rights are not given up: {error}"))?;
        Ok(PathBuf::from("/tmp"))
    }

    #[expect(clippy::disallowed_methods, reason = "this is who starts commands")]
    fn start(&self, token: &str, own: PathBuf) -> std::io::Result<Child> {
        let Order { file, argv, cwd, env, system, ports, strict, limits, .. } = &self.order;
        let work = own.join("work");
        let home = own.clone();
        // A program of the workspace is its copy.
        let file = PathBuf::from(file);
        let file = if file.is_absolute() { file } else { work.join(file) };
        let mut limits = *limits;
        limits.processes = limits.processes.saturating_add(OWN_THREADS);
        let mut system = system.clone();
        if self.isolated {
            // Nobody but the command is in there.
            system.push("/proc".to_owned());
        }
        let (ports, strict) = (ports.clone(), *strict);
        let confinement =
            Confinement { file, own, system, ports, strict, limits, counted: self.isolated };
        let confinement = serde_json::to_string(&confinement)?;
        let mut command = Command::new("/proc/self/exe");
        command.args([LAUNCHER, "inner", token, &confinement, "--"]).args(argv);
        command.env_clear().envs([("PATH", PATH), ("LANG", "C.UTF-8")]);
        command.env("HOME", &home).env("TMPDIR", &home).envs(env);
        command.current_dir(cwd.as_ref().map_or(work.clone(), |cwd| work.join(cwd)));
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    }

    /// Feeds the command and listens to it, to the kernel, and to whoever wants it.
    fn listen(
        &self,
        mut child: Child,
        mut lifeline: BufReader<std::io::Stdin>,
        tell: &Sender<Event>,
    ) {
        if let Some(mut stdin) = child.stdin.take() {
            let text = self.order.stdin.clone();
            // It need not read it.
            std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
        }
        let limit = self.order.limits.output;
        if let Some(out) = child.stdout.take() {
            let tell = tell.clone();
            std::thread::spawn(move || read(out, Stream::Out, limit, &tell));
        }
        if let Some(err) = child.stderr.take() {
            let tell = tell.clone();
            std::thread::spawn(move || read(err, Stream::Err, limit, &tell));
        }
        let ended = tell.clone();
        std::thread::spawn(move || {
            // Everybody's, orphans too: what is not reaped counts as a process.
            while let Ok(Some((pid, status))) = wait(WaitOptions::empty()) {
                if ended.send(Event::Ended(pid.as_raw_nonzero().get() as u32, status)).is_err() {
                    return;
                }
            }
            drop(ended.send(Event::AllEnded));
        });
        let unwanted = tell.clone();
        std::thread::spawn(move || {
            let mut rest = [0_u8; 64];
            while matches!(lifeline.read(&mut rest), Ok(n) if n > 0) {}
            drop(unwanted.send(Event::Unwanted));
        });
    }

    /// What the kernel does not limit by itself.
    fn beyond(&self, everybody: Everybody) -> Option<End> {
        let used = everybody.used();
        if used.memory > self.order.limits.memory {
            return Some(End::TooMuchMemory);
        }
        (used.processes > self.order.limits.processes).then_some(End::TooManyProcesses)
    }

    fn watch(&self, main: u32, events: &Receiver<Event>) -> Report {
        let everybody = if self.isolated { Everybody::InNamespace } else { Everybody::BelowMe };
        let clock = SystemClock;
        let mut until = clock.monotonic() + Duration::from_millis(self.order.limits.time_ms);
        let mut look = Duration::ZERO;
        let mut seen = Seen::default();
        while !(seen.all_ended && seen.closed == 2) {
            let now = clock.monotonic();
            let before = seen.end.is_some();
            match (before, now >= until) {
                // Something still holds a pipe that nothing in there does: it is left.
                (true, true) => break,
                (false, true) => seen.end = Some(End::TimedOut),
                (false, false) if now >= look => {
                    seen.end = self.beyond(everybody);
                    look = now + WATCH;
                }
                (true | false, false) => {}
            }
            if let Ok(event) = events.recv_timeout(WATCH.min(until.saturating_sub(now))) {
                seen.take(event, main);
            }
            if seen.end.is_some() {
                if !before {
                    until = clock.monotonic() + LAST;
                }
                // Again and again: one that was just forked may have been missed.
                everybody.kill();
            }
        }
        Report {
            end: seen.end.unwrap_or_else(|| End::NotStarted("it ended without a status".into())),
            stdout: BASE64.encode(&seen.out),
            stderr: BASE64.encode(&seen.err),
            missing: Vec::new(),
        }
    }
}

/// What was seen of the command.
#[derive(Default)]
struct Seen {
    end: Option<End>,
    out: Vec<u8>,
    err: Vec<u8>,
    closed: u8,
    all_ended: bool,
}

impl Seen {
    fn take(&mut self, event: Event, main: u32) {
        match event {
            Event::Printed(Stream::Out, bytes) => self.out.extend(bytes),
            Event::Printed(Stream::Err, bytes) => self.err.extend(bytes),
            Event::Closed => self.closed += 1,
            Event::AllEnded => self.all_ended = true,
            Event::Ended(pid, status) if pid == main => {
                if self.end.is_none() {
                    self.end = Some(ended(status));
                }
            }
            Event::Ended(..) => {}
            Event::TooMuch => {
                self.closed += 1;
                // It may have ended before what it printed was seen to be too much.
                if matches!(self.end, None | Some(End::Exited(_))) {
                    self.end = Some(End::TooMuchOutput);
                }
            }
            Event::Unwanted if self.end.is_none() => self.end = Some(End::Unwanted),
            Event::Unwanted => {}
        }
    }
}

fn ended(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Signalled(signal),
        (None, None) => End::NotStarted("it neither ended nor was killed".to_owned()),
    }
}

fn read(mut from: impl Read, stream: Stream, limit: u64, tell: &Sender<Event>) {
    let mut left = limit;
    let mut buffer = [0_u8; 16 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        let bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        let n = n as u64;
        let event = if n > left { Event::TooMuch } else { Event::Printed(stream, bytes.to_vec()) };
        let over = n > left;
        left = left.saturating_sub(n);
        // What is beyond the limit is not read: whoever prints it waits, and is killed.
        if tell.send(event).is_err() || over {
            return;
        }
    }
    drop(tell.send(Event::Closed));
}

/// Whether the stage below never became the command; then it is said what it said.
fn told_by(token: &str, report: &mut Report) {
    if report.end != End::Exited(i32::from(NOT_STARTED)) {
        return;
    }
    let said = BASE64.decode(&report.stderr).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let Some(problem) = said.strip_prefix(token) else { return };
    let problem = problem.trim_end();
    report.end = match problem.strip_prefix(NO_SANDBOX) {
        Some(problem) => End::NoSandbox(problem.to_owned()),
        None => End::NotStarted(problem.to_owned()),
    };
}

/// Enough that nobody guesses it.
fn random() -> u128 {
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_ok() { u128::from_le_bytes(bytes) } else { u128::MAX }
}
