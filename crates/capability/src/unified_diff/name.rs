//! The names of files in the headers of a diff.

use lictor_context::WorkspacePath;

use super::lines::{Fault, shown};

/// A name and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) bytes: Vec<u8>,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// What stands after `---` or `+++`.
#[derive(Debug)]
pub(super) struct Side {
    /// `None` is `/dev/null`.
    pub(super) name: Option<Name>,
    /// Whether the time beside the name says that there is no file.
    pub(super) is_epoch: bool,
}

/// What git puts before the names of the two sides; the last ones with `diff.mnemonicPrefix`.
const PREFIXES: &[(&[u8], &[u8])] = &[
    (b"a/", b"b/"),
    (b"i/", b"w/"),
    (b"c/", b"i/"),
    (b"c/", b"w/"),
    (b"o/", b"w/"),
    (b"1/", b"2/"),
];

impl Name {
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(self.line, self.column, message)
    }

    /// As a path of the workspace.
    pub(super) fn path(&self) -> Result<WorkspacePath, Fault> {
        let Ok(text) = std::str::from_utf8(&self.bytes) else {
            let message =
                format!("the name {} is not UTF-8; accepted here: UTF-8", shown(&self.bytes));
            return Err(self.fault(message));
        };
        WorkspacePath::parse(text).map_err(|error| self.fault(error.to_string()))
    }

    /// A name that stands alone, the other side being `/dev/null`.
    pub(super) fn without_prefix(&self, new_side: bool) -> Self {
        let rest =
            if new_side { self.bytes.strip_prefix(b"b/") } else { self.bytes.strip_prefix(b"a/") };
        self.with(rest.unwrap_or(&self.bytes))
    }

    /// Whether it is `name`, or `name` behind a prefix.
    pub(super) fn is(&self, name: &[u8]) -> bool {
        let rest = self.bytes.splitn(2, |byte| *byte == b'/').nth(1);
        self.bytes == name || rest == Some(name)
    }

    fn with(&self, bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..*self }
    }
}

/// The one name of two sides: a prefix goes when both sides have it.
pub(super) fn common(old: &Name, new: &Name) -> Result<Name, Fault> {
    let strip = |(a, b): &(&[u8], &[u8])| {
        let (old, new) = (old.bytes.strip_prefix(*a)?, new.bytes.strip_prefix(*b)?);
        (old == new).then(|| old.to_vec())
    };
    if let Some(bytes) = PREFIXES.iter().find_map(strip) {
        return Ok(old.with(&bytes));
    }
    if old.bytes == new.bytes {
        return Ok(old.clone());
    }
    if PREFIXES.iter().find_map(|(a, b)| strip(&(*b, *a))).is_some() {
        let message = "the diff is reversed (`b/` before `a/`); accepted here: the diff from the old to the new side, without `-R`";
        return Err(old.fault(message));
    }
    let message = format!(
        "the two sides name different files, {} and {}; accepted here: one name, behind `a/` and `b/` or without them, or a rename with `rename from` and `rename to`",
        shown(&old.bytes),
        shown(&new.bytes)
    );
    Err(new.fault(message))
}

/// The two names of a `diff --git` line that are one but for their prefixes. Without quotes only
/// the middle can separate them.
pub(super) fn git_line(rest: &[u8], line: u32) -> Option<(Name, Name)> {
    const COLUMN: u32 = 12;
    let name = |bytes: Vec<u8>| Name { bytes, line, column: COLUMN };
    if rest.starts_with(b"\"") {
        let (old, rest) = unquote(rest)?;
        let (new, rest) = unquote(rest.strip_prefix(b" ")?)?;
        return rest.is_empty().then(|| (name(old), name(new)));
    }
    let (old, new) = rest.split_at_checked(rest.len() / 2)?;
    Some((name(old.to_vec()), name(new.strip_prefix(b" ")?.to_vec())))
}

/// A name that fills the rest of a header line, perhaps in quotes.
pub(super) fn whole(rest: &[u8], line: u32, column: u32) -> Result<Name, Fault> {
    if !rest.starts_with(b"\"") {
        return Ok(Name { bytes: rest.to_vec(), line, column });
    }
    match unquote(rest) {
        Some((bytes, [])) => Ok(Name { bytes, line, column }),
        _ => Err(bad_quotes(rest, line, column)),
    }
}

/// What stands after `--- ` or `+++ `: a name, then perhaps a tab and a time.
pub(super) fn side(rest: &[u8], line: u32) -> Result<Side, Fault> {
    const COLUMN: u32 = 5;
    let (bytes, time) = if rest.starts_with(b"\"") {
        let (bytes, rest) = unquote(rest).ok_or_else(|| bad_quotes(rest, line, COLUMN))?;
        match rest {
            [] => (bytes, &[][..]),
            [b'\t', time @ ..] => (bytes, time),
            _ => return Err(bad_quotes(rest, line, COLUMN)),
        }
    } else {
        let mut parts = rest.splitn(2, |byte| *byte == b'\t');
        (parts.next().unwrap_or_default().to_vec(), parts.next().unwrap_or_default())
    };
    if bytes == b"/dev/null" {
        return Ok(Side { name: None, is_epoch: true });
    }
    let is_epoch = std::str::from_utf8(time).ok().and_then(epoch_seconds) == Some(0);
    Ok(Side { name: Some(Name { bytes, line, column: COLUMN }), is_epoch })
}

fn bad_quotes(rest: &[u8], line: u32, column: u32) -> Fault {
    let message = format!(
        "the quoted name {} is not understood; accepted here: a name in double quotes with the escapes of C",
        shown(rest)
    );
    Fault::at(line, column, message)
}

/// The first quoted name of a text, and what follows it.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut out = Vec::new();
    loop {
        let (byte, after) = match rest {
            [b'"', after @ ..] => return Some((out, after)),
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            [b'\\', escape, after @ ..] => {
                let byte = match escape {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'"' | b'\\' => *escape,
                    _ => return None,
                };
                (byte, after)
            }
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        out.push(byte);
        rest = after;
    }
}

/// Seconds since 1970 of a time within a day of it, as `diff -N` gives a missing file:
/// `1970-01-01 02:00:00.000000000 +0200`.
fn epoch_seconds(time: &str) -> Option<i64> {
    let mut words = time.split_ascii_whitespace();
    let (date, clock, zone) = (words.next()?, words.next()?, words.next()?);
    let days = match date {
        "1970-01-01" => 0,
        "1969-12-31" => -1,
        _ => return None,
    };
    let two = |text: Option<&str>| text?.parse::<u8>().ok().map(i64::from);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (two(parts.next())?, two(parts.next())?, two(parts.next())?);
    let offset = two(zone.get(1..3))? * 3600 + two(zone.get(3..5))? * 60;
    let offset = if zone.starts_with('-') { -offset } else { offset };
    Some(days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset)
}
