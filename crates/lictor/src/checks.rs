//! The checks that a policy names, made for real: commands, files, processes, HTTP, SQLite.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Described, Risk, WorkspaceView as _};
use lictor_context::WorkspacePath;
use lictor_executor::{Attempt, Check, CheckFailure, CheckPhase, CheckRun, CheckSource, Staged};
use lictor_governance::{HealthCheck, Probe, VerificationCommand, Verify, WriteGate};
use lictor_store::rusqlite::{Connection, ErrorCode, OpenFlags};
use lictor_workspace::Workspace;
use rustix::io::Errno;
use rustix::process::Pid;
use tokio::io::AsyncReadExt as _;

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
            retry: command.retry.clone(),
            staged: (command.verify == Verify::Staged)
                .then(|| Staged { leave_out: command.leave_out.clone() }),
            run: Arc::new(Command {
                argv: command.command.clone(),
                workspace: Arc::clone(&self.workspace),
            }),
        }
    }

    fn health(&self, check: &HealthCheck) -> Check {
        Check {
            name: check.name.clone(),
            phase: CheckPhase::Health,
            timeout: check.timeout.as_duration(),
            retry: check.retry.clone(),
            staged: None,
            run: Arc::new(Health {
                probe: check.probe.clone(),
                workspace: Arc::clone(&self.workspace),
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
    async fn run(&self, attempt: &Attempt) -> Result<String, CheckFailure> {
        let shown = self.argv.join(" ");
        let fail =
            |error: std::io::Error| CheckFailure::new(format!("`{shown}` cannot be run: {error}"));
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(CheckFailure::new("the command is empty"));
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(attempt.tree().unwrap_or(self.workspace.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command.env_remove("LICTOR_APPROVER_TOKEN");
        let mut child = command.spawn().map_err(fail)?;
        let group = GroupKill(child.id());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // What the command left in the background ends with it; it would keep the streams open.
        let ended = async move {
            let status = child.wait().await;
            drop(group);
            status
        };
        let ((), (), status) = tokio::join!(read(stdout, attempt), read(stderr, attempt), ended);
        let status = status.map_err(fail)?;
        if status.success() {
            Ok(format!("`{shown}` succeeded"))
        } else {
            // Only whoever wrote the policy knows whether it may pass the next time, and says so by
            // asking for more than one attempt.
            Err(CheckFailure::transient(format!("`{shown}`: {status}")))
        }
    }
}

/// Ends the whole group of a command, also when its check is dropped because time ran out.
struct GroupKill(Option<u32>);

impl Drop for GroupKill {
    fn drop(&mut self) {
        let group = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group
            && let Err(error) =
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
            && error != Errno::SRCH
        {
            tracing::warn!(%error, "a command's process group could not be ended");
        }
    }
}

/// Reads a stream to its end.
async fn read(stream: Option<impl tokio::io::AsyncRead + Unpin>, attempt: &Attempt) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0_u8; 8192];
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        attempt.say(buffer.get(..n).unwrap_or_default());
    }
}

struct Health {
    probe: Probe,
    workspace: Arc<Workspace>,
}

#[async_trait]
impl CheckRun for Health {
    async fn run(&self, attempt: &Attempt) -> Result<String, CheckFailure> {
        let (probe, workspace) = (self.probe.clone(), Arc::clone(&self.workspace));
        let time_left = attempt.time_left();
        let looked = tokio::task::spawn_blocking(move || look(&probe, &workspace, time_left)).await;
        looked.unwrap_or_else(|error| Err(CheckFailure::new(error.to_string())))
    }
}

fn look(probe: &Probe, workspace: &Workspace, time_left: Duration) -> Result<String, CheckFailure> {
    match probe {
        Probe::HttpGet { url, status } => http(url, *status, time_left),
        Probe::FileExists { paths } => {
            for path in paths {
                match workspace.entry(path) {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        return Err(CheckFailure::transient(format!("`{path}` is not there")));
                    }
                    Err(error) => return Err(CheckFailure::new(error.to_string())),
                }
            }
            Ok(format!("{} file(s) are there", paths.len()))
        }
        Probe::Process { pid_file } => process(pid_file, workspace),
        Probe::Sqlite { path, query } => sqlite(path, query, workspace, time_left),
    }
}

fn process(pid_file: &WorkspacePath, workspace: &Workspace) -> Result<String, CheckFailure> {
    // A service that is still starting has not written it, or not to its end.
    let bytes = workspace.read(pid_file, 64);
    let bytes = bytes.map_err(|error| CheckFailure::transient(error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes);
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let pid =
        pid.ok_or_else(|| CheckFailure::transient(format!("`{pid_file}` holds no process id")))?;
    match rustix::process::test_kill_process(pid) {
        Ok(()) | Err(Errno::PERM) => Ok(format!("process {} is alive", pid.as_raw_nonzero())),
        Err(_) => {
            let dead = format!("process {} is not alive", pid.as_raw_nonzero());
            Err(CheckFailure::transient(dead))
        }
    }
}

fn sqlite(
    path: &WorkspacePath,
    query: &str,
    workspace: &Workspace,
    time_left: Duration,
) -> Result<String, CheckFailure> {
    // Looked at through the workspace first, so that no link leads SQLite elsewhere.
    let entry = workspace.entry(path).map_err(|error| CheckFailure::new(error.to_string()))?;
    if entry.is_none_or(|entry| entry.kind != lictor_capability::EntryKind::File) {
        return Err(CheckFailure::new(format!("`{path}` is no database file")));
    }
    let answers = || -> lictor_store::rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let conn = Connection::open_with_flags(workspace.path().join(path.as_str()), flags)?;
        conn.busy_timeout(time_left)?;
        let mut statement = conn.prepare(query)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    answers().map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            CheckFailure::transient(error.to_string())
        }
        _ => CheckFailure::new(error.to_string()),
    })?;
    Ok(format!("`{path}` answers"))
}

fn http(url: &str, status: u16, time_left: Duration) -> Result<String, CheckFailure> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(time_left))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build();
    let response = ureq::Agent::new_with_config(config).get(url).call();
    let response = response.map_err(|error| match error {
        ureq::Error::Io(_)
        | ureq::Error::Protocol(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => CheckFailure::transient(error.to_string()),
        _ => CheckFailure::new(error.to_string()),
    })?;
    let found = response.status().as_u16();
    if found == status {
        return Ok(format!("{url} answers {found}"));
    }
    let reason = format!("{url} answers {found}, and {status} is healthy");
    // Too early, too many requests, and what is wrong with the server at the moment.
    Err(match found {
        408 | 425 | 429 | 500..=599 => CheckFailure::transient(reason),
        _ => CheckFailure::new(reason),
    })
}
