//! The example does what its text says.
#![expect(clippy::disallowed_methods, reason = "a test starts the example")]

use std::process::Command;

#[test]
fn the_run_waits_for_a_person_and_ends_as_they_say() {
    let run = Command::new(env!("CARGO_BIN_EXE_lictor-example-release-notes")).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    let (agreed, refused) = said.split_once("version 0.3.0").unwrap();
    assert!(agreed.contains("Publish the notes of 0.2.0?"), "{said}");
    for line in ["completed", "  notes/0.2.0.md: there", "  LATEST.md: there"] {
        assert!(agreed.lines().any(|it| it == line), "{line}: {said}");
    }
    // What the refused run had written is gone, and what the other one wrote is untouched.
    for line in ["rolled_back", "  notes/0.3.0.md: not there", "  notes/0.2.0.md: there"] {
        assert!(refused.lines().any(|it| it == line), "{line}: {said}");
    }
    assert!(refused.contains("the trail is complete"), "{said}");
}
