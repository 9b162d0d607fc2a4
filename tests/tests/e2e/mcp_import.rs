//! `mcp import`, as a person at a terminal meets it.

use crate::place::Place;
use crate::terminal::Terminal;

const FILE: &str = r#"{ "mcpServers": { "desk": {
  "command": "desk-server", "args": ["--root", "."], "env": { "TOKEN": "sk-of-somebody" }
} } }
"#;

fn asked(place: &Place) -> Terminal {
    let mut terminal = Terminal::start(place, &["mcp", "import"]);
    assert!(terminal.shows("Type yes to agree"), "{}", terminal.seen());
    let seen = terminal.seen();
    for shown in ["desk-server", "--root", "TOKEN", "+  \"command\": \"lictor\""] {
        assert!(seen.contains(shown), "{shown}: {seen}");
    }
    assert!(!seen.contains("sk-of-somebody"), "{seen}");
    terminal
}

#[test]
fn a_person_sees_each_command_whole_and_nothing_is_written_unless_they_say_yes() {
    let place = Place::new();
    place.write(".mcp.json", FILE);
    for no in ["", "n", "y", "no"] {
        let mut terminal = asked(&place);
        terminal.types(no);
        assert_eq!(terminal.ends(), 3, "{no}");
        assert_eq!(place.read(".mcp.json"), FILE, "{no}");
    }
    let mut terminal = asked(&place);
    terminal.types("yes");
    assert_eq!(terminal.ends(), 0);
    let written = place.read(".mcp.json");
    assert!(written.contains(r#""command": "lictor""#) && written.contains("sk-of-somebody"));
}
