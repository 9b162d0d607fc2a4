//! What a verifier reads of a line.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a verifier reads of a line. A doubled or mistyped field is an error.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Header<'a> {
    pub(crate) v: u64,
    pub(crate) seq: u64,
    pub(crate) session_seq: u64,
    #[serde(borrow)]
    pub(crate) event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) org_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) user_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) agent_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) session_id: Cow<'a, str>,
    pub(crate) action_name: Option<Cow<'a, str>>,
    pub(crate) execution_id: Option<Cow<'a, str>>,
    pub(crate) workflow_run_id: Option<Cow<'a, str>>,
    pub(crate) success: Option<bool>,
}

impl<'a> Header<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        quick(line).or_else(|| read(line))
    }
}

/// As any reader of JSON would.
fn read(line: &[u8]) -> Option<Header<'_>> {
    let header: Header<'_> = serde_json::from_slice(line).ok()?;
    (header.v == 1).then_some(header)
}

/// A key with what stands around it. Each is a text of its own, so that comparing it is a few instructions
/// and no call.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// What [`read`] finds, at a third of its cost, in a line that stands byte by byte as it is written
/// here; nothing for every other one, valid or not.
fn quick(line: &[u8]) -> Option<Header<'_>> {
    if has_control(line) {
        return None;
    }
    let mut at = Scan(std::str::from_utf8(line).ok()?.strip_prefix("{\"v\":1")?);
    at.passed(key!("event_id"))?;
    let seq = at.number(key!("seq"))?;
    let session_seq = at.number(key!("session_seq"))?;
    let event_type = at.text(key!("event_type"))?.into();
    let timestamp = at.text(key!("timestamp"))?.into();
    let org_id = at.text(key!("org_id"))?.into();
    let user_id = at.text(key!("user_id"))?.into();
    let agent_id = at.text(key!("agent_id"))?.into();
    let session_id = at.text(key!("session_id"))?.into();
    at.passed(key!("action_id"))?;
    let action_name = at.text_or_null(key!("action_name"))?.map(Into::into);
    at.nested(key!("action_params"))?;
    at.passed(key!("capability_type"))?;
    at.passed(key!("capability_source"))?;
    at.passed(key!("capability_version"))?;
    at.passed(key!("mcp_server_id"))?;
    at.passed(key!("mcp_server_name"))?;
    let execution_id = at.text_or_null(key!("execution_id"))?.map(Into::into);
    at.passed(key!("decision_id"))?;
    let workflow_run_id = at.text_or_null(key!("workflow_run_id"))?.map(Into::into);
    at.passed(key!("step_id"))?;
    at.passed(key!("trace_id"))?;
    at.truth(key!("requires_approval"))?;
    at.truth(key!("approval_granted"))?;
    let success = at.truth(key!("success"))?;
    let _duration = at.number(key!("duration_us"))?;
    at.passed(key!("error_message"))?;
    at.passed(key!("severity"))?;
    at.nested(key!("metadata"))?;
    (at.0 == "}").then_some(Header {
        v: 1,
        seq,
        session_seq,
        event_type,
        timestamp,
        org_id,
        user_id,
        agent_id,
        session_id,
        action_name,
        execution_id,
        workflow_run_id,
        success,
    })
}

/// Whether there is a control character. Without a way out in the middle, so that it is done many bytes
/// at a time.
pub(crate) fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte < b' '))
}

/// The rest of a line without control characters. Each step takes one field from its beginning, or the
/// line is another one.
struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    #[inline]
    fn key(&mut self, key: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(key)?;
        Some(())
    }

    #[inline]
    fn take(&mut self, literal: &str) -> bool {
        let rest = self.0.strip_prefix(literal);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A text without an escape; the quotation mark that opens it is behind us.
    fn open_text(&mut self) -> Option<&'a str> {
        let end = memchr::memchr2(b'"', b'\\', self.0.as_bytes())?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        Some(text)
    }

    #[inline]
    fn text(&mut self, key: &str) -> Option<&'a str> {
        self.text_or_null(key)?
    }

    #[inline]
    #[expect(clippy::option_option, reason = "another line, null, a text")]
    fn text_or_null(&mut self, key: &str) -> Option<Option<&'a str>> {
        self.key(key)?;
        self.any_text_or_null()
    }

    #[expect(clippy::option_option, reason = "another line, null, a text")]
    fn any_text_or_null(&mut self) -> Option<Option<&'a str>> {
        if self.take("null") {
            return Some(None);
        }
        self.0 = self.0.strip_prefix('"')?;
        self.open_text().map(Some)
    }

    /// A text or null that nobody asks for.
    #[inline]
    fn passed(&mut self, key: &str) -> Option<()> {
        self.text_or_null(key).map(drop)
    }

    fn number(&mut self, key: &str) -> Option<u64> {
        self.key(key)?;
        let end = self.0.bytes().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        // As JSON has it: no zero before other digits.
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        self.0 = rest;
        digits.parse().ok()
    }

    #[expect(clippy::option_option, reason = "another line, null, a truth")]
    fn truth(&mut self, key: &str) -> Option<Option<bool>> {
        self.key(key)?;
        for (literal, value) in [("true", Some(true)), ("false", Some(false)), ("null", None)] {
            if self.take(literal) {
                return Some(value);
            }
        }
        None
    }

    /// Any JSON.
    fn nested(&mut self, key: &str) -> Option<()> {
        self.key(key)?;
        if self.take("null") || self.take("{}") {
            return Some(());
        }
        let mut values = serde_json::Deserializer::from_str(self.0).into_iter::<IgnoredAny>();
        let _any = values.next()?.ok()?;
        self.0 = self.0.get(values.byte_offset()..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use lictor_context::{
        CapabilityFacts, Event, EventFacts, EventType, ManualClock, Name, Principal, Session,
        SessionId, Timestamp,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::line::{Place, event_line};

    fn line(facts: EventFacts, seq: u64) -> Vec<u8> {
        let name = |text| Name::parse(text).unwrap();
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
        let session = Session::resume(SessionId::parse("ses_1").unwrap(), principal);
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let event = Event::new(&session, EventType::ActionCompleted, facts, &clock);
        event_line(&event, Place { seq, session_seq: seq / 2 })
    }

    fn facts() -> impl Strategy<Value = EventFacts> {
        let value = prop_oneof![
            Just(Value::Null),
            Just(json!({})),
            Just(json!({ "path": "a\"b", "seq": 3, "nested": [{ "org_id": "x" }, 1.5, -0.0] })),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        let parts = (value.clone(), value, "[ -~]{0,9}", any::<Option<bool>>(), any::<bool>());
        parts.prop_map(|(params, more, text, success, with)| {
            let capability = with.then(|| CapabilityFacts {
                kind: "skill".to_owned(),
                source: "builtin".to_owned(),
                version: "1.0.0".to_owned(),
                mcp_server: None,
            });
            EventFacts {
                action_name: with.then(|| text.clone()),
                action_params: Some(params),
                capability,
                error_message: with.then_some(text),
                success,
                metadata: [("more".to_owned(), more)]
                    .into_iter()
                    .take(1 + usize::from(with))
                    .collect(),
                ..EventFacts::default()
            }
        })
    }

    /// Pieces of which something near to a line is made.
    const PIECES: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"\n",
        b"\xff",
        b"null",
        b"true",
        b"\"seq\":1",
        b",\"success\":true",
        b"\\u0041",
        b"\xc3\xa4",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// However a line is changed, the quick way never finds anything that a reader of JSON
        /// does not find.
        #[test]
        fn the_quick_way_finds_what_json_says(
            facts in facts(),
            seq in any::<u32>(),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<prop::sample::Index>()), 0..3),
        ) {
            let mut line = line(facts, seq.into());
            let untouched = edits.is_empty();
            for (at, kind, piece) in edits {
                let at = at.index(line.len());
                let piece = PIECES[piece.index(PIECES.len())];
                let end = at + usize::from(kind > 0);
                line.splice(at..end, if kind == 1 { &[] } else { piece }.iter().copied());
            }
            let found = quick(&line);
            prop_assert!(found.is_none() || found == read(&line), "{}", String::from_utf8_lossy(&line));
            // Else it would never be taken.
            let escaped = line.contains(&b'\\');
            prop_assert!(!untouched || escaped || found.is_some(), "{}", String::from_utf8_lossy(&line));
        }
    }
}
