//! JSON as people write it, with comments and trailing commas, read so that it can be changed in places:
//! every byte that is not changed stays.

use std::ops::Range;

use lictor::document::{Limits, Source, StrictValue, from_json};

use crate::failure::Failure;

/// The most that such a file may hold, in bytes: one of them keeps a history beside its servers.
pub(crate) const MAX_BYTES: u64 = 16 << 20;
/// What stands where something is not shown.
const UNSHOWN: &str = "\"***\"";

/// Such a file, read.
#[derive(Debug)]
pub(crate) struct Document {
    bytes: Vec<u8>,
    plain: Vec<u8>,
    root: Node,
}

/// A value, and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// An object, with its fields in their order.
    Object(Vec<Field>),
    /// A list.
    List(Vec<Node>),
    /// A text.
    Text(String),
    /// Any other value.
    Other,
}

/// A field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Where its name begins.
    pub(crate) at: usize,
    pub(crate) value: Node,
}

/// What is put in place of a part of a text.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) span: Range<usize>,
    pub(crate) text: String,
}

impl Node {
    /// The fields, of an object.
    pub(crate) fn fields(&self) -> Option<&[Field]> {
        match &self.kind {
            Kind::Object(fields) => Some(fields),
            Kind::List(_) | Kind::Text(_) | Kind::Other => None,
        }
    }

    /// A field's value.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.field(name).map(|field| &field.value)
    }

    /// A field.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields()?.iter().find(|field| field.name == name)
    }

    /// The text, of a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            Kind::Object(_) | Kind::List(_) | Kind::Other => None,
        }
    }

    /// The texts, of a list that holds nothing else.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        match &self.kind {
            Kind::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
            Kind::Object(_) | Kind::Text(_) | Kind::Other => None,
        }
    }
}

impl Document {
    /// Reads one. What it is called is for messages.
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Self, Failure> {
        let plain = plain(bytes);
        let source = Source::new(name, &plain);
        let limits = Limits::default().with_max_bytes(MAX_BYTES);
        // Its lines are not repeated: they may hold secrets.
        from_json::<StrictValue>(&source, &limits).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Failure::input(format!(
                "`{name}` is not taken, line {line}, column {column}: JSON is accepted, with comments \
                 and trailing commas, and with each key once"
            ))
        })?;
        let mut reader = Reader { bytes: &plain, at: 0 };
        let root = reader.value();
        let root = root.ok_or_else(|| Failure::input(format!("`{name}` holds no value")))?;
        Ok(Self { bytes: bytes.to_vec(), plain, root })
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// How its lines end.
    pub(crate) fn line_end(&self) -> &'static str {
        let first = self.bytes.iter().position(|byte| *byte == b'\n');
        let before = first.and_then(|at| self.bytes.get(at.checked_sub(1)?));
        if before == Some(&b'\r') { "\r\n" } else { "\n" }
    }

    /// What stands between two places and is no comment.
    pub(crate) fn between(&self, span: Range<usize>) -> &[u8] {
        self.plain.get(span).unwrap_or_default()
    }

    /// Its bytes with these changes; they do not overlap.
    pub(crate) fn with(&self, edits: &[Edit]) -> Vec<u8> {
        spliced(&self.bytes, edits)
    }

    /// It for people's eyes: only what stands at these places is shown of its values, and no comment.
    pub(crate) fn masked(&self, shown: &[Range<usize>]) -> String {
        let mut hidden = Vec::new();
        hide(&self.root, shown, &self.plain, &mut hidden);
        let bytes = spliced(&self.plain, &hidden);
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        if !text.ends_with('\n') {
            lines.pop();
        }
        lines
    }
}

fn hide(node: &Node, shown: &[Range<usize>], plain: &[u8], hidden: &mut Vec<Edit>) {
    if shown.contains(&node.span) {
        return;
    }
    match &node.kind {
        Kind::Object(fields) => {
            fields.iter().for_each(|field| hide(&field.value, shown, plain, hidden));
        }
        Kind::List(items) => items.iter().for_each(|item| hide(item, shown, plain, hidden)),
        Kind::Text(_) | Kind::Other => {
            let said = plain.get(node.span.clone()).unwrap_or_default();
            if ![&b"true"[..], b"false", b"null"].contains(&said) {
                hidden.push(Edit { span: node.span.clone(), text: UNSHOWN.to_owned() });
            }
        }
    }
}

fn spliced(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.span.start);
    let (mut out, mut at) = (Vec::with_capacity(bytes.len() + 256), 0);
    for edit in edits {
        out.extend_from_slice(bytes.get(at..edit.span.start).unwrap_or_default());
        out.extend_from_slice(edit.text.as_bytes());
        at = edit.span.end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    out
}

/// Walks over JSON that was read before.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// What comes after room, and is not taken yet.
    fn next(&mut self) -> Option<u8> {
        while self.peek()?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.peek()
    }

    /// Takes it, if it is that.
    fn takes(&mut self, wanted: u8) -> Option<bool> {
        let is = self.next()? == wanted;
        self.at += usize::from(is);
        Some(is)
    }

    fn value(&mut self) -> Option<Node> {
        let first = self.next()?;
        let begin = self.at;
        let kind = match first {
            b'{' => Kind::Object(self.fields()?),
            b'[' => Kind::List(self.items()?),
            b'"' => Kind::Text(self.text()?),
            _ => {
                while self.peek().is_some_and(|byte| !b",]} \t\r\n".contains(&byte)) {
                    self.at += 1;
                }
                Kind::Other
            }
        };
        Some(Node { span: begin..self.at, kind })
    }

    fn fields(&mut self) -> Option<Vec<Field>> {
        self.at += 1;
        let mut fields = Vec::new();
        while !self.takes(b'}')? {
            self.next()?;
            let at = self.at;
            let name = self.text()?;
            self.takes(b':')?;
            fields.push(Field { name, at, value: self.value()? });
            self.takes(b',')?;
        }
        Some(fields)
    }

    fn items(&mut self) -> Option<Vec<Node>> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.takes(b']')? {
            items.push(self.value()?);
            self.takes(b',')?;
        }
        Some(items)
    }

    fn text(&mut self) -> Option<String> {
        let begin = self.at;
        self.at += 1;
        loop {
            match self.peek()? {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_slice(self.bytes.get(begin..self.at)?).ok()
    }
}

/// JSON without comments and trailing commas; every byte keeps its place, so that errors name it.
pub(crate) fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let (mut at, mut in_text) = (0, false);
    // Where a comma stands that nothing but room has followed.
    let mut comma: Option<usize> = None;
    let get = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let blank = |out: &mut Vec<u8>, at: usize| {
        if let Some(byte) = out.get_mut(at).filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
    };
    while at < bytes.len() {
        match (in_text, get(at)) {
            (true, b'\\') => at += 1,
            (true, b'"') => in_text = false,
            (true, _) => {}
            (false, b'"') => (in_text, comma) = (true, None),
            (false, b'/') if get(at + 1) == b'/' => {
                while at < bytes.len() && get(at) != b'\n' {
                    blank(&mut out, at);
                    at += 1;
                }
                continue;
            }
            (false, b'/') if get(at + 1) == b'*' => {
                let begin = at;
                while at < bytes.len()
                    && !(at >= begin + 2 && get(at) == b'*' && get(at + 1) == b'/')
                {
                    blank(&mut out, at);
                    at += 1;
                }
                blank(&mut out, at);
                blank(&mut out, at + 1);
                at += 2;
                continue;
            }
            (false, b',') => comma = Some(at),
            (false, b'}' | b']') => {
                if let Some(comma) = comma.take() {
                    blank(&mut out, comma);
                }
            }
            (false, byte) if byte.is_ascii_whitespace() => {}
            (false, _) => comma = None,
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn value(document: &Document) -> Value {
        serde_json::from_slice(&document.plain).unwrap()
    }

    #[test]
    fn comments_and_trailing_commas_are_taken_out_and_texts_stay() {
        let text = "{ // one, two }\n \"a\": [1, 2, /* ] */ ], \"b\": \"// no, \\\" /* comment */ ,}\", }\n";
        let read: Value = serde_json::from_slice(&plain(text.as_bytes())).unwrap();
        assert_eq!(read, json!({ "a": [1, 2], "b": "// no, \" /* comment */ ,}" }));
        assert_eq!(plain(text.as_bytes()).len(), text.len());
        for odd in ["", "/", "/*", "//", "\"\\", "[1,,]", "/* *"] {
            assert_eq!(plain(odd.as_bytes()).len(), odd.len(), "{odd}");
        }
    }

    const ODD: &str = "{ // the first\n  \"a\\u0062\": [1, \"x, ]\", /* no */ { \"y\": -1.5e3, }, ],\n  \"t\": \"\\\"\", \"n\": null }\n";

    #[test]
    fn places_are_those_of_the_values() {
        let document = Document::read("f", ODD.as_bytes()).unwrap();
        let root = document.root();
        let at = |node: &Node| ODD.get(node.span.clone()).unwrap().to_owned();
        let list = root.get("ab").unwrap();
        let Kind::List(items) = &list.kind else { panic!() };
        let said: Vec<String> = items.iter().map(at).collect();
        assert_eq!(said[..2], ["1", "\"x, ]\""]);
        assert_eq!(at(items[2].get("y").unwrap()), "-1.5e3");
        assert_eq!(root.get("t").unwrap().text(), Some("\""));
        assert_eq!(at(root.get("n").unwrap()), "null");
        assert_eq!(
            value(&document),
            json!({ "ab": [1, "x, ]", { "y": -1.5e3 }], "t": "\"", "n": null })
        );
    }

    #[test]
    fn what_is_not_changed_stays_to_the_byte() {
        let document = Document::read("f", ODD.as_bytes()).unwrap();
        assert_eq!(document.with(&[]), ODD.as_bytes());
        let list = document.root().get("ab").unwrap();
        let edits = [
            Edit { span: document.root().get("t").unwrap().span.clone(), text: "2".to_owned() },
            Edit { span: list.span.start + 1..list.span.start + 1, text: "0, ".to_owned() },
        ];
        let changed = String::from_utf8(document.with(&edits)).unwrap();
        assert_eq!(changed, ODD.replace("[1,", "[0, 1,").replace("\"\\\"\"", "2"));
    }

    #[test]
    fn nothing_is_shown_but_what_is_wanted() {
        let text =
            "{ // key: abc\n \"a\": \"abc\", \"b\": { \"c\": 42, \"d\": true }, \"e\": [\"abc\"] }";
        let document = Document::read("f", text.as_bytes()).unwrap();
        let shown = [document.root().get("e").unwrap().span.clone()];
        assert_eq!(
            document.masked(&shown),
            "{\n \"a\": \"***\", \"b\": { \"c\": \"***\", \"d\": true }, \"e\": [\"abc\"] }"
        );
    }

    #[test]
    fn what_is_no_json_is_refused_without_being_repeated() {
        for bad in ["", "{", "{\"token\": s3cret}", "{\"a\": 1, \"a\": 2}", "{\"a\": 1,, }"] {
            let told = Document::read("f", bad.as_bytes()).unwrap_err();
            assert!(told.message.contains("JSON is accepted"), "{}", told.message);
            assert!(!told.message.contains("s3cret"), "{}", told.message);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_has_the_places_of_the_same_values(
            value in values(), indent in proptest::bool::ANY
        ) {
            let text = match indent {
                true => serde_json::to_string_pretty(&value).unwrap(),
                false => value.to_string(),
            };
            let document = Document::read("f", text.as_bytes()).unwrap();
            proptest::prop_assert!(same(document.root(), &value, &text));
            proptest::prop_assert_eq!(document.with(&[]), text.into_bytes());
        }
    }

    fn same(node: &Node, value: &Value, text: &str) -> bool {
        let here: Value = serde_json::from_str(text.get(node.span.clone()).unwrap()).unwrap();
        let inner = match (&node.kind, value) {
            (Kind::Object(fields), Value::Object(values)) => {
                fields.len() == values.len()
                    && fields.iter().all(|field| {
                        text.get(field.at..).unwrap().starts_with('"')
                            && same(&field.value, &values[&field.name], text)
                    })
            }
            (Kind::List(items), Value::Array(values)) => {
                items.len() == values.len()
                    && items.iter().zip(values).all(|(item, value)| same(item, value, text))
            }
            (Kind::Text(one), Value::String(other)) => one == other,
            (Kind::Other, Value::Null | Value::Bool(_) | Value::Number(_)) => true,
            _ => false,
        };
        inner && here == *value
    }

    fn values() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[\\\\\"/*,{}\\[\\]: \n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"/\\\\]{0,4}", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }
}
