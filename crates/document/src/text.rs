//! Places in a text, and how text is shown to people.

use std::fmt::Write as _;

/// A place: line and column, both from 1; the column counts characters. 0 is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl At {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    pub(crate) fn new(line: usize, column: usize) -> Self {
        Self {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

/// How many characters start in these bytes.
pub(crate) fn count_chars(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}

/// The place of a byte. Lines end in `\n`, `\r\n` or a lone `\r`.
pub(crate) fn position(bytes: &[u8], offset: usize) -> At {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let mut line = 1;
    let mut start = 0;
    for (idx, byte) in before.iter().enumerate() {
        let ends = match byte {
            b'\n' => true,
            // The second half of `\r\n` counts; at the very end the whole text decides.
            b'\r' => bytes.get(idx + 1) != Some(&b'\n'),
            _ => false,
        };
        if ends {
            line += 1;
            start = idx + 1;
        }
    }
    At::new(line, count_chars(before.get(start..).unwrap_or_default()) + 1)
}

/// The bytes of a line, without its end.
pub(crate) fn line_at(bytes: &[u8], line: u32) -> Option<&[u8]> {
    let mut rest = bytes;
    for _ in 1..line {
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
        let n_end = if rest.get(end..end + 2) == Some(b"\r\n") { 2 } else { 1 };
        rest = rest.get(end + n_end..)?;
    }
    let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
    rest.get(..end.unwrap_or(rest.len()))
}

/// The line of an error with a caret below the column. A long line is not shown, not even in part:
/// whoever keeps or shows an error leaves secrets out of it by looking for them, and a part of a
/// secret is found by nobody.
pub(crate) fn excerpt(bytes: &[u8], at: At) -> Option<String> {
    const WIDTH: usize = 120;
    let line = String::from_utf8_lossy(line_at(bytes, at.line)?);
    if line.chars().take(WIDTH + 1).count() > WIDTH {
        return None;
    }
    let caret = usize::try_from(at.column.saturating_sub(1)).ok()?;
    let before: String = line.chars().take(caret).collect();
    let spaces = " ".repeat(inert(&before).chars().count());
    let shown = inert(line.trim_end());
    let number = at.line.to_string();
    let gutter = " ".repeat(number.len());
    Some(format!("{gutter} |\n{number} | {shown}\n{gutter} | {spaces}^"))
}

/// Text from outside, for a message: whole in backticks, or by its length alone.
pub(crate) fn shown(text: &str) -> String {
    const WIDTH: usize = 80;
    match text.chars().count() {
        n_chars if n_chars > WIDTH => format!("a text of {n_chars} characters"),
        _ => format!("`{}`", inert(text)),
    }
}

/// A word of a text that nobody could read, for a message. It may be a part of anything, so only what
/// is short, or what people write by mistake, is quoted.
pub(crate) fn shown_word(word: &str) -> String {
    const SHORT: usize = 5;
    const MISTAKES: [&str; 6] =
        ["undefined", "Infinity", "-Infinity", "+Infinity", "-infinity", "infinity"];
    match word.chars().count() {
        n_chars if n_chars > SHORT && !MISTAKES.contains(&word) => {
            format!("a word of {n_chars} characters")
        }
        _ => shown(word),
    }
}

/// A text of one line as a terminal may show it: what would steer the terminal, turn text around or
/// stand there unseen is escaped (`\n`, `\u{202e}`), every letter of every script stands as it is.
/// Two texts may look alike afterwards: what people are to agree to is shown by stricter rules.
#[must_use]
pub fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    let deceives = matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180E}'
        | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
        | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}');
    match c {
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        c if c.is_control() || deceives => {
            // Writing to a string cannot fail.
            write!(out, "\\u{{{:04x}}}", u32::from(c)).unwrap_or_default();
        }
        c => out.push(c),
    }
}

/// `accepted here: a, b`, and the closest of them if it is close.
pub(crate) fn accepted(given: &str, known: &[&str]) -> String {
    let mut out = if known.is_empty() {
        String::from("accepted here: nothing")
    } else {
        format!("accepted here: {}", known.join(", "))
    };
    if let Some(closest) = closest(given, known) {
        out.push_str("; did you mean `");
        out.push_str(closest);
        out.push_str("`?");
    }
    out
}

fn closest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    const FAR: usize = 3;
    let n_given = given.chars().take(65).count();
    if n_given > 64 {
        return None;
    }
    known
        .iter()
        .map(|name| {
            let distance =
                if name.eq_ignore_ascii_case(given) { 0 } else { edit_distance(given, name) };
            (distance, *name)
        })
        .filter(|(distance, name)| *distance < FAR.min(n_given).min(name.chars().count()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (idx, from) in a.chars().enumerate() {
        let mut diagonal = idx;
        let mut left = idx + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (to, above) in b.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(from != to);
            left = replaced.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, n) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("verdict", "verdcit", 2)]
        {
            assert_eq!(edit_distance(a, b), n, "{a} {b}");
        }
    }

    #[test]
    fn short_names_are_not_guessed() {
        assert_eq!(closest("x", &["id"]), None);
        assert_eq!(closest("ids", &["id"]), Some("id"));
        assert_eq!(closest("Risk", &["risk"]), Some("risk"));
    }

    #[test]
    fn lines_end_in_three_ways() {
        let text = b"a\nb\r\nc\rd";
        let lines: Vec<_> = (1..=5).map(|line| line_at(text, line)).collect();
        assert_eq!(lines, [Some(&b"a"[..]), Some(b"b"), Some(b"c"), Some(b"d"), None]);
        assert_eq!(position(text, 7), At { line: 4, column: 1 });
        assert_eq!(position(text, 5), At { line: 3, column: 1 });
    }
}
