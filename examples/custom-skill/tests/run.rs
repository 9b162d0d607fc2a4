//! The example does what its text says.
#![expect(clippy::disallowed_methods, reason = "a test starts the example")]

use std::process::Command;

#[test]
fn the_skill_is_described_judged_done_and_undone() {
    let run = Command::new(env!("CARGO_BIN_EXE_lictor-example-custom-skill")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let said = String::from_utf8(run.stdout).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("refused: ")).collect();
    let expected = [
        "added, line 2",
        "  | ## Unreleased",
        "  | - `lictor undo` names what stands in its way",
        "  | - the first thing",
        "  | ",
        "  | ## 0.1.0",
        "undone",
        "  | ## Unreleased",
        "  | - the first thing",
        "  | ",
        "  | ## 0.1.0",
    ];
    assert_eq!(lines, expected);
    assert!(said.contains("refused: ") && said.contains("entry"), "{said}");
}
