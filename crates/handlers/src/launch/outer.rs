//! The first stage: leaves the namespaces that it was started in.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
};

use super::order::{End, Report};
use super::{LAUNCHER, init};

/// The network stays that of the machine.
pub(crate) const SHARED: &str = "shared-network";

/// With namespaces of its own: everything in them ends with the first process there.
pub(super) fn isolated(network: &str) -> ExitCode {
    match into_namespaces(network == SHARED).and_then(|()| start_init()) {
        Ok(code) => code,
        Err(problem) => Report::of(End::NoSandbox(problem)).say(),
    }
}

/// Without: this process is the one that cleans up.
pub(super) fn bare() -> ExitCode {
    let prepared = die_with_parent()
        .and_then(|()| rustix::process::set_child_subreaper(Some(rustix::process::getpid())));
    match prepared {
        Ok(()) => init::run(false),
        Err(error) => Report::of(End::NoSandbox(format!("no subreaper: {error}"))).say(),
    }
}

fn die_with_parent() -> rustix::io::Result<()> {
    let parent = rustix::process::getppid();
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Whoever started it may have ended in between; then somebody else is the parent by now.
    if rustix::process::getppid() == parent { Ok(()) } else { Err(rustix::io::Errno::SRCH) }
}

fn into_namespaces(shared: bool) -> Result<(), String> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let mut flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !shared {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags).map_err(|error| format!("this machine gives no namespaces: {error}"))?;
    // New credentials take this away, so it comes after them.
    die_with_parent().map_err(|error| format!("whoever started it is gone: {error}"))?;
    let (user, group) = (user.as_raw(), group.as_raw());
    put("/proc/self/setgroups", "deny")?;
    put("/proc/self/uid_map", &format!("{user} {user} 1"))?;
    put("/proc/self/gid_map", &format!("{group} {group} 1"))?;
    keep_one_right().map_err(|error| format!("the right to mount is not kept: {error}"))
}

/// The next stage furnishes the namespaces, and as a user like any other it would have no rights in
/// them. It gives this one up before the command is started.
fn keep_one_right() -> rustix::io::Result<()> {
    let right = CapabilitySet::SYS_ADMIN;
    let sets = CapabilitySets { effective: right, permitted: right, inheritable: right };
    set_capabilities(None, sets)?;
    configure_capability_in_ambient_set(right, true)
}

fn put(path: &str, text: &str) -> Result<(), String> {
    let opened = OpenOptions::new().write(true).open(path);
    let put = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    put.map_err(|error| format!("`{path}` cannot be set: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "this is who starts commands")]
fn start_init() -> Result<ExitCode, String> {
    let mut command = Command::new("/proc/self/exe");
    command.args([LAUNCHER, "init"]).env_clear();
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let status = command.status().map_err(|error| format!("the first process: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
