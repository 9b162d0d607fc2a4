//! A workspace of its own for each test, and the command run in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::binary;
use crate::tree::Tree;

/// Everything is allowed but what stands below `ask`, which people are asked about, and below
/// `no`, which is forbidden.
pub(crate) const POLICY: &str = "\
version: 1
default: deny
paths: { forbidden: [\"no/**\", \"**/.env\"], protected: [\"ask/**\"], allowed: [\"**\"] }
risk: { low: allow, medium: allow, high: need_approval, critical: { verdict: need_approval, approvals: 2 } }
";

/// A folder for one test: a workspace, a home, and room beside both.
pub(crate) struct Place {
    dir: TempDir,
    /// The workspace.
    pub(crate) root: PathBuf,
    /// The first approver's token.
    pub(crate) token: String,
}

impl Place {
    /// A folder that is no workspace yet.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "workspace", "beside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let root = dir.path().canonicalize().unwrap().join("workspace");
        Self { dir, root, token: String::new() }
    }

    /// A workspace with the policy that `init` writes.
    pub(crate) fn initialised() -> Self {
        let mut place = Self::bare();
        place.init();
        place
    }

    /// A workspace with [`POLICY`].
    pub(crate) fn new() -> Self {
        Self::with_policy(POLICY)
    }

    pub(crate) fn with_policy(policy: &str) -> Self {
        let place = Self::initialised();
        place.policy(policy);
        place
    }

    pub(crate) fn init(&mut self) {
        let made = self.run(&["init"]).done();
        made["approver_token"].as_str().unwrap().clone_into(&mut self.token);
    }

    /// A person edits the policy.
    pub(crate) fn policy(&self, text: &str) {
        fs::write(self.root.join(".lictor/policy.yaml"), text).unwrap();
    }

    /// A path beside the workspace: documents that are given to the command lie there.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.root.parent().unwrap().join("beside").join(name)
    }

    /// A file beside the workspace; gives its path as an argument.
    pub(crate) fn document(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.beside(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A file of the workspace.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).symlink_metadata().is_ok()
    }

    pub(crate) fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where the signing key and the rollback guard lie.
    pub(crate) fn keys(&self) -> PathBuf {
        self.home().join("state/lictor")
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.root)
    }

    /// The command in this workspace, with nothing of the caller's own environment that it reads.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(&self.root).stdin(Stdio::null());
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("LICTOR_")) {
            command.env_remove(name);
        }
        let home = self.home();
        command
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("HOME", home);
        command
    }

    /// Runs it with `--json` and holds the answer against what every answer promises.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with(arguments, |_| {})
    }

    /// As the approver who `init` made.
    #[track_caller]
    pub(crate) fn run_as_approver(&self, arguments: &[&str]) -> Answer {
        self.run_with(arguments, |command| _ = command.env("LICTOR_APPROVER_TOKEN", &self.token))
    }

    #[track_caller]
    pub(crate) fn run_with_token(&self, token: &str, arguments: &[&str]) -> Answer {
        self.run_with(arguments, |command| _ = command.env("LICTOR_APPROVER_TOKEN", token))
    }

    #[track_caller]
    pub(crate) fn run_with(&self, arguments: &[&str], set: impl FnOnce(&mut Command)) -> Answer {
        let mut command = self.command(arguments);
        command.arg("--json");
        set(&mut command);
        let output = command.output().unwrap();
        Answer::new(arguments, output.status.code(), output.stdout, output.stderr)
    }

    /// Runs it with `--json` and text on its standard input.
    #[track_caller]
    pub(crate) fn run_with_stdin(&self, arguments: &[&str], input: &[u8]) -> Answer {
        let mut command = self.command(arguments);
        command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        Answer::new(arguments, output.status.code(), output.stdout, output.stderr)
    }

    /// Runs it as a person would, without `--json`.
    #[track_caller]
    pub(crate) fn person(&self, arguments: &[&str]) -> Spoken {
        let output = self.command(arguments).output().unwrap();
        let spoken = Spoken {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!spoken.stderr.contains("panicked"), "{arguments:?}: {}", spoken.stderr);
        spoken
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.root, &self.home(), arguments)
    }

    /// The whole trail, exported; its density is checked on the way.
    #[track_caller]
    pub(crate) fn trail(&self) -> Vec<Value> {
        let out = self.beside("trail.jsonl");
        self.run(&["audit", "export", out.to_str().unwrap()]).done();
        let events = lines(&out);
        let mut sessions: BTreeMap<String, u64> = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], at, "the trail has a hole");
            let next = sessions.entry(event["session_id"].to_string()).or_default();
            assert_eq!(event["session_seq"], *next, "a session has a hole: {event}");
            *next += 1;
        }
        events
    }

    /// The last thing that happened; that its session ended is none.
    #[track_caller]
    pub(crate) fn last_event(&self) -> Value {
        let happened = |event: &Value| event["event_type"] != "session_ended";
        self.trail().into_iter().rfind(happened).unwrap()
    }

    #[track_caller]
    pub(crate) fn verify(&self) {
        let verified = self.run(&["audit", "verify"]).done();
        assert_eq!(verified["verdict"], "complete", "{verified}");
    }

    /// How many events there are.
    #[track_caller]
    pub(crate) fn n_events(&self) -> u64 {
        self.run(&["audit", "count"]).done()["count"].as_u64().unwrap()
    }

    /// Seals a bare change set; gives the path of the sealed document.
    #[track_caller]
    pub(crate) fn seal(&self, name: &str, changes: &Value) -> String {
        let bare = serde_json::json!({ "changes": changes }).to_string();
        let sealed = self.run_with_stdin(&["change", "seal", "-"], bare.as_bytes()).done();
        self.document(name, sealed.to_string())
    }

    /// The id of the only approval that waits.
    #[track_caller]
    pub(crate) fn waiting(&self) -> String {
        let list = self.run(&["approvals", "list"]).done();
        let waiting = list["approvals"].as_array().unwrap();
        assert_eq!(waiting.len(), 1, "{list}");
        waiting[0]["id"].as_str().unwrap().to_owned()
    }
}

/// The lines of a JSON Lines file.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn git(folder: &Path, home: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.invalid"])
        .args(["-c", "commit.gpgsign=false", "-c", "core.fileMode=true"])
        .args(arguments)
        .current_dir(folder)
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a person is shown.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What the command answered with `--json`.
#[derive(Debug)]
pub(crate) struct Answer {
    what: String,
    pub(crate) code: i32,
    pub(crate) json: Value,
    stderr: String,
}

impl Answer {
    /// One JSON object and nothing else on standard output; `error` exactly when the exit code
    /// is not 0, with a code that fits it.
    #[track_caller]
    pub(crate) fn new(
        arguments: &[&str],
        code: Option<i32>,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    ) -> Self {
        let what = arguments.join(" ");
        let stdout = String::from_utf8(stdout).unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        let code = code.unwrap_or_else(|| panic!("`{what}` was killed: {stderr}"));
        assert!(!stderr.contains("panicked"), "`{what}`: {stderr}");
        let json: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("`{what}`: {error} in {stdout:?}, {stderr}"));
        assert!(json.is_object(), "`{what}`: {json}");
        assert_eq!(stdout.lines().count(), 1, "`{what}` says one line: {stdout}");
        let answer = Self { what, code, json, stderr };
        answer.check();
        answer
    }

    #[track_caller]
    fn check(&self) {
        let Self { what, code, json, .. } = self;
        if *code == 0 {
            assert!(json.get("error").is_none(), "`{what}`: {json}");
            return;
        }
        let error = json["error"].as_object().unwrap_or_else(|| panic!("`{what}` {code}: {json}"));
        let keys: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "details", "message", "next_steps"], "`{what}`");
        assert!(error["details"].is_object(), "`{what}`: {json}");
        assert!(error["next_steps"].is_array(), "`{what}`: {json}");
        assert!(!error["message"].as_str().unwrap().trim().is_empty(), "`{what}`: {json}");
        let fitting = match error["code"].as_str().unwrap() {
            "failed" => 1,
            "usage" | "invalid_input" | "not_found" => 2,
            "denied" => 3,
            "approval_required" => 4,
            "conflict" => 5,
            "integrity" => 6,
            "busy" => 7,
            "incomplete" => 8,
            other => panic!("`{what}`: no code `{other}` is documented"),
        };
        assert_eq!(*code, fitting, "`{what}`: {json}");
    }

    /// What it said beside the answer.
    pub(crate) fn told(&self) -> &str {
        &self.stderr
    }

    /// It was done.
    #[track_caller]
    pub(crate) fn done(self) -> Value {
        assert_eq!(self.code, 0, "`{}`: {} {}", self.what, self.json, self.stderr);
        self.json
    }

    /// It ended with this code of `cli.md`.
    #[track_caller]
    pub(crate) fn ends(self, code: i32, name: &str) -> Value {
        assert_eq!(self.code, code, "`{}`: {} {}", self.what, self.json, self.stderr);
        assert_eq!(self.json["error"]["code"], name, "`{}`", self.what);
        self.json
    }

    /// It ended with one of these exit codes.
    #[track_caller]
    pub(crate) fn ends_with_one_of(self, codes: &[i32]) -> Value {
        assert!(codes.contains(&self.code), "`{}` {}: {}", self.what, self.code, self.json);
        self.json
    }
}

/// The message of a failure.
pub(crate) fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap()
}

/// A field that is text.
#[track_caller]
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {value}"))
}

/// These keys are there at least.
#[track_caller]
pub(crate) fn has(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no `{key}` in {value}");
    }
}
