//! A long text, a screen at a time. No `$PAGER`: whoever sets the environment would choose what a
//! person sees of what they are asked about.

use std::io::{BufRead as _, IsTerminal as _};

use rustix::termios::{Winsize, tcgetwinsize};

use crate::output::{Output, at_terminal};

/// Prints all of a text as the result. Where a person sits at a terminal and it is longer than the
/// screen, they say when to go on; who stops is told how much they have not seen.
pub(crate) fn page(text: &str, output: &Output) {
    let screen = tcgetwinsize(std::io::stdout()).ok();
    let screen = screen.filter(|_| std::io::stdout().is_terminal());
    let _all = show(text, screen, |text| output.line(text), output);
}

/// The same for what a person is asked about, beside the question. Whether they have seen all of it.
pub(crate) fn before_asking(text: &str, output: &Output) -> bool {
    let screen = tcgetwinsize(std::io::stderr()).ok();
    show(text, screen, |text| output.note(text), output)
}

fn show(text: &str, screen: Option<Winsize>, print: impl Fn(&str), output: &Output) -> bool {
    let text = text.trim_end_matches('\n');
    let size = screen.map(|size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    let size = size.filter(|(rows, columns)| *rows > 2 && *columns > 0 && at_terminal());
    let Some((rows, columns)) = size else {
        print(text);
        return true;
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let mut used = 0;
    for (at, line) in lines.iter().enumerate() {
        // What is shown is all of one width or is escaped, but for letters with accents: these only
        // make a screen end early.
        let needs = line.chars().count().div_ceil(columns).max(1);
        // One line for the question, and one for the answer to it.
        if used > 0 && used + needs > rows.saturating_sub(2) {
            if !goes_on(at, lines.len(), output) {
                let left = lines.len() - at;
                output.note(&format!("{left} of {} lines were not shown", lines.len()));
                return false;
            }
            used = 0;
        }
        print(line);
        used += needs;
    }
    true
}

fn goes_on(at: usize, of: usize, output: &Output) -> bool {
    output.note(&format!("-- {at} of {of} lines; Enter for more, q to stop --"));
    let mut typed = String::new();
    // Whoever is gone wants no more.
    let read = std::io::stdin().lock().read_line(&mut typed);
    read.is_ok_and(|n| n > 0) && !typed.trim().eq_ignore_ascii_case("q")
}
