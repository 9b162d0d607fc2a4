//! The other verifier: `tools/verify.py`, which was written from `docs/audit-format.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether there is a Python; without one the test says so, and fails where it must not be missing.
#[expect(clippy::disallowed_methods, reason = "the other verifier is another program")]
pub(crate) fn python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "python3 is not installed");
    if !there {
        eprintln!("skipped: python3 is not installed");
    }
    there
}

/// What a program that knows the other verifier says to each case, in their order. The program
/// is given the folder of the verifier and a file with the list of cases; the files of the cases lie
/// in `folder`.
#[expect(clippy::disallowed_methods, reason = "the other verifier is another program")]
#[track_caller]
pub(crate) fn says(folder: &Path, program: &str, cases: &[Value]) -> Vec<Value> {
    let list = folder.join("cases.json");
    fs::write(&list, json!(cases).to_string()).unwrap();
    let mut python = Command::new("python3");
    python.args(["-B", "-c", program]).arg(repository().join("tools")).arg(list);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said.len(), cases.len());
    said
}

/// A small generator: the same cases each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n).unwrap()).unwrap()
    }
}
