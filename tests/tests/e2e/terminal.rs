//! A person at a terminal: a pseudo-terminal, and somebody who types.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::place::Place;

/// A command whose standard input and error are a terminal.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    seen: String,
    /// Also what was forgotten.
    all: String,
}

impl Terminal {
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::start_with(place, arguments, None)
    }

    /// With its standard output on the terminal as well, which has so many lines.
    fn start_on_screen(place: &Place, arguments: &[&str], rows: u16) -> Self {
        Self::start_command(place.command(arguments), Some(rows))
    }

    /// Forgets what is on the screen.
    fn forgets(&mut self) {
        self.all.push_str(&std::mem::take(&mut self.seen));
    }

    fn start_with(place: &Place, arguments: &[&str], token: Option<&str>) -> Self {
        let mut command = place.command(arguments);
        if let Some(token) = token {
            command.env("LICTOR_APPROVER_TOKEN", token);
        }
        Self::start_command(command, None)
    }

    fn start_command(mut command: Command, rows: Option<u16>) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        command.stdin(slave.try_clone().unwrap()).stdout(Stdio::null());
        if let Some(rows) = rows {
            let size = Winsize { ws_row: rows, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&slave, size).unwrap();
            command.stdout(slave.try_clone().unwrap());
        }
        command.stderr(slave);
        let child = command.spawn().unwrap();
        // The command itself holds the other end, and must let go of it when the child ends.
        drop(command);
        Self { child, keyboard: File::from(master), seen: String::new(), all: String::new() }
    }

    /// Reads until the text is on the screen; whether it comes before the command ends.
    pub(crate) fn shows(&mut self, text: &str) -> bool {
        self.shows_one_of(&[text])
    }

    fn shows_one_of(&mut self, texts: &[&str]) -> bool {
        let mut buffer = [0_u8; 4096];
        while !texts.iter().any(|text| self.seen.contains(text)) {
            // The other end being closed is an error on Linux, not an end.
            match self.keyboard.read(&mut buffer) {
                Ok(n) if n > 0 => self.seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
                _ => return false,
            }
        }
        true
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    /// What is on the screen.
    pub(crate) fn seen(&self) -> &str {
        &self.seen
    }

    /// The code that the person is shown.
    pub(crate) fn code(&self) -> String {
        let (_, rest) = self.seen.split_once("Type ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    pub(crate) fn ends(mut self) -> i32 {
        while self.shows("\u{0}") {}
        assert!(!self.seen.contains("panicked"), "{}", self.seen);
        self.child.wait().unwrap().code().unwrap()
    }
}

fn asking() -> (Place, String) {
    asking_in(Place::new())
}

fn asking_in(place: Place) -> (Place, String) {
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

const PIN: &str = "horse-4711";

/// Sets the PIN of the first approver, by their token.
fn set_pin(place: &Place, pin: &str) -> i32 {
    let mut terminal = Terminal::start_with(place, &["approvers", "pin"], Some(&place.token));
    for question in ["The new PIN", "The same again"] {
        assert!(terminal.shows(question), "{}", terminal.seen);
        terminal.types(pin);
    }
    assert!(pin.is_empty() || !terminal.shows(pin), "it is shown: {}", terminal.seen);
    terminal.ends()
}

/// Types the code that is shown, and a PIN; gives the exit code.
fn approve(place: &Place, id: &str, pin: &str) -> i32 {
    let mut terminal = Terminal::start(place, &["approvals", "approve", id]);
    assert!(terminal.shows("to agree"), "{}", terminal.seen);
    let code = terminal.code();
    terminal.types(&code);
    assert!(terminal.shows("Your PIN"), "{}", terminal.seen);
    terminal.types(pin);
    assert!(pin.is_empty() || !terminal.shows(pin), "it is shown: {}", terminal.seen);
    terminal.ends()
}

#[test]
fn who_has_a_pin_approves_with_it_and_the_code_alone_is_not_enough() {
    let (place, id) = asking();
    assert_eq!(set_pin(&place, PIN), 0);
    for wrong in ["", "horse-4712", "HORSE-4711"] {
        assert_eq!(approve(&place, &id, wrong), 3, "{wrong:?}");
    }
    // Whoever reads the code off the screen and types whatever is asked for has no PIN.
    let mut terminal = Terminal::start(&place, &["approvals", "approve", &id]);
    assert!(terminal.shows("to agree"), "{}", terminal.seen);
    terminal.types("000000");
    assert_eq!(terminal.ends(), 3);
    assert_eq!(place.run(&["approvals", "show", &id]).done()["state"], "pending");
    assert_eq!(approve(&place, &id, PIN), 0);
    place.run(&["call", "fs.write", "path=ask/a", "content=the new text"]).done();
    crate::secrets::assert_nowhere(&place, PIN);
}

#[test]
fn a_pin_is_set_by_whoever_proves_more_than_a_terminal() {
    let (place, id) = asking();
    place.run(&["approvers", "pin"]).ends(3, "denied");
    place.run_as_approver(&["approvers", "pin"]).ends(3, "denied");
    // Somebody at the terminal, without a token.
    let mut terminal = Terminal::start(&place, &["approvers", "pin"]);
    assert!(terminal.shows("to agree"), "{}", terminal.seen);
    let code = terminal.code();
    terminal.types(&code);
    assert_eq!(terminal.ends(), 3);
    for weak in ["12345", "aaaaaaaa"] {
        assert_eq!(set_pin(&place, weak), 2, "{weak}");
    }
    let mut terminal = Terminal::start(&place, &["approvals", "approve", &id]);
    assert!(terminal.shows("to agree"), "{}", terminal.seen);
    let code = terminal.code();
    terminal.types(&code);
    assert_eq!(terminal.ends(), 0, "without a PIN the code is enough, as it is documented");
}

#[test]
fn five_wrong_pins_lock_it_for_every_process_and_stand_in_the_trail() {
    let (place, id) = asking();
    assert_eq!(set_pin(&place, PIN), 0);
    for _ in 0..5 {
        assert_eq!(approve(&place, &id, "wrong-0"), 3);
    }
    assert_eq!(approve(&place, &id, PIN), 3, "locked, also for the right one");
    let trail = place.trail();
    let locked: Vec<_> =
        trail.iter().filter(|event| event["event_type"] == "approver_locked").collect();
    assert_eq!(locked.len(), 1);
    assert_eq!(locked[0]["severity"], "critical");
    // A token is another way.
    place.run_as_approver(&["approvals", "approve", &id]).done();
    place.verify();
}

#[test]
fn a_policy_wants_a_pin_from_a_risk_on() {
    let policy = format!("{}approvals: {{ pin_from: high }}\n", crate::place::POLICY);
    let place = Place::with_policy(&policy);
    let document = place.document(
        "bare.json",
        "{\"changes\": [{\"op\": \"create\", \"path\": \"b\", \"content\": \"b\"}]}",
    );
    place.run(&["apply", &document, "--risk", "high"]).ends(4, "approval_required");
    let id = place.waiting();
    for arguments in [&["approvals", "approve", &id][..], &["approvers", "add", "ann"]] {
        let mut terminal = Terminal::start(&place, arguments);
        assert!(terminal.shows("to agree"), "{}", terminal.seen);
        let code = terminal.code();
        terminal.types(&code);
        assert_eq!(terminal.ends(), 3, "{arguments:?}");
    }
    assert_eq!(set_pin(&place, PIN), 0);
    assert_eq!(approve(&place, &id, PIN), 0);
    // What is below the line takes the code alone, of whoever has no PIN.
    let (place, id) = asking_in(Place::with_policy(&policy));
    let mut terminal = Terminal::start(&place, &["approvals", "approve", &id]);
    assert!(terminal.shows("to agree"), "{}", terminal.seen);
    let code = terminal.code();
    terminal.types(&code);
    assert_eq!(terminal.ends(), 0);
}

/// The end of what a pager asks, with the line's: the rest of it would count as the next screen's.
const MORE: &str = "q to stop --\r\n";

#[test]
fn a_long_request_is_shown_a_screen_at_a_time_and_all_of_it() {
    let place = Place::new();
    let lines: Vec<String> = (0..100).map(|n| format!("this is line {n}.")).collect();
    let content = format!("content={}", lines.join("\n"));
    place.run(&["call", "fs.write", "path=ask/a", &content]).ends(4, "approval_required");
    let id = place.waiting();
    let mut terminal = Terminal::start_on_screen(&place, &["approvals", "show", &id], 24);
    let mut screens = 0;
    while terminal.shows(MORE) {
        screens += 1;
        assert!(terminal.seen.matches('\n').count() <= 24, "{}", terminal.seen);
        terminal.forgets();
        terminal.types("");
    }
    assert!(screens > 3, "{screens}");
    terminal.forgets();
    assert!(lines.iter().all(|line| terminal.all.contains(line)), "{}", terminal.all);
    assert_eq!(terminal.ends(), 0);
    // Whoever stops is told so.
    let mut terminal = Terminal::start_on_screen(&place, &["approvals", "show", &id], 24);
    assert!(terminal.shows("Enter for more"));
    terminal.types("q");
    assert!(terminal.shows("lines were not shown"), "{}", terminal.seen);
    assert_eq!(terminal.ends(), 0);
    // Nobody sits at what is no terminal, and a pager that somebody names is not asked.
    let shown = place.command(&["approvals", "show", &id]).env("PAGER", "false").output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("this is line 99."));
}

/// Reads a request a screen at a time; gives how many screens there were.
fn reads_all(terminal: &mut Terminal) -> usize {
    let mut screens = 0;
    // Whichever comes first: another screen, or the question.
    while !terminal.seen.contains("to agree") {
        assert!(terminal.shows_one_of(&[MORE, "to agree"]), "{}", terminal.all);
        if terminal.seen.contains(MORE) {
            screens += 1;
            assert!(terminal.seen.matches('\n').count() <= 24, "{}", terminal.seen);
            terminal.forgets();
            terminal.types("");
        }
    }
    screens
}

#[test]
fn a_long_request_is_read_to_its_end_before_anybody_is_asked_about_it() {
    let lines: Vec<String> = (0..100).map(|n| format!("this is line {n}.")).collect();
    let content = format!("content={}", lines.join("\n"));
    let call = ["call", "fs.write", "path=ask/a", &content];
    let asked = Place::new();
    asked.run(&call).ends(4, "approval_required");
    let id = asked.waiting();
    let at_once = Place::new();
    let with = [&call[..], &["--approve"]].concat();
    let approve = ["approvals", "approve", id.as_str()];
    for (place, arguments) in [(&asked, &approve[..]), (&at_once, &with)] {
        // Who stops in the middle has not seen what they would agree to, and is not even asked.
        let mut terminal = Terminal::start_on_screen(place, arguments, 24);
        assert!(terminal.shows("Enter for more"), "{}", terminal.seen);
        terminal.types("q");
        assert!(terminal.shows("nothing is agreed to"), "{}", terminal.seen);
        assert!(!terminal.seen.contains("to agree,"), "{}", terminal.seen);
        assert_eq!(terminal.ends(), 3);
        assert!(!place.exists("ask/a"));
        let mut terminal = Terminal::start_on_screen(place, arguments, 24);
        assert!(reads_all(&mut terminal) > 3);
        let code = terminal.code();
        terminal.forgets();
        for line in &lines {
            assert!(terminal.all.contains(line), "{line}: {}", terminal.all);
        }
        terminal.types(&code);
        assert_eq!(terminal.ends(), 0);
    }
    assert!(at_once.exists("ask/a"));
    // Whoever answers with a token is not stopped.
    let (place, id) = asking();
    let mut terminal =
        Terminal::start_with(&place, &["approvals", "approve", &id], Some(&place.token));
    assert!(!terminal.shows("Enter for more"), "{}", terminal.seen);
    assert_eq!(terminal.ends(), 0);
}
