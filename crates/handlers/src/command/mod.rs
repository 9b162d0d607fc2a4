//! Commands: a program in a copy of what its action reads, held by a sandbox. What it changes there
//! is handed over to go down the road.

mod matching;
mod probe;
mod program;
mod run;
mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lictor_capability::{
    CommandInput, CommandOutput, CommandSpec, Contract, EffectCeiling, Effects, EntryKind,
    EnvValue, HandlerSpec, HostNumber, Sandbox, UndoScope, WorkspaceView, host_spelling,
};
use lictor_context::WorkspacePath;
use lictor_executor::{Granted, Handler, HandlerError, HandlerFactory, Prepared, Request};
use serde_json::{Value, json};

use crate::launch::{End, Limits, Order, Report};
use crate::masked::without;
use crate::secret::SecretSource;
pub use program::Programs;
pub use run::Launcher;
use run::{NOBODY, Waiting, Wanted, as_nobody};
pub use stage::{Stage, sweep};

/// Bytes of memory, unless the contract says.
const MEMORY: u64 = 512 << 20;
/// Bytes on each output, unless the contract says.
const OUTPUT: u64 = 1 << 20;
/// Bytes of a file, unless the contract says.
const FILE: u64 = 64 << 20;
/// Processes and threads, unless the contract says.
const PROCESSES: u32 = 64;
/// Why a command is killed that could have gone on.
const UNWANTED: &str = "whoever asked for it stopped waiting, and it was killed";
/// The last bytes of what was printed beside the output that an error repeats.
const SAID: usize = 400;

/// What every command may read, and run programs from. Nothing that belongs to somebody, and of
/// `/etc` what programs need to start, to speak TLS and to know names.
const SYSTEM: [&str; 24] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];

/// Makes handlers of contracts whose handler is `command`.
#[derive(Debug, Clone)]
pub struct CommandHandlers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    launcher: Launcher,
    scratch: PathBuf,
    secrets: Arc<dyn SecretSource>,
    programs: Programs,
    count: AtomicU64,
}

impl CommandHandlers {
    /// With the program that starts commands, a folder for their staging copies that nothing else
    /// uses, and somebody who knows secrets. What a crash left in the folder is taken away.
    #[must_use]
    pub fn new(
        launcher: Launcher,
        scratch: impl Into<PathBuf>,
        secrets: Arc<dyn SecretSource>,
    ) -> Self {
        let scratch = scratch.into();
        sweep(&scratch);
        let (programs, count) = (Programs::default(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { launcher, scratch, secrets, programs, count }) }
    }
}

impl HandlerFactory for CommandHandlers {
    fn handler(&self, contract: &Contract) -> Option<Arc<dyn Handler>> {
        let HandlerSpec::Command(spec) = &contract.handler else { return None };
        Some(Arc::new(Handled {
            spec: spec.as_ref().clone(),
            most: contract.effects.clone(),
            shared: Arc::clone(&self.shared),
        }))
    }
}

/// What a run needs, made on a thread that may be blocked.
struct Ready {
    stage: Stage,
    order: Order,
    secrets: Vec<String>,
}

struct Handled {
    spec: CommandSpec,
    most: EffectCeiling,
    shared: Arc<Shared>,
}

#[async_trait]
impl Handler for Handled {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let argv = self.spec.arguments(request.input()).map_err(HandlerError::input)?;
        let program = argv.into_iter().next().unwrap_or_default();
        let (mut reads, reads_root) = self.reads(request.input(), request.view)?;
        let executables = self.shared.programs.find(&program, request.view)?;
        // A program of the workspace is read as well: what runs is its copy.
        let own = executables.first().and_then(|one| WorkspacePath::parse(&one.path).ok());
        reads.extend(own.filter(|own| !covered(&reads, own)));
        self.begins_in(request.input(), &reads)?;
        let contained = self.spec.is_contained(&self.most);
        Ok(Effects {
            reads,
            reads_root,
            hosts: self.most.net.iter().flat_map(|host| host_spelling(host)).collect(),
            programs: vec![program],
            executables,
            contained,
            undo: if contained { UndoScope::Full } else { UndoScope::None },
            ..Effects::default()
        })
    }

    fn prepare(&self, granted: &Granted<'_>) -> Result<Option<Prepared>, HandlerError> {
        let stage = self.staged(granted)?;
        let mut secrets = Vec::new();
        let order = self.order(granted, &mut secrets)?;
        if let Some(cwd) = order.cwd.as_deref().filter(|cwd| !stage.holds_folder(cwd)) {
            let problem = format!("`{cwd}` is no folder in the copy that the command begins in");
            return Err(HandlerError::input(problem));
        }
        Ok(Some(Prepared::new(Ready { stage, order, secrets })))
    }

    fn prepares(&self) -> bool {
        true
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let Some(Ready { stage, mut order, secrets }) = granted.prepared() else {
            return Err(HandlerError::failed("its staging copy was not made"));
        };
        // Making it has taken its share.
        order.limits.time_ms = millis(granted.limit());
        let wanted = Wanted::default();
        let waiting = Waiting(wanted.clone());
        let shared = Arc::clone(&self.shared);
        // The launcher ends with the thread that starts it, and this one stays until it has ended.
        let run = move || {
            let report = wanted.run(&shared.launcher, stage.folder(), &order)?;
            let changes = match &report.end {
                End::Exited(0) => stage.changes()?,
                _ => Vec::new(),
            };
            Ok::<_, HandlerError>((report, changes))
        };
        let mut running = tokio::task::spawn_blocking(run);
        let ran = tokio::select! {
            biased;
            ran = &mut running => {
                drop(waiting);
                ran
            }
            () = granted.unwanted() => {
                drop(waiting);
                // It is gone when the thread has ended that waits for it.
                match running.await {
                    // It had come to its end by itself.
                    Ok(Ok((report, changes))) if matches!(report.end, End::Exited(_)) => {
                        Ok(Ok((report, changes)))
                    }
                    _ if granted.described().effects().contained => {
                        return Err(HandlerError::failed(UNWANTED));
                    }
                    _ => return Err(HandlerError::unknown(UNWANTED)),
                }
            }
        };
        let (report, changes) = ran.map_err(|error| HandlerError::failed(error.to_string()))??;
        let output = self.output(&report, &secrets)?;
        if !changes.is_empty() {
            granted.stage(changes);
        }
        Ok(output)
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn stops(&self) -> bool {
        true
    }
}

impl Handled {
    /// The paths that are copied: those that the contract and the input name.
    fn reads(
        &self,
        input: &Value,
        view: &dyn WorkspaceView,
    ) -> Result<(Vec<WorkspacePath>, bool), HandlerError> {
        let inputs = self.spec.inputs(input, &self.most).map_err(HandlerError::input)?;
        let (mut reads, mut root) = (Vec::new(), false);
        for one in inputs {
            match one {
                CommandInput::Path(path) => {
                    if view.entry(&path)?.is_none() {
                        let problem = format!("there is no `{path}` to copy for the command");
                        return Err(HandlerError::input(problem));
                    }
                    reads.push(path);
                }
                CommandInput::Glob(glob) => reads.extend(matching::find(&glob, view)?),
                CommandInput::Root => {
                    root = true;
                    let listed = view.list(None)?;
                    let seen = listed
                        .iter()
                        .filter(|one| !one.name.starts_with('.') && one.kind != EntryKind::Special);
                    reads.extend(seen.filter_map(|one| WorkspacePath::parse(&one.name).ok()));
                }
            }
        }
        reads.sort();
        reads.dedup();
        Ok((reads, root))
    }

    /// The folder of the copy that it begins in, which has to be in the copy.
    fn begins_in(
        &self,
        input: &Value,
        reads: &[WorkspacePath],
    ) -> Result<Option<WorkspacePath>, HandlerError> {
        let Some(cwd) = self.spec.cwd(input).map_err(HandlerError::input)? else {
            return Ok(None);
        };
        if covered(reads, &cwd) || reads.iter().any(|read| read.is_within(&cwd)) {
            return Ok(Some(cwd));
        }
        Err(HandlerError::input(format!(
            "`{cwd}` would not be in the copy that the command begins in; copy it, or something in it"
        )))
    }

    /// Makes the copy. What was judged is what is copied, whatever the input would say now.
    fn staged(&self, granted: &Granted<'_>) -> Result<Stage, HandlerError> {
        let count = self.shared.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{count}", std::process::id(), granted.described().action().id());
        let mut stage = Stage::new(&self.shared.scratch, &name)?;
        for path in &granted.described().effects().reads {
            stage.copy_in(path, granted.view(), &self.most)?;
        }
        if as_nobody() {
            stage.give_to(NOBODY, NOBODY)?;
        }
        Ok(stage)
    }

    fn order(
        &self,
        granted: &Granted<'_>,
        secrets: &mut Vec<String>,
    ) -> Result<Order, HandlerError> {
        let strict = self.spec.sandbox == Sandbox::Required;
        let argv = self.spec.arguments(granted.input()).map_err(HandlerError::input)?;
        let effects = granted.described().effects();
        let program = argv.first().map_or("", String::as_str);
        let found = self.shared.programs.find(program, granted.view())?;
        let Some(first) = found.first().filter(|_| found == effects.executables) else {
            let program = program.escape_debug();
            let problem = format!("the program `{program}` is another one than was judged");
            return Err(HandlerError::failed(problem));
        };
        let cwd = self.begins_in(granted.input(), &effects.reads)?;
        let mut env = BTreeMap::new();
        for (name, value) in &self.spec.env {
            let value = match value {
                EnvValue::Text(text) => text.clone(),
                EnvValue::Secret(named) => {
                    let secret = self.shared.secrets.secret(&named.secret).ok_or_else(|| {
                        HandlerError::failed(format!("there is no secret `{}`", named.secret))
                    })?;
                    secrets.push(secret.clone());
                    secret
                }
            };
            env.insert(name.clone(), value);
        }
        let size = |said: Option<lictor_document::ByteSize>, usual| {
            said.map_or(usual, lictor_document::ByteSize::as_bytes)
        };
        let limits = Limits {
            time_ms: millis(granted.limit()),
            output: size(self.spec.max_output, OUTPUT),
            memory: size(self.spec.memory, MEMORY),
            file: size(self.spec.max_file, FILE),
            processes: u64::from(self.spec.max_processes.unwrap_or(PROCESSES)),
        };
        let system = SYSTEM.iter().map(|place| (*place).to_owned());
        Ok(Order {
            file: first.path.clone(),
            argv,
            cwd: cwd.map(|cwd| cwd.as_str().to_owned()),
            env,
            stdin: self.spec.stdin(granted.input()).map_err(HandlerError::input)?,
            system: system.chain(self.spec.system.iter().cloned()).collect(),
            ports: ports(&self.most.net),
            strict,
            limits,
        })
    }

    fn output(&self, report: &Report, secrets: &[String]) -> Result<Value, HandlerError> {
        let text = |encoded: &str| {
            let bytes = BASE64.decode(encoded).unwrap_or_default();
            match without(String::from_utf8_lossy(&bytes).into_owned().into(), secrets) {
                Value::String(text) => text,
                _ => String::new(),
            }
        };
        let (stdout, stderr) = (text(&report.stdout), text(&report.stderr));
        if !report.missing.is_empty() {
            tracing::warn!(missing = ?report.missing, "a command ran without all of the sandbox");
        }
        let killed = |why: &str| Err(HandlerError::failed(format!("it {why}, and was killed")));
        let code = match &report.end {
            End::Exited(code) => *code,
            End::Signalled(signal) => {
                let said = last_words(&stderr);
                return Err(HandlerError::failed(format!("it ended by signal {signal}{said}")));
            }
            End::TimedOut => return killed("took longer than it may"),
            End::TooMuchOutput => return killed("printed more than it may"),
            End::TooMuchMemory => return killed("used more memory than it may"),
            End::TooManyProcesses => return killed("started more processes than it may"),
            End::Unwanted => return killed("was not wanted any more"),
            End::NoSandbox(problem) => return Err(no_sandbox(problem)),
            End::NotStarted(problem) => return Err(HandlerError::failed(problem)),
        };
        match self.spec.output {
            CommandOutput::Text => {
                Ok(json!({ "exit_code": code, "stdout": stdout, "stderr": stderr }))
            }
            CommandOutput::Json if code != 0 => {
                let said = last_words(&stderr);
                Err(HandlerError::failed(format!("it ended with exit code {code}{said}")))
            }
            CommandOutput::Json if stdout.trim().is_empty() => Ok(Value::Null),
            CommandOutput::Json => serde_json::from_str(&stdout)
                .map_err(|_| HandlerError::failed("what it printed is no JSON")),
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a path is one of these, or lies in one of them.
fn covered(reads: &[WorkspacePath], path: &WorkspacePath) -> bool {
    reads.iter().any(|read| path.is_within(read))
}

fn no_sandbox(problem: &str) -> HandlerError {
    HandlerError::failed(format!(
        "it was not run, since not all of the sandbox is to be had here: {problem}; a contract with \
         `sandbox: best_effort` runs with what there is"
    ))
}

/// The end of what was printed beside the output, as a part of an error.
fn last_words(stderr: &str) -> String {
    let clean: String =
        stderr.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = clean.char_indices().rev().take(SAID).last().map_or(0, |(at, _)| at);
    let words = clean.get(from..).unwrap_or_default();
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// The ports of the hosts that a contract names.
fn ports(hosts: &[String]) -> Vec<u16> {
    let ports = hosts.iter().flat_map(|host| {
        let port = match HostNumber::parse(host) {
            Some(number) => number.port(),
            None => host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()),
        };
        // Names are asked for over TCP, too.
        port.map_or(vec![80, 443, 53], |port| vec![port, 53])
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_no_port() {
        for (host, expect) in [
            ("a.example", vec![80, 443, 53]),
            ("a.example:8080", vec![8080, 53]),
            ("::1", vec![80, 443, 53]),
            ("[2001:db8::1]", vec![80, 443, 53]),
            ("[::1]:8080", vec![8080, 53]),
        ] {
            assert_eq!(ports(&[host.to_owned()]), expect, "{host}");
        }
    }
}
