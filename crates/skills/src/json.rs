//! `json.parse`, `json.get`, `json.stringify`.

use lictor_capability::{Effects, WorkspaceView};
use lictor_context::canonical_json;
use lictor_document::{DocumentError, DocumentErrorKind, Limits, Source, StrictValue, from_json};
use lictor_executor::HandlerError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bounded::Bounded;
use crate::skill::{Skill, parse};

/// The most bytes of a text that `json.stringify` makes.
const MAX_TEXT: usize = 4 << 20;

pub(crate) struct Parse;

impl Skill for Parse {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        #[derive(Deserialize)]
        struct Input<'a> {
            text: &'a str,
        }
        let input: Input<'_> = parse(input)?;
        Ok(json!({ "value": parse_text(input.text)? }))
    }
}

pub(crate) fn parse_text(text: &str) -> Result<Value, HandlerError> {
    let source = Source::new("text", text.as_bytes());
    from_json::<StrictValue>(&source, &Limits::default())
        .map(StrictValue::into_inner)
        .map_err(|error| refused("JSON", &error, problem(error.kind())))
}

/// Where a text is wrong and why. The parser's own message quotes the text, which may hold what
/// nobody should see in a log.
pub(crate) fn refused(language: &str, error: &DocumentError, problem: &str) -> HandlerError {
    HandlerError::input(format!(
        "the text is not {language} that is accepted here, at line {} column {}: {problem}",
        error.line(),
        error.column(),
    ))
}

pub(crate) fn problem(kind: DocumentErrorKind) -> &'static str {
    use DocumentErrorKind as Kind;
    match kind {
        Kind::TooLarge => "it is larger than 1 MiB",
        Kind::TooDeep => "it is nested deeper than 64 levels",
        Kind::TooManyValues => "it holds more than a million values",
        Kind::ByteOrderMark => "it starts with a byte-order mark",
        Kind::ControlCharacter => "a control character; inside a string its escape is accepted",
        Kind::Empty => "there is nothing in it",
        Kind::Truncated => "it ends too early",
        Kind::TrailingData => "something follows the value",
        Kind::DuplicateKey => "the key stands twice in its object",
        Kind::NotFinite => "the number is not finite",
        Kind::NumberRange => {
            "the number is out of range; 64-bit integers and finite doubles are \
                              accepted, others as strings"
        }
        Kind::Surrogate => "half of a surrogate pair",
        _ => "a syntax error; RFC 8259 is accepted, without comments and trailing commas",
    }
}

pub(crate) struct Get;

#[derive(Deserialize)]
#[serde(untagged)]
enum Pointer<'a> {
    Text(&'a str),
    Segments(Vec<Segment<'a>>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segment<'a> {
    Index(u64),
    Key(&'a str),
}

impl Skill for Get {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let pointer = input.get("pointer").map(Pointer::deserialize).and_then(Result::ok);
        let (Some(value), Some(pointer)) = (input.get("value"), pointer) else {
            return Err(HandlerError::input(
                "`pointer` is neither a JSON pointer nor a list of names and indices",
            ));
        };
        let found = match pointer {
            Pointer::Text(text) => at_pointer(value, text)?,
            Pointer::Segments(segments) => {
                segments.iter().try_fold(value, |value, segment| match segment {
                    Segment::Key(key) => child(value, key),
                    Segment::Index(index) => child(value, &index.to_string()),
                })
            }
        };
        Ok(json!({ "value": found, "found": found.is_some() }))
    }
}

fn at_pointer<'v>(value: &'v Value, pointer: &str) -> Result<Option<&'v Value>, HandlerError> {
    if pointer.is_empty() {
        return Ok(Some(value));
    }
    let Some(tokens) = pointer.strip_prefix('/') else {
        return Err(HandlerError::input(
            "`pointer` is not a JSON pointer (RFC 6901): it is empty or begins with `/`",
        ));
    };
    let mut at = Some(value);
    for token in tokens.split('/') {
        // All of it is checked, also behind the point where nothing is found any more.
        let mut key = String::with_capacity(token.len());
        let mut chars = token.chars();
        while let Some(c) = chars.next() {
            match (c, (c == '~').then(|| chars.next()).flatten()) {
                ('~', Some('0')) => key.push('~'),
                ('~', Some('1')) => key.push('/'),
                ('~', _) => {
                    return Err(HandlerError::input(
                        "`pointer` is not a JSON pointer (RFC 6901): behind `~` only `0` and `1` \
                         are accepted",
                    ));
                }
                (c, _) => key.push(c),
            }
        }
        at = at.and_then(|value| child(value, &key));
    }
    Ok(at)
}

fn child<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(list) => {
            let plain = key == "0"
                || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
            plain.then(|| key.parse::<usize>().ok()).flatten().and_then(|index| list.get(index))
        }
        _ => None,
    }
}

pub(crate) struct Stringify;

impl Skill for Stringify {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let flag = |name| input.get(name).and_then(Value::as_bool).unwrap_or(false);
        let value = input.get("value").unwrap_or(&Value::Null);
        let text = stringify(value, flag("pretty"), flag("canonical"))?;
        Ok(json!({ "text": text }))
    }
}

pub(crate) fn stringify(
    value: &Value,
    pretty: bool,
    canonical: bool,
) -> Result<String, HandlerError> {
    let too_long =
        || HandlerError::failed(format!("the text would hold more than {MAX_TEXT} bytes"));
    if pretty && canonical {
        return Err(HandlerError::input("`pretty` and `canonical` are both set; set one"));
    }
    if canonical {
        let bytes = canonical_json(value).map_err(HandlerError::failed)?;
        let text = String::from_utf8(bytes).map_err(HandlerError::failed)?;
        return if text.len() > MAX_TEXT { Err(too_long()) } else { Ok(text) };
    }
    let mut out = Bounded::new(MAX_TEXT);
    let written = if pretty {
        value.serialize(&mut serde_json::Serializer::pretty(&mut out))
    } else {
        value.serialize(&mut serde_json::Serializer::new(&mut out))
    };
    match written {
        Ok(()) => Ok(out.into_text()),
        Err(_) => Err(too_long()),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use lictor_context::canonical_json;
    use proptest::prelude::*;
    use serde_json::{Number, Value, json};

    use super::{at_pointer, parse_text, stringify};

    /// Any value, of the numbers that `parse` takes.
    fn value() -> impl Strategy<Value = Value> {
        let finite = any::<f64>().prop_filter_map("finite", Number::from_f64);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            finite.prop_map(Value::Number),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// RFC 8785 written down once more, for everything but numbers with a fraction.
    fn reference(value: &Value, out: &mut String) {
        match value {
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    reference(item, out);
                }
                out.push(']');
            }
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort_by_key(|key| key.encode_utf16().collect::<Vec<u16>>());
                out.push('{');
                for (index, key) in keys.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    text(key, out);
                    out.push(':');
                    reference(&map[key], out);
                }
                out.push('}');
            }
            Value::String(string) => text(string, out),
            Value::Number(number) => {
                let double = number.as_f64().unwrap();
                write!(out, "{double}").unwrap();
            }
            other => write!(out, "{other}").unwrap(),
        }
    }

    fn text(text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\u{8}' => out.push_str("\\b"),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\u{c}' => out.push_str("\\f"),
                '\r' => out.push_str("\\r"),
                c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).unwrap(),
                c => out.push(c),
            }
        }
        out.push('"');
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in value()) {
            let compact = stringify(&value, false, false).unwrap();
            prop_assert_eq!(&parse_text(&compact).unwrap(), &value);
            let pretty = stringify(&value, true, false).unwrap();
            prop_assert_eq!(&parse_text(&pretty).unwrap(), &value);
        }

        #[test]
        fn canonical_is_one_form(value in value()) {
            let once = stringify(&value, false, true).unwrap();
            prop_assert_eq!(once.as_bytes(), canonical_json(&value).unwrap());
            if let Ok(back) = parse_text(&once) {
                prop_assert_eq!(stringify(&back, false, true).unwrap(), once);
            } // else: a double above i64 without a fraction, which `parse` does not take
        }

        #[test]
        fn canonical_is_rfc_8785(keys in prop::collection::vec(any::<String>(), 0..8), n in -(1_i64 << 53)..(1 << 53)) {
            let map: Value = keys.iter().map(|key| (key.clone(), json!([key, n, null]))).collect();
            let mut expected = String::new();
            reference(&map, &mut expected);
            prop_assert_eq!(stringify(&map, false, true).unwrap(), expected);
        }

        #[test]
        fn a_pointer_finds_every_key(key in any::<String>(), index in 0_usize..3) {
            let mut value = json!({});
            value[&key] = json!([0, 1, 2]);
            let pointer = format!("/{}/{index}", key.replace('~', "~0").replace('/', "~1"));
            prop_assert_eq!(at_pointer(&value, &pointer).unwrap(), Some(&json!(index)));
            prop_assert_eq!(at_pointer(&value, &pointer).unwrap(), value.pointer(&pointer));
        }
    }

    #[test]
    fn the_numbers_of_rfc_8785_appendix_b() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let value = json!(f64::from_bits(bits));
            assert_eq!(stringify(&value, false, true).unwrap(), expected, "{bits:x}");
        }
    }

    #[test]
    fn the_example_of_rfc_8785() {
        let value = json!({
            "numbers": [333_333_333.333_333_3, 1E30, 4.50, 2e-3, 0.000_000_000_000_000_000_000_000_001],
            "string": "\u{20ac}$\u{F}\u{A}A'\u{42}\u{22}\u{5c}\\\"/",
            "literals": [null, true, false]
        });
        let expected = concat!(
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(stringify(&value, false, true).unwrap(), expected);
    }

    #[test]
    fn a_text_has_an_end() {
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep.clone(), deep["x"], 1, 2]);
        }
        let wide = Value::from(vec![deep; 500]);
        let error = stringify(&wide, true, false).unwrap_err();
        assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
    }
}
