//! `json.parse`, `json.get`, `json.stringify`.

use lictor_capability::{Effects, WorkspaceView};
use lictor_context::canonical_json;
use lictor_document::{DocumentErrorKind, Limits, Source, StrictValue, from_json};
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
    // The parser's own message quotes the text, which may hold what nobody should see in a log.
    from_json::<StrictValue>(&source, &Limits::default()).map(StrictValue::into_inner).map_err(
        |error| {
            HandlerError::input(format!(
                "the text is not JSON that is accepted here, at line {} column {}: {}",
                error.line(),
                error.column(),
                problem(error.kind())
            ))
        },
    )
}

fn problem(kind: DocumentErrorKind) -> &'static str {
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
        Kind::NumberRange => "the number is out of range; 64-bit integers and finite doubles are \
                              accepted, others as strings",
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
    let too_long = || HandlerError::failed(format!("the text would hold more than {MAX_TEXT} bytes"));
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
