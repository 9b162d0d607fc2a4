//! `all_or_nothing`, `recorded_before_effect`, `recorded_before_acknowledged`: a hundred power cuts on ext4, where the machine has the means; where it has not, that is said.

use std::process::Command;

/// What the program answers with when the machine lacks something.
const MISSING: i32 = 3;

#[test]
fn a_hundred_power_cuts_tear_nothing() {
    tears_nothing(&["--states", "100", "--seed", "3"]);
}

/// Acknowledged behind the first barrier, and all the same never lost: the next start finishes it.
#[test]
fn power_cuts_lose_nothing_that_was_acknowledged_early() {
    tears_nothing(&["--states", "60", "--seed", "5", "--lazy-changes"]);
}

#[expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "the test is of a program, and may fail loudly"
)]
fn tears_nothing(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_lictor-powercut"))
        .args(["--fs", "ext4"])
        .args(arguments)
        .output()
        .expect("the program runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Not `eprintln!`: the harness keeps that to itself when a test passes.
    aloud(&format!("{out}{err}"));
    if output.status.code() == Some(MISSING) {
        aloud("SKIPPED: the power-cut test of the transactions did not run\n");
        return;
    }
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    assert!(out.contains("failed: 0 of "), "{out}");
}

/// A run that does nothing but say what is missing must not look like one that passed.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test is of a program")]
fn missing_means_are_named_and_are_no_success() {
    let output = Command::new(env!("CARGO_BIN_EXE_lictor-powercut"))
        .args(["--fs", "ext4", "--states", "1", "--json"])
        .env_clear()
        .env("PATH", "/nowhere")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(MISSING));
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("unshare: `apt-get install util-linux`"), "{out}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("skipped: nothing was tested"));
}

fn aloud(text: &str) {
    use std::io::Write as _;
    // Where nobody reads it there is nobody to tell.
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}
