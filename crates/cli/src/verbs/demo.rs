//! `demo`: the whole road in a scratch repository, by the very commands that a person would type.
#![expect(clippy::disallowed_methods, reason = "the demo makes files and runs git and lictor")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anstyle::Style;
use serde_json::json;

use super::Answer;
use crate::args::Demo;
use crate::failure::Failure;
use crate::output::{DIM, Output};

const BOLD: Style = Style::new().bold();

const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../demo/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("../../demo/src/lib.rs.txt")),
    ("NOTES.md", include_str!("../../demo/NOTES.md.txt")),
    ("tally.sh", include_str!("../../demo/tally.sh.txt")),
];
const PATCH: &str = include_str!("../../demo/fix.patch");
const WORKFLOW: &str = include_str!("../../demo/release_notes.workflow.yaml");

pub(crate) fn demo(wish: &Demo, output: &Output) -> Answer {
    let stage = Stage::set(wish.dir.as_deref(), *output)?;
    stage.say("A small crate in a git repository becomes a workspace.");
    stage.lictor(&["init", "--quiet"], 0)?;
    stage.git(&["add", "--all"])?;
    stage.git(&["commit", "--quiet", "--message", "a workspace for lictor"])?;

    stage.say("An agent proposes a patch: a fix, a new test, a deletion, a rename, a mode.");
    stage.lictor(&["check", "apply", "../fix.patch"], 0)?;
    stage.say("The policy lets it through. It is applied as a whole, or not at all.");
    stage.lictor(&["apply", "../fix.patch", "--intent", "the mean of nothing"], 0)?;
    stage.git(&["status", "--short"])?;
    stage.say("The same patch again is answered from the record.");
    stage.lictor(&["apply", "../fix.patch", "--intent", "the mean of nothing"], 0)?;

    stage.say("What the policy forbids does not happen, and the reason names the rule.");
    stage.lictor(&["call", "fs.write", "path=.env", "content=SECRET=1"], 3)?;
    stage.lictor(&["call", "fs.write", "path=.git/hooks/post-commit", "content=#!/bin/sh"], 3)?;

    stage.say("A workflow writes a file, and its last step fails: everything comes back.");
    let input = r#"--input={"version":"0.2.0"}"#;
    stage.lictor(&["run", "../release_notes.workflow.yaml", input], 1)?;
    stage.check(!stage.repository.join("notes").exists(), "the file is gone again")?;

    stage.say("The patch is undone: the same bytes, the same modes.");
    stage.lictor(&["undo"], 0)?;
    let status = stage.git(&["status", "--short"])?;
    stage.check(status.trim().is_empty(), "git sees no change at all")?;
    stage.check(!is_executable(&stage.repository.join("tally.sh"))?, "the mode is back, too")?;

    stage.say("All of it stands in the trail, the refusals as well, and the trail holds.");
    stage.lictor(&["log"], 0)?;
    stage.lictor(&["audit", "query", "--type", "action_rejected"], 0)?;
    stage.lictor(&["audit", "verify"], 0)?;
    if output.is_json() {
        output.result(&json!({ "workspace": stage.repository }), String::new);
    } else {
        output.line(&format!("\nLook around: cd {}", stage.repository.display()));
    }
    Ok(0)
}

fn is_executable(path: &Path) -> Result<bool, Failure> {
    let meta = fs::metadata(path).map_err(Failure::failed)?;
    Ok(meta.permissions().mode() & 0o100 != 0)
}

/// The scratch repository, and the very program that runs.
struct Stage {
    program: PathBuf,
    repository: PathBuf,
    output: Output,
}

impl Stage {
    fn set(wanted: Option<&Path>, output: Output) -> Result<Self, Failure> {
        let folder = match wanted {
            Some(folder) => folder.to_path_buf(),
            None => fresh_folder()?,
        };
        if folder.exists() {
            return Err(Failure::input(format!("`{}` is there already", folder.display())));
        }
        let stage = Self {
            program: std::env::current_exe().map_err(Failure::failed)?,
            repository: folder.join("tally"),
            output,
        };
        for (name, text) in FILES {
            let path = stage.repository.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(Failure::failed)?;
            }
            fs::write(&path, text).map_err(Failure::failed)?;
        }
        fs::write(folder.join("fix.patch"), PATCH).map_err(Failure::failed)?;
        fs::write(folder.join("release_notes.workflow.yaml"), WORKFLOW).map_err(Failure::failed)?;
        stage.git(&["init", "--quiet", "--initial-branch", "main"])?;
        stage.git(&["add", "--all"])?;
        stage.git(&["commit", "--quiet", "--message", "tally 0.1.0"])?;
        Ok(stage)
    }

    fn say(&self, text: &str) {
        if !self.output.is_json() {
            self.output.line(&format!("\n{BOLD}{text}{BOLD:#}"));
        }
    }

    fn check(&self, holds: bool, claim: &str) -> Result<(), Failure> {
        if !holds {
            return Err(Failure::failed(format!("the demo's claim does not hold: {claim}")));
        }
        if !self.output.is_json() {
            self.output.line(&format!("{DIM}# {claim}{DIM:#}"));
        }
        Ok(())
    }

    /// Runs this program as a person would, and wants the exit code that its documentation says.
    fn lictor(&self, arguments: &[&str], expected: i32) -> Result<(), Failure> {
        self.show("lictor", arguments);
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.repository).stdin(Stdio::null());
        if self.output.is_json() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let status = command.status().map_err(Failure::failed)?;
        if status.code() == Some(expected) {
            return Ok(());
        }
        let call = arguments.join(" ");
        Err(Failure::failed(format!("`lictor {call}` ended with {status}, not with {expected}")))
    }

    fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        let asks = matches!(arguments.first(), Some(&"status"));
        if asks {
            self.show("git", arguments);
        }
        let run = Command::new("git")
            .args(["-c", "user.name=demo", "-c", "user.email=demo@example.invalid"])
            .args(["-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(&self.repository)
            .output()
            .map_err(|error| Failure::failed(format!("git is needed for the demo: {error}")))?;
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        if !run.status.success() {
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            return Err(Failure::failed(format!("git {}: {said}", arguments.join(" "))));
        }
        if asks && !self.output.is_json() {
            self.output.line(text.trim_end());
        }
        Ok(text)
    }

    fn show(&self, program: &str, arguments: &[&str]) {
        if !self.output.is_json() {
            self.output.line(&format!("{DIM}$ {program} {}{DIM:#}", arguments.join(" ")));
        }
    }
}

fn fresh_folder() -> Result<PathBuf, Failure> {
    let base = std::env::temp_dir();
    let clock = lictor::context::SystemClock;
    let id = lictor::context::ExecutionId::generate(&clock);
    let id = id.as_str().trim_start_matches("exe_").to_owned();
    base.canonicalize().map(|base| base.join(format!("lictor-demo-{id}"))).map_err(Failure::failed)
}
