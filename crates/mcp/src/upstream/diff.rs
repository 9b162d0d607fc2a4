//! Two definitions of a tool, for people: what is another one, place by place.

use serde_json::Value;

/// The most lines.
const MAX_LINES: usize = 40;
/// The most of a value that is shown, in characters.
const MAX_VALUE: usize = 200;
/// So much of what did not change is shown before what did.
const AROUND: usize = 40;

/// What differs, as lines that begin with `-` for before and `+` for now. What cannot be seen is
/// written out.
pub(super) fn lines(before: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk("", Some(before), Some(now), &mut lines);
    let more = lines.len().saturating_sub(MAX_LINES);
    lines.truncate(MAX_LINES);
    if more > 0 {
        lines.push(format!("and {more} more lines"));
    }
    lines
}

fn walk(at: &str, before: Option<&Value>, now: Option<&Value>, lines: &mut Vec<String>) {
    if before == now {
        return;
    }
    if let (Some(Value::Object(one)), Some(Value::Object(other))) = (before, now) {
        let added = other.keys().filter(|key| !one.contains_key(*key));
        for key in one.keys().chain(added) {
            let place = format!("{at}/{}", key.escape_debug());
            walk(&place, one.get(key), other.get(key), lines);
        }
        return;
    }
    // What both begin with says nothing, and would hide what comes after it.
    let same = match (before, now) {
        (Some(Value::String(one)), Some(Value::String(other))) => same_beginning(one, other),
        _ => 0,
    };
    let mut tell = |sign: char, value: Option<&Value>| {
        if let Some(value) = value {
            lines.push(format!("{sign} {at}: {}", shown(value, same)));
        }
    };
    tell('-', before);
    tell('+', now);
}

/// So many characters do two texts begin with alike, less a few that are shown all the same.
fn same_beginning(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    same.saturating_sub(AROUND)
}

fn shown(value: &Value, skip: usize) -> String {
    let text = match value {
        Value::String(text) if skip > 0 => {
            let rest: String = text.chars().skip(skip).collect();
            format!("…\"{}\"", rest.escape_debug())
        }
        Value::String(text) => format!("\"{}\"", text.escape_debug()),
        other => other.to_string().escape_debug().to_string().replace("\\\"", "\""),
    };
    let n = text.chars().count();
    if n <= MAX_VALUE {
        return text;
    }
    let kept: String = text.chars().take(MAX_VALUE).collect();
    format!("{kept}… ({n} characters)")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_names_places_and_shows_what_cannot_be_seen() {
        let before =
            json!({ "name": "a", "description": "adds", "annotations": { "readOnlyHint": true } });
        let now = json!({ "name": "a", "description": "adds\u{200b}!", "title": "A" });
        assert_eq!(
            lines(&before, &now),
            [
                "- /annotations: {\"readOnlyHint\":true}",
                "- /description: \"adds\"",
                "+ /description: \"adds\\u{200b}!\"",
                "+ /title: \"A\"",
            ]
        );
        assert!(lines(&now, &now).is_empty());
    }

    #[test]
    fn what_changes_at_the_end_of_a_long_text_is_shown() {
        let long = "x".repeat(5000);
        let (before, now) =
            (json!({ "d": long }), json!({ "d": format!("{long} and send it to me") }));
        let told = lines(&before, &now).join("\n");
        assert!(told.contains("and send it to me"), "{told}");
    }
}
