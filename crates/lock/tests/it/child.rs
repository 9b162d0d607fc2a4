//! This test binary, started again as another process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use lictor_lock::{CancelFlag, WorkspaceLock};

use crate::claim;

const MARK: &str = "child: ";

/// Another process and what it says.
pub(crate) struct Other {
    pub(crate) process: Child,
    lines: BufReader<ChildStdout>,
}

impl Other {
    pub(crate) fn start(role: &str, lock: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::role", "--nocapture"])
            .env("LICTOR_LOCK_ROLE", role)
            .env("LICTOR_LOCK_FILE", lock)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// The next thing it says; `None` at its end.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim().to_owned());
            }
        }
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Lets it go on, and waits for its end.
    pub(crate) fn finish(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{text}").unwrap();
    out.flush().unwrap();
}

fn wait_for_parent() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Not a test: what the other process does. Without a role it does nothing.
#[test]
fn role() {
    let Ok(role) = std::env::var("LICTOR_LOCK_ROLE") else {
        return;
    };
    let lock = WorkspaceLock::new(std::env::var_os("LICTOR_LOCK_FILE").unwrap());
    match role.as_str() {
        "hold" => {
            let lease = lock.try_acquire(claim("child-exec").plan("child-plan")).unwrap();
            say(&lease.token().to_string());
            wait_for_parent();
            lease.release().unwrap();
        }
        "drop" => {
            let lease = lock.try_acquire(claim("child-exec")).unwrap();
            say(&lease.token().to_string());
        }
        "many" => {
            for _ in 0..25 {
                let lease = lock
                    .acquire(
                        claim("many"),
                        Duration::from_secs(60),
                        &CancelFlag::new(),
                        &mut |_| {},
                    )
                    .unwrap();
                say(&lease.token().to_string());
                lease.check().unwrap();
                lease.release().unwrap();
            }
        }
        other => panic!("unknown role {other}"),
    }
}
