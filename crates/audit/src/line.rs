//! One event, one line of JSON: the bytes that are stored, hashed and exported.
//!
//! The order of the fields and every byte are a format that stays: what is written here once is
//! never written again in another way.

use std::borrow::Cow;
use std::io;

use lictor_context::{Digest, Event, Timestamp};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// The longest line, in bytes, its end not counted.
pub const MAX_LINE: usize = 64 * 1024;
/// The most that `"seq"` and `"session_seq"` take of a line, in bytes.
const MAX_PLACE: usize = 64;
/// Parameters and metadata are replaced when they nest deeper than this.
const MAX_DEPTH: usize = 64;
/// The longest error message that is kept whole.
const MAX_MESSAGE: usize = 4096;
/// The longest action name that is kept whole.
const MAX_NAME: usize = 1024;
/// The longest of every other text that is kept whole.
const MAX_TEXT: usize = 256;
/// From 0000-01-01T00:00:00Z to 9999-12-30T22:00:00.999999Z: other moments have no RFC 3339 text.
const MICROS: std::ops::RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_207_200_999_999;

/// The place of an event in its organisation's log and in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Dense from 0 an organisation.
    pub seq: u64,
    /// Dense from 0 a session.
    pub session_seq: u64,
}

/// An event as the one line that is stored, hashed and exported; without the line's end.
///
/// It holds printable text only: line ends, terminal escapes, bidirectional overrides and the
/// like stand in it as `\u....`. It is never longer than 64 KiB: parameters and metadata that are
/// too large are replaced by their size and digest, texts that are too long are cut.
#[must_use]
pub fn event_line(event: &Event, place: Place) -> Vec<u8> {
    PlacelessLine::of(event).at(place)
}

/// A line whose place is not known yet: everything that takes time is done before it is.
#[derive(Debug)]
pub(crate) struct PlacelessLine {
    bytes: Vec<u8>,
    /// Where the place goes.
    split: usize,
}

impl PlacelessLine {
    pub(crate) fn of(event: &Event) -> Self {
        placeless(event)
    }

    pub(crate) fn at(&self, place: Place) -> Vec<u8> {
        let (before, after) = self.bytes.split_at(self.split);
        let mut line = Line(Vec::with_capacity(self.bytes.len() + MAX_PLACE));
        line.0.extend_from_slice(before);
        line.field("seq", &place.seq);
        line.field("session_seq", &place.session_seq);
        line.0.extend_from_slice(after);
        line.0
    }

    /// Whether `wanted` stands in it.
    pub(crate) fn contains(&self, wanted: &str) -> bool {
        contains(&self.bytes, wanted)
    }

    fn fits(&self) -> bool {
        self.bytes.len() + MAX_PLACE <= MAX_LINE
    }
}

/// Whether `wanted` stands in a line.
pub(crate) fn contains(line: &[u8], wanted: &str) -> bool {
    memchr::memmem::find(line, wanted.as_bytes()).is_some()
}

fn placeless(event: &Event) -> PlacelessLine {
    let params = event.facts().action_params.as_ref();
    let params = params.map_or_else(|| b"null".to_vec(), |value| json_text(value, MAX_DEPTH));
    let metadata = &event.facts().metadata;
    let metadata = if metadata.is_empty() {
        b"{}".to_vec()
    } else if metadata.values().any(|value| deeper_than(value, MAX_DEPTH - 1)) {
        truncated(metadata, &plain_json(metadata))
    } else {
        plain_json(metadata)
    };
    let line = assemble(event, &params, &metadata);
    if line.fits() {
        return line;
    }
    let short_params = event
        .facts()
        .action_params
        .as_ref()
        .map_or_else(|| params.clone(), |value| truncated(value, &params));
    let short_metadata = truncated(&event.facts().metadata, &metadata);
    // The larger one first: the other one may still fit.
    let (first, second) = if params.len() >= metadata.len() {
        ((&short_params, &metadata), (&short_params, &short_metadata))
    } else {
        ((&params, &short_metadata), (&short_params, &short_metadata))
    };
    let line = assemble(event, first.0, first.1);
    if line.fits() { line } else { assemble(event, second.0, second.1) }
}

/// The moment of an event as its line tells it.
pub(crate) fn line_time(event: &Event) -> Timestamp {
    Timestamp::from_micros(event.timestamp().as_micros().clamp(*MICROS.start(), *MICROS.end()))
}

fn assemble(event: &Event, params: &[u8], metadata: &[u8]) -> PlacelessLine {
    let facts = event.facts();
    let principal = event.session().principal();
    let capability = facts.capability.as_ref();
    let server = capability.and_then(|facts| facts.mcp_server.as_deref());
    let micros = facts.duration.map_or(0, |duration| duration.as_micros());

    let mut line = Line(Vec::with_capacity(768 + params.len() + metadata.len()));
    line.raw("v", b"1");
    line.field("event_id", event.id().as_str());
    let split = line.0.len();
    line.field("event_type", event.event_type().as_str());
    line.field("timestamp", &line_time(event));
    line.field("org_id", principal.org.as_str());
    line.field("user_id", principal.user.as_str());
    line.field("agent_id", principal.agent.as_str());
    line.field("session_id", event.session().id().as_str());
    line.field("action_id", &facts.action_id);
    line.text("action_name", facts.action_name.as_deref(), MAX_NAME);
    line.raw("action_params", params);
    line.text("capability_type", capability.map(|facts| facts.kind.as_str()), MAX_TEXT);
    line.text("capability_source", capability.map(|facts| facts.source.as_str()), MAX_TEXT);
    line.text("capability_version", capability.map(|facts| facts.version.as_str()), MAX_TEXT);
    line.text("mcp_server_id", server, MAX_TEXT);
    line.text("mcp_server_name", server, MAX_TEXT);
    line.field("execution_id", &facts.execution_id);
    line.field("decision_id", &facts.decision_id);
    line.field("workflow_run_id", &facts.run_id);
    line.text("step_id", facts.step_id.as_deref(), MAX_TEXT);
    line.text("trace_id", event.session().trace_id(), MAX_TEXT);
    line.field("requires_approval", &facts.requires_approval.unwrap_or(false));
    line.field("approval_granted", &facts.approval_granted);
    line.field("success", &facts.success);
    // 2^53: the largest whole number that every reader of JSON understands.
    line.field("duration_us", &u64::try_from(micros).unwrap_or(u64::MAX).min(1 << 53));
    line.text("error_message", facts.error_message.as_deref(), MAX_MESSAGE);
    line.field("severity", &event.severity());
    line.raw("metadata", metadata);
    line.0.push(b'}');
    PlacelessLine { bytes: line.0, split }
}

/// The action's name as the line tells it.
pub(crate) fn line_action_name(event: &Event) -> Option<Cow<'_, str>> {
    event.facts().action_name.as_deref().map(|name| clipped(name, MAX_NAME))
}

struct Line(Vec<u8>);

impl Line {
    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.0.extend_from_slice(json);
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        self.key(key);
        write_json(&mut self.0, value);
    }

    fn text(&mut self, key: &str, text: Option<&str>, max: usize) {
        self.field(key, &text.map(|text| clipped(text, max)));
    }
}

fn write_json<T: Serialize + ?Sized>(into: &mut Vec<u8>, value: &T) {
    let start = into.len();
    let written = value.serialize(&mut Serializer::with_formatter(&mut *into, Printable));
    if written.is_err() {
        // Writing to memory cannot fail, and none of our values refuses to be JSON.
        into.truncate(start);
        into.extend_from_slice(b"null");
    }
}

fn plain_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut json = Vec::new();
    write_json(&mut json, value);
    json
}

fn json_text(value: &Value, max_depth: usize) -> Vec<u8> {
    let json = plain_json(value);
    if deeper_than(value, max_depth) { truncated(value, &json) } else { json }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => {
            levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1))
        }
        Value::Object(map) => levels == 0 || map.values().any(|item| deeper_than(item, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What stands in the place of a value that is too large.
fn truncated<T: Serialize>(value: &T, json: &[u8]) -> Vec<u8> {
    let digest = Digest::of_json(value).unwrap_or_else(|_| Digest::of(json));
    format!(r#"{{"truncated":{{"bytes":{},"digest":"{digest}"}}}}"#, json.len()).into_bytes()
}

fn clipped(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let kept = text.get(..text.floor_char_boundary(max)).unwrap_or_default();
    let digest = Digest::of(text.as_bytes());
    Cow::Owned(format!("{kept} [cut: {} bytes, {digest}]", text.len()))
}

/// Compact JSON in which every character that is not plainly visible is escaped.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // Almost all text; serde_json has escaped everything below the space already.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut utf8 = [0; 4];
        let mut utf16 = [0; 2];
        for c in fragment.chars() {
            if is_hidden(c) {
                for unit in c.encode_utf16(&mut utf16) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                writer.write_all(c.encode_utf8(&mut utf8).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Whether a character changes how the text around it is shown, or is not shown itself.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
