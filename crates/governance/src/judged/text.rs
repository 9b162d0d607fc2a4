//! Text from outside, shown so that nothing hides in it and no two texts look the same.

/// Letters beyond ASCII that are shown as they are: Latin letters with a mark that sets them apart.
/// Everything else is escaped, because somewhere among it is the twin of something: other
/// scripts, typographic dashes and quotes, marks that combine, and what cannot be seen at all.
fn is_plain_letter(c: char) -> bool {
    let latin = matches!(c, '\u{c0}'..='\u{17f}');
    // Signs; letters that look like others or like two: Đ Ð, ı, Ĳ, Ŀ, ŉ, ĸ, ſ.
    let twin = matches!(
        c,
        '\u{d7}' | '\u{f7}' | '\u{d0}' | '\u{110}' | '\u{130}'
            ..='\u{133}' | '\u{138}' | '\u{13f}' | '\u{140}' | '\u{149}' | '\u{17f}'
    );
    latin && !twin
}

fn push(shown: &mut String, c: char) {
    match c {
        '\\' => shown.push_str("\\\\"),
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        ' '..='~' => shown.push(c),
        c if is_plain_letter(c) => shown.push(c),
        c => shown.extend(c.escape_unicode()),
    }
}

/// A text as a person may be shown it: only characters that can be seen and that nothing else
/// looks like; a backslash begins an escape, and stands for itself twice. A space at the end is
/// escaped, because nobody sees it there. Two texts that are shown alike are the same text.
#[must_use]
pub fn visible(text: &str) -> String {
    visible_bytes(text.as_bytes())
}

/// As [`visible`], for bytes that need not be UTF-8: what is not is shown as `\x{ff}`.
#[must_use]
pub fn visible_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut shown, c);
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{{{byte:02x}}}"));
        }
    }
    if shown.ends_with(' ') {
        shown.pop();
        shown.push_str("\\u{20}");
    }
    shown
}

/// As [`visible`], between marks that do not occur in it.
pub(super) fn quoted(text: &str, mark: char) -> String {
    let escaped = mark.escape_unicode().to_string();
    format!("{mark}{}{mark}", visible(text).replace(mark, &escaped))
}
