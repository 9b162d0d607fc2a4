//! The outside: cargo, git, the clock and the disk. The only module that starts processes.
#![expect(
    clippy::disallowed_methods,
    reason = "xtask runs cargo and git and measures how long that takes; this module owns both"
)]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::model::Workspace;
use crate::report::Failure;
use crate::tree::{self, Tree};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With code 0.
    Well,
    /// With another code, or by a signal.
    Badly,
}

/// Runs cargo in the workspace's root with the output going to the terminal.
pub(crate) fn cargo(
    root: &Path,
    args: &[&str],
    variables: &[(&str, &str)],
) -> Result<Ended, Failure> {
    let mut command = cargo_command();
    command.current_dir(root).args(args);
    for (name, value) in variables {
        command.env(name, value);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(Ended::Well),
        Ok(_) => Ok(Ended::Badly),
        Err(error) => Err(Failure::new(format!("cannot run cargo: {error}"))),
    }
}

/// Runs cargo with its errors going to the terminal; gives what it prints, if it ends well.
pub(crate) fn cargo_says(root: &Path, args: &[&str]) -> Result<Option<String>, Failure> {
    let mut command = cargo_command();
    command.current_dir(root).args(args).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output =
        command.output().map_err(|error| Failure::new(format!("cannot run cargo: {error}")))?;
    let said = || String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(output.status.success().then(said))
}

/// Runs a program of a folder, or of the system; gives what it prints, if it can be run and ends
/// well.
pub(crate) fn program_says(
    folder: &Path,
    program: &str,
    args: &[&str],
) -> Result<Option<String>, Failure> {
    let own = folder.join(program);
    let mut command = if own.exists() { Command::new(own) } else { Command::new(program) };
    command.current_dir(folder).args(args).stdin(Stdio::null()).stderr(Stdio::inherit());
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("cannot run {program}: {error}"))),
    }
}

/// Makes a folder, unless it is there.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", folder.display())))
}

/// Makes a folder anew, with nothing in it.
pub(crate) fn empty_folder(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::new(format!("cannot empty {}: {error}", folder.display())))
        }
        _ => make_folder(folder),
    }
}

/// Where cargo builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from)
}

/// The folders of a name below another, in order.
pub(crate) fn folders_with(below: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![below.to_owned()];
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if path.file_name().is_some_and(|it| it == name) {
                found.push(path);
            } else {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What this runs on: for a report that compares nothing across machines.
pub(crate) fn machine(root: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    let line = |program: &str, args: &[&str]| {
        let output = capture(Command::new(program).current_dir(root).args(args))?;
        Ok::<_, Failure>(String::from_utf8_lossy(&output).trim().to_owned())
    };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let dirty = if line("git", &["status", "--porcelain"])?.is_empty() { "" } else { ", changed" };
    let disk = std::env::temp_dir();
    let disk = line("stat", &["--file-system", "--format=%T", &disk.to_string_lossy()])?;
    Ok(vec![
        ("commit", format!("`{}`{dirty}", line("git", &["rev-parse", "--short", "HEAD"])?)),
        ("processor", format!("{cores} x {}", model.unwrap_or("unknown"))),
        ("kernel", line("uname", &["-sr"])?),
        ("file system", disk),
        ("compiler", line("rustc", &["--version"])?),
    ])
}

/// How tests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tested {
    Passed,
    /// One failed, or it took too long.
    Failed,
    NotBuilt,
}

/// Runs cargo in a copy of the workspace, with a target folder beside it, and says only whether it
/// ended well.
fn quietly(copy: &Path, command: &mut Command) -> Result<bool, Failure> {
    let status = command
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.with_extension("target"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status
        .map(|status| status.success())
        .map_err(|error| Failure::new(format!("cannot run cargo: {error}")))
}

/// Whether the library that these tests are of compiles.
pub(crate) fn cargo_check(copy: &Path, args: &[&str]) -> Result<bool, Failure> {
    let package = args.iter().take_while(|arg| **arg != "--test" && **arg != "--");
    quietly(copy, cargo_command().arg("check").args(package))
}

/// Builds and runs tests of a copy of the workspace, in a target folder beside it.
pub(crate) fn cargo_test(copy: &Path, args: &[&str]) -> Result<Tested, Failure> {
    /// A mutant may hang.
    const LIMIT_S: &str = "900";
    let quiet = |command: &mut Command| quietly(copy, command);
    let built = args.iter().take_while(|arg| **arg != "--");
    if !quiet(cargo_command().arg("test").args(built).arg("--no-run"))? {
        return Ok(Tested::NotBuilt);
    }
    let cargo = cargo_command();
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=10", LIMIT_S]).arg(cargo.get_program()).arg("test").args(args);
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    Ok(if quiet(&mut limited)? { Tested::Passed } else { Tested::Failed })
}

/// Copies what git tracks or would track into the target folder; only what is not there yet, so
/// that cargo builds only what has changed.
pub(crate) fn scratch_copy(root: &Path, name: &str) -> Result<PathBuf, Failure> {
    let copy = target(root).join(name).join("tree");
    for path in listed(root)? {
        let (from, to) = (root.join(&path), copy.join(&path));
        let Ok(wanted) = std::fs::read(&from) else { continue };
        if std::fs::read(&to).is_ok_and(|there| there == wanted) {
            continue;
        }
        let parent = to.parent().unwrap_or(&copy);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&to, &wanted))
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", to.display())))?;
    }
    Ok(copy)
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// Whether a program can be started at all.
pub(crate) fn is_installed(program: &str) -> bool {
    let started = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match started {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// What it gave, and how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}

/// Asks cargo about the workspace the current directory belongs to.
pub(crate) fn load_workspace() -> Result<Workspace, Failure> {
    const ASK: [&str; 4] = ["metadata", "--no-deps", "--format-version", "1"];
    // Without dependencies there is nothing to fetch; should cargo disagree, let it.
    let answer = capture(cargo_command().args(ASK).arg("--offline"))
        .or_else(|_offline| capture(cargo_command().args(ASK)))?;
    let metadata: Value = serde_json::from_slice(&answer)
        .map_err(|error| Failure::new(format!("cannot read `cargo metadata`: {error}")))?;
    Workspace::parse(&metadata, &|manifest| std::fs::read_to_string(manifest).unwrap_or_default())
}

/// Reads the files that git tracks or would track; outside a repository, all but `target`.
pub(crate) fn load_tree(root: &Path) -> Result<Tree, Failure> {
    tree::read(root, listed(root)?)
}

fn listed(root: &Path) -> Result<Vec<String>, Failure> {
    let listed = capture(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    match listed {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes)
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect()),
        Err(_no_repository) => tree::walk(root),
    }
}

fn capture(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("cannot run `{program}`: {error}")))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("`{program}` failed:\n{}", stderr.trim_end())))
    }
}

/// The cargo that started us, without what `cargo run` says about *this* package: build scripts
/// that look at those variables would run again, and the dependencies be built twice.
fn cargo_command() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if about_us.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}
