//! A person at a terminal: a pseudo-terminal, and somebody who types.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::place::Place;

/// A command whose standard input and error are a terminal.
struct Terminal {
    child: Child,
    keyboard: File,
    seen: String,
}

impl Terminal {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = place.command(arguments);
        command.stdin(slave.try_clone().unwrap()).stderr(slave).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        // The command itself holds the other end, and must let go of it when the child ends.
        drop(command);
        Self { child, keyboard: File::from(master), seen: String::new() }
    }

    /// Reads until the text is on the screen; whether it comes before the command ends.
    fn shows(&mut self, text: &str) -> bool {
        let mut buffer = [0_u8; 4096];
        while !self.seen.contains(text) {
            // The other end being closed is an error on Linux, not an end.
            match self.keyboard.read(&mut buffer) {
                Ok(n) if n > 0 => self.seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
                _ => return false,
            }
        }
        true
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    /// The code that the person is shown.
    fn code(&self) -> String {
        let (_, rest) = self.seen.split_once("Type ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    fn ends(mut self) -> i32 {
        while self.shows("\u{0}") {}
        assert!(!self.seen.contains("panicked"), "{}", self.seen);
        self.child.wait().unwrap().code().unwrap()
    }
}

fn asking() -> (Place, String) {
    let place = Place::new();
    place
        .run(&["call", "fs.write", "path=ask/a", "content=the new text"])
        .ends(4, "approval_required");
    let id = place.waiting();
    (place, id)
}

#[test]
fn a_person_sees_what_they_agree_to_and_types_the_code() {
    let (place, id) = asking();
    let mut terminal = Terminal::start(&place, &["approvals", "approve", &id]);
    assert!(terminal.shows("to agree"), "{}", terminal.seen);
    for part in ["ask/a", "fs.write", "paths.protected"] {
        assert!(terminal.seen.contains(part), "no `{part}` in {}", terminal.seen);
    }
    let code = terminal.code();
    terminal.types(&code);
    assert_eq!(terminal.ends(), 0);
    place.run(&["call", "fs.write", "path=ask/a", "content=the new text"]).done();
}

#[test]
fn anything_but_the_code_is_a_no() {
    for answer in ["", "y", "yes", "Y", "000000"] {
        let (place, id) = asking();
        let mut terminal = Terminal::start(&place, &["approvals", "approve", &id]);
        assert!(terminal.shows("to agree"), "{}", terminal.seen);
        terminal.types(answer);
        assert_eq!(terminal.ends(), 3, "{answer:?}");
        assert_eq!(place.run(&["approvals", "show", &id]).done()["state"], "pending");
    }
}

#[test]
fn the_caller_may_approve_at_once_and_sees_the_change_first() {
    let place = Place::new();
    let call = ["call", "fs.write", "path=ask/a", "content=the new text", "--approve"];
    let mut terminal = Terminal::start(&place, &call);
    assert!(terminal.shows("to agree"), "{}", terminal.seen);
    assert!(terminal.seen.contains("+the new text"), "no diff: {}", terminal.seen);
    let code = terminal.code();
    terminal.types(&code);
    assert_eq!(terminal.ends(), 0);
    assert_eq!(place.read("ask/a"), "the new text");
}

#[test]
fn who_sits_at_the_terminal_is_no_name_on_a_flag() {
    let (place, id) = asking();
    place.run_as_approver(&["approvers", "add", "zoe"]).done();
    let mut terminal = Terminal::start(&place, &["approvals", "approve", &id, "--user", "zoe"]);
    if terminal.shows("to agree") {
        let code = terminal.code();
        terminal.types(&code);
        assert_eq!(terminal.ends(), 0);
    }
    let shown = place.run(&["approvals", "show", &id]).done();
    assert!(!shown["granted_by"].to_string().contains("zoe"), "{shown}");
}

#[test]
fn with_json_nobody_is_prompted_at_a_terminal_either() {
    let (place, id) = asking();
    let mut terminal = Terminal::start(&place, &["approvals", "approve", &id, "--json"]);
    assert!(!terminal.shows("to agree"), "{}", terminal.seen);
    assert_eq!(terminal.ends(), 3);
}
