//! The example does what its text says.
#![expect(clippy::disallowed_methods, reason = "a test starts the example")]

use std::process::Command;

#[test]
fn the_agent_is_let_work_and_is_reined_in() {
    let run = Command::new(env!("CARGO_BIN_EXE_lictor-example-coding-agent")).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    // What came of each proposal, in order.
    let answers: Vec<_> = said
        .split("\nagent: ")
        .skip(1)
        .map(|part| part.lines().nth(1).unwrap_or_default().trim())
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    let expected = [
        "done",
        "done",
        "failed",
        "denied",
        "denied",
        "invalid_input",
        "modify src/lib.rs",
        "approval_required",
    ];
    assert_eq!(answers, expected, "{said}");
    assert!(said.contains("tests: passed"), "{said}");
    assert!(said.contains("tests-stay"), "{said}");
    assert!(said.contains("1 executions undone"), "{said}");
    assert!(said.contains("the code is as it was"), "{said}");
    assert!(said.contains("the trail is complete"), "{said}");
}
