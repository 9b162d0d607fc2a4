//! The last stage: confines itself, and becomes the command.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::order::Limits;

/// What a command may reach, and use.
#[derive(Serialize, Deserialize)]
pub(super) struct Confinement {
    /// The file that the program is.
    pub(super) file: PathBuf,
    /// Where it may do as it likes.
    pub(super) own: PathBuf,
    /// What it may read, and run programs from.
    pub(super) system: Vec<String>,
    /// The TCP ports that it may connect to.
    pub(super) ports: Vec<u16>,
    /// Whether the kernel has to be able to hold it.
    pub(super) strict: bool,
    /// Its limits.
    pub(super) limits: Limits,
    /// Whether the kernel counts its processes and nobody else's.
    pub(super) counted: bool,
}

/// Devices that everybody may use.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Its exit code when it did not become the command; the token on standard error says so.
pub(super) const NOT_STARTED: u8 = 125;

pub(super) fn become_command(token: &str, confinement: &str, command: &[&str]) -> ExitCode {
    let problem = match serde_json::from_str::<Confinement>(confinement) {
        Ok(confinement) => start(&confinement, command),
        Err(error) => error.to_string(),
    };
    #[expect(clippy::print_stderr, reason = "the next stage up reads it")]
    {
        eprintln!("{token}{problem}");
    }
    ExitCode::from(NOT_STARTED)
}

/// Comes back only with what went wrong.
#[expect(clippy::disallowed_methods, reason = "this is who starts commands")]
fn start(confinement: &Confinement, command: &[&str]) -> String {
    let Some((name, arguments)) = command.split_first() else {
        return "there is no program".to_owned();
    };
    if let Err(error) = limit(&confinement.limits, confinement.counted) {
        return format!("its limits cannot be set: {error}");
    }
    match confine(confinement) {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => {}
        Ok(RulesetStatus::NotEnforced) if !confinement.strict => {}
        Ok(RulesetStatus::NotEnforced) => return no_sandbox("Landlock is not to be had"),
        Err(error) => return no_sandbox(&error.to_string()),
    }
    let error = Command::new(&confinement.file).arg0(name).args(arguments).exec();
    format!("`{name}` cannot be started: {error}")
}

fn no_sandbox(problem: &str) -> String {
    format!("{}{problem}", super::init::NO_SANDBOX)
}

fn limit(limits: &Limits, counted: bool) -> rustix::io::Result<()> {
    let most = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Core, most(0))?;
    setrlimit(Resource::Fsize, most(limits.file))?;
    setrlimit(Resource::Nofile, most(256))?;
    // Its own; what all processes have together is watched by the first of them.
    setrlimit(Resource::Data, most(limits.memory))?;
    setrlimit(Resource::Cpu, most(limits.time_ms.div_ceil(1000).saturating_mul(4).max(1)))?;
    if counted {
        setrlimit(Resource::Nproc, most(limits.processes))?;
    }
    Ok(())
}

fn confine(confinement: &Confinement) -> Result<RulesetStatus, RulesetError> {
    let needed =
        if confinement.strict { CompatLevel::HardRequirement } else { CompatLevel::BestEffort };
    // With version 3 nothing outside can be written or cut off; later ones add to it.
    let (least, later) = (ABI::V3, ABI::V5);
    let ruleset = Ruleset::default()
        .set_compatibility(needed)
        .handle_access(AccessFs::from_all(least))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(later))?
        .handle_access(AccessNet::from_all(later))?
        .scope(Scope::from_all(ABI::V6))?;
    let reads = AccessFs::from_read(later);
    let uses = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut ruleset = ruleset
        .create()?
        .add_rules(path_beneath_rules(&confinement.system, reads))?
        .add_rules(path_beneath_rules([&confinement.file], reads))?
        .add_rules(path_beneath_rules(DEVICES, uses))?;
    // Without its own folder it can do nothing, which is no way around anything.
    if let Ok(own) = PathFd::new(&confinement.own) {
        ruleset = ruleset.add_rule(PathBeneath::new(own, AccessFs::from_all(later)))?;
    }
    for port in &confinement.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    ruleset.restrict_self().map(|status| status.ruleset)
}
