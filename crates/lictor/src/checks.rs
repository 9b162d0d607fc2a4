//! The checks that a policy names, made for real: commands, files, processes, HTTP, SQLite.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Described, Risk, WorkspaceView as _};
use lictor_executor::{Check, CheckFailure, CheckPhase, CheckRun, CheckSource};
use lictor_governance::{HealthCheck, Probe, VerificationCommand, WriteGate};
use lictor_store::rusqlite::{Connection, OpenFlags};
use lictor_workspace::Workspace;
use tokio::io::AsyncReadExt as _;

/// So much of a command's output is kept, from its end: that is where the reason stands.
const MAX_OUTPUT: u64 = 64 * 1024;
const SHOWN_OUTPUT: usize = 2000;

/// The checks of the policies in force.
#[derive(Debug)]
pub(crate) struct PolicyChecks {
    pub(crate) gate: Arc<WriteGate>,
    pub(crate) workspace: Arc<Workspace>,
}

impl CheckSource for PolicyChecks {
    fn checks(&self, described: &Described, risk: Risk) -> Result<Vec<Check>, CheckFailure> {
        let policies = self.gate.policies();
        let settings = policies.settings();
        let mut checks = Vec::new();
        let plan = described.action().plan();
        for name in plan.map(|plan| plan.verification.as_slice()).unwrap_or_default() {
            let Some(command) = settings.verification.get(name) else {
                let known: Vec<&str> = settings.verification.keys().map(String::as_str).collect();
                return Err(unknown("verification", name, &known));
            };
            checks.push(self.verification(name, command));
        }
        let named = plan.map(|plan| plan.health_checks.as_slice()).unwrap_or_default();
        for name in named {
            if !settings.health_checks.iter().any(|check| check.name == *name) {
                let known: Vec<&str> =
                    settings.health_checks.iter().map(|check| check.name.as_str()).collect();
                return Err(unknown("health check", name, &known));
            }
        }
        let wanted = settings
            .health_checks
            .iter()
            .filter(|check| named.contains(&check.name) || check.for_risk.contains(&risk));
        checks.extend(wanted.map(|check| self.health(check)));
        Ok(checks)
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> CheckFailure {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    CheckFailure::new(format!("the policy has no {what} `{name}`; it has: {known}"))
}

impl PolicyChecks {
    fn verification(&self, name: &str, command: &VerificationCommand) -> Check {
        Check {
            name: name.to_owned(),
            phase: CheckPhase::Verification,
            timeout: command.timeout.as_duration(),
            run: Arc::new(Command {
                argv: command.command.clone(),
                workspace: Arc::clone(&self.workspace),
            }),
        }
    }

    fn health(&self, check: &HealthCheck) -> Check {
        let timeout = check.timeout.as_duration();
        Check {
            name: check.name.clone(),
            phase: CheckPhase::Health,
            timeout,
            run: Arc::new(Health {
                probe: check.probe.clone(),
                workspace: Arc::clone(&self.workspace),
                timeout,
            }),
        }
    }
}

struct Command {
    argv: Vec<String>,
    workspace: Arc<Workspace>,
}

#[async_trait]
impl CheckRun for Command {
    async fn run(&self) -> Result<String, CheckFailure> {
        let fail = |error: std::io::Error| {
            CheckFailure::new(format!("`{}` cannot be run: {error}", self.argv.join(" ")))
        };
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(CheckFailure::new("the command is empty"));
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(self.workspace.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command.env_remove("LICTOR_APPROVER_TOKEN");
        let mut child = command.spawn().map_err(fail)?;
        let group = GroupKill(child.id());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read_out = read_end(stdout);
        let read_err = read_end(stderr);
        let (out, err, status) = tokio::join!(read_out, read_err, child.wait());
        drop(group);
        let status = status.map_err(fail)?;
        let shown = if err.trim().is_empty() { out } else { err };
        if status.success() {
            Ok(format!("`{}` succeeded", self.argv.join(" ")))
        } else {
            Err(CheckFailure::new(format!("`{}`: {status}: {}", self.argv.join(" "), shown.trim())))
        }
    }
}

/// Ends the whole group of a command, also when its check is dropped because time ran out.
struct GroupKill(Option<u32>);

impl Drop for GroupKill {
    fn drop(&mut self) {
        let group =
            self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group
            && let Err(error) =
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(%error, "a command's process group could not be ended");
        }
    }
}

/// Reads a stream to its end and keeps the last of it.
async fn read_end(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0_u8; 8192];
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if kept.len() as u64 > MAX_OUTPUT {
            let cut = kept.len() / 2;
            kept.drain(..cut);
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let skip = text.chars().count().saturating_sub(SHOWN_OUTPUT);
    text.chars().skip(skip).collect()
}

struct Health {
    probe: Probe,
    workspace: Arc<Workspace>,
    timeout: Duration,
}

#[async_trait]
impl CheckRun for Health {
    async fn run(&self) -> Result<String, CheckFailure> {
        let (probe, workspace, timeout) =
            (self.probe.clone(), Arc::clone(&self.workspace), self.timeout);
        let looked = tokio::task::spawn_blocking(move || look(&probe, &workspace, timeout)).await;
        looked.unwrap_or_else(|error| Err(error.to_string())).map_err(CheckFailure::new)
    }
}

fn look(probe: &Probe, workspace: &Workspace, timeout: Duration) -> Result<String, String> {
    match probe {
        Probe::HttpGet { url, status } => http(url, *status, timeout),
        Probe::FileExists { paths } => {
            for path in paths {
                match workspace.entry(path) {
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(format!("`{path}` is not there")),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(format!("{} file(s) are there", paths.len()))
        }
        Probe::Process { pid_file } => {
            let bytes = workspace.read(pid_file, 64).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&bytes);
            let pid = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
            let pid = pid.ok_or_else(|| format!("`{pid_file}` holds no process id"))?;
            match rustix::process::test_kill_process(pid) {
                Ok(()) | Err(rustix::io::Errno::PERM) => {
                    Ok(format!("process {} is alive", pid.as_raw_nonzero()))
                }
                Err(_) => Err(format!("process {} is not alive", pid.as_raw_nonzero())),
            }
        }
        Probe::Sqlite { path, query } => {
            // Looked at through the workspace first, so that no link leads SQLite elsewhere.
            let entry = workspace.entry(path).map_err(|error| error.to_string())?;
            if entry.is_none_or(|entry| entry.kind != lictor_capability::EntryKind::File) {
                return Err(format!("`{path}` is no database file"));
            }
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
            let conn = Connection::open_with_flags(workspace.path().join(path.as_str()), flags);
            let conn = conn.map_err(|error| error.to_string())?;
            conn.busy_timeout(timeout).map_err(|error| error.to_string())?;
            let mut statement = conn.prepare(query).map_err(|error| error.to_string())?;
            let mut rows = statement.query([]).map_err(|error| error.to_string())?;
            while rows.next().map_err(|error| error.to_string())?.is_some() {}
            Ok(format!("`{path}` answers"))
        }
    }
}

fn http(url: &str, status: u16, timeout: Duration) -> Result<String, String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build();
    let response =
        ureq::Agent::new_with_config(config).get(url).call().map_err(|error| error.to_string())?;
    let found = response.status().as_u16();
    if found == status {
        Ok(format!("{url} answers {found}"))
    } else {
        Err(format!("{url} answers {found}, and {status} is healthy"))
    }
}
