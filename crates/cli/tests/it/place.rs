//! A workspace of its own for each test, with a home beside it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Everything is allowed but what stands below `ask`, which people are asked about, and below
/// `no`, which is forbidden.
pub(crate) const POLICY: &str = "\
version: 1
default: deny
paths: { forbidden: [\"no/**\", \"**/.env\"], protected: [\"ask/**\"], allowed: [\"**\"] }
risk: { low: allow, medium: allow, high: need_approval, critical: { verdict: need_approval, approvals: 2 } }
";

pub(crate) struct Place {
    dir: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) token: String,
    secret: Option<(&'static str, &'static str)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with_policy(POLICY)
    }

    pub(crate) fn with_policy(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "workspace"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let root = dir.path().canonicalize().unwrap().join("workspace");
        let mut place = Self { dir, root, token: String::new(), secret: None };
        let (_, made) = place.run(&["init"]);
        made["approver_token"].as_str().unwrap().clone_into(&mut place.token);
        fs::write(place.root.join(".lictor/policy.yaml"), policy).unwrap();
        place
    }

    /// The same, where the command finds a secret.
    pub(crate) fn with_secret(mut self, name: &'static str, secret: &'static str) -> Self {
        self.secret = Some((name, secret));
        self
    }

    /// Where the keys lie.
    pub(crate) fn keys(&self) -> PathBuf {
        self.dir.path().join("home/state/lictor")
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The variables with which the command runs here, and no others of ours that it reads.
    pub(crate) fn environment(&self) -> Vec<(String, PathBuf)> {
        let home = self.dir.path().join("home");
        vec![
            ("HOME".to_owned(), home.clone()),
            ("XDG_STATE_HOME".to_owned(), home.join("state")),
            ("XDG_CONFIG_HOME".to_owned(), home.join("config")),
        ]
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
        command.arg("--json").args(arguments).current_dir(&self.root).stdin(Stdio::null());
        for name in ours() {
            command.env_remove(name);
        }
        command.envs(self.environment()).envs(self.secret);
        command
    }

    /// The command's exit code and its answer.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, Value) {
        answer(self.command(arguments), arguments)
    }

    /// The same, as the approver whom `init` made.
    #[track_caller]
    pub(crate) fn approver(&self, arguments: &[&str]) -> Value {
        self.approver_with(arguments, &[])
    }

    /// The same, with more variables.
    #[track_caller]
    pub(crate) fn approver_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Value {
        let mut command = self.command(arguments);
        command.env("LICTOR_APPROVER_TOKEN", &self.token).envs(more.iter().copied());
        let (code, json) = answer(command, arguments);
        assert_eq!(code, 0, "{arguments:?}: {json}");
        json
    }

    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> Value {
        let (code, json) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {json}");
        json
    }

    /// The trail, after it was verified.
    #[track_caller]
    pub(crate) fn trail(&self) -> Vec<Value> {
        assert_eq!(self.done(&["audit", "verify"])["verdict"], "complete");
        let found = self.done(&["audit", "query", "--limit", "100000"]);
        found["events"].as_array().unwrap().clone()
    }
}

/// The variables of this process that the command would read.
pub(crate) fn ours() -> Vec<std::ffi::OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_string_lossy().starts_with("LICTOR_")).collect()
}

#[track_caller]
fn answer(mut command: Command, arguments: &[&str]) -> (i32, Value) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stderr}"));
    (output.status.code().expect("it was not killed"), json)
}
