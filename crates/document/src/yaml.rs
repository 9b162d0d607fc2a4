//! From YAML events to the tree: structure, budgets, keys, tags and aliases.
//!
//! The scanner is `granit-parser`, as re-exported by `serde-saphyr`. The deserialiser of
//! `serde-saphyr` is not used: it reads quoted numbers as numbers, accepts NaN where a float is
//! asked for, and loses places below `flatten`.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_saphyr::granit_parser as granit;

use granit::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::error::{DocumentErrorKind as Kind, Fault};
use crate::json::too_deep;
use crate::scalar::{self, Scalar};
use crate::source::Limits;
use crate::text::{At, shown, shown_word};
use crate::tree::{Data, Key, Node, refuse_duplicates};

pub(crate) fn parse<'a>(text: &'a str, limits: &Limits) -> Result<Node<'a>, Fault> {
    refuse_characters(text)?;
    let mut options = granit::Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    // The scanner reads ahead of the events, so it has to know the limit as well.
    options.flow_nesting_limit = limits.depth();
    options.block_nesting_limit = limits.depth();
    let mut builder = Builder {
        text,
        limits,
        stack: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        n_documents: 0,
        n_values: 0,
        n_copied: 0,
        n_copied_bytes: 0,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| scan_fault(text, &error, limits))?;
        builder.take(event, place(&span.start), span)?;
    }
    match builder.root {
        Some(Node { data: Data::Plain(text), .. }) if text.is_empty() => Err(Fault::empty()),
        Some(root) => Ok(root),
        None => Err(Fault::empty()),
    }
}

/// A collection that is still open.
enum Frame<'a> {
    List { at: At, anchor: usize, items: Vec<Node<'a>> },
    Map { at: At, anchor: usize, key: Option<Key<'a>>, entries: Vec<(Key<'a>, Node<'a>)> },
}

struct Builder<'a, 'l> {
    text: &'a str,
    limits: &'l Limits,
    stack: Vec<Frame<'a>>,
    anchors: HashMap<usize, Node<'a>>,
    root: Option<Node<'a>>,
    n_documents: usize,
    n_values: u64,
    n_copied: u64,
    n_copied_bytes: u64,
}

impl<'a> Builder<'a, '_> {
    fn take(&mut self, event: Event<'a>, at: At, span: granit::Span) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => {
                self.n_documents += 1;
                if self.n_documents > 1 {
                    let message =
                        "a second document starts here; accepted here: one document in a file";
                    return Err(Fault::new(at, Kind::SeveralDocuments, message));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at)?;
                let tag_at = span.tag_start.as_ref().map_or(at, place);
                // Where nothing is written, the parser says `~`.
                let is_absent = style == ScalarStyle::Plain && span.start == span.end;
                let text = if is_absent { Cow::Borrowed("") } else { text };
                let data = self.scalar(text, style, tag.as_deref(), at, tag_at)?;
                self.complete(Node { at, data }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag_at = span.tag_start.as_ref().map_or(at, place);
                self.open(at, "list", "seq", tag.as_deref(), tag_at)?;
                self.stack.push(Frame::List { at, anchor, items: Vec::new() });
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag_at = span.tag_start.as_ref().map_or(at, place);
                self.open(at, "mapping", "map", tag.as_deref(), tag_at)?;
                self.stack.push(Frame::Map { at, anchor, key: None, entries: Vec::new() });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::List { at, anchor, items }) => {
                    let data = Data::List(items);
                    self.complete(Node { at, data }, anchor)?;
                }
                Some(Frame::Map { at, anchor, entries, .. }) => {
                    refuse_duplicates(&entries)?;
                    let data = Data::Map(entries);
                    self.complete(Node { at, data }, anchor)?;
                }
                None => {}
            },
            Event::Alias(id) => self.alias(id, at, &span)?,
            // Presentation only, or switched off by the options.
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, at: At) -> Result<(), Fault> {
        self.n_values += 1;
        if self.n_values > self.limits.max_values {
            let message = format!(
                "too many values; accepted here: at most {} in a document",
                self.limits.max_values
            );
            return Err(Fault::new(at, Kind::TooManyValues, message));
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: None, .. }))
    }

    fn open(
        &mut self,
        at: At,
        what: &str,
        suffix: &str,
        tag: Option<&Tag>,
        tag_at: At,
    ) -> Result<(), Fault> {
        self.count(at)?;
        if self.expects_key() {
            let message = format!("a {what} stands as a key; accepted here: text");
            return Err(Fault::new(at, Kind::KeyNotText, message));
        }
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema_tag(suffix)
        {
            return Err(tag_fault(tag, tag_at, &format!("no tag on a {what}")));
        }
        if self.stack.len() >= self.limits.depth() {
            return Err(too_deep(at, self.limits.depth()));
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: At,
        tag_at: At,
    ) -> Result<Data<'a>, Fault> {
        let plain = style == ScalarStyle::Plain;
        if self.expects_key() {
            if plain && tag.is_none_or(|tag| !tag.is_yaml_core_schema_tag("str")) {
                refuse_key(&text, at)?;
            }
            if let Some(tag) = tag
                && !tag.is_yaml_core_schema_tag("str")
            {
                return Err(tag_fault(tag, tag_at, "!!str on a key, or no tag"));
            }
            return Ok(Data::Text(text));
        }
        let Some(tag) = tag else {
            return Ok(if plain { Data::Plain(text) } else { Data::Text(text) });
        };
        let accepted = "!!str, !!int, !!float, !!bool or !!null, on a value of that type";
        let Some(suffix) = tag.core_suffix() else {
            return Err(tag_fault(tag, tag_at, accepted));
        };
        if suffix == "str" {
            return Ok(Data::Text(text));
        }
        match (suffix, scalar::resolve(&text, at)?) {
            ("null", Scalar::Null) => Ok(Data::Null),
            ("bool", Scalar::Bool(value)) => Ok(Data::Bool(value)),
            ("int", Scalar::Int(value)) => Ok(Data::Int(value)),
            ("float", Scalar::Float(value)) => Ok(Data::Float(value)),
            ("float", Scalar::Int(_)) if let Ok(value) = text.parse() => Ok(Data::Float(value)),
            _ => Err(tag_fault(tag, tag_at, accepted)),
        }
    }

    /// Hangs a finished value into the tree.
    fn complete(&mut self, node: Node<'a>, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            self.charge(&node, node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { key, entries, .. }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    if let Data::Text(text) = node.data {
                        *key = Some(Key { at: node.at, text });
                    }
                }
            },
            None => self.root = Some(node),
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: At, span: &granit::Span) -> Result<(), Fault> {
        let (from, to) = (span.start.byte_offset(), span.end.byte_offset());
        let name = match (from, to) {
            (Some(from), Some(to)) => self.text.get(from..to).unwrap_or("*"),
            _ => "*",
        };
        if self.expects_key() {
            let message = format!("the alias {} stands as a key; accepted here: text", shown(name));
            return Err(Fault::new(at, Kind::KeyNotText, message));
        }
        let Some(node) = self.anchors.get(&id) else {
            let message = format!(
                "the alias {} stands inside its own anchor; accepted here: an anchor that is complete",
                shown(name)
            );
            return Err(Fault::new(at, Kind::Alias, message));
        };
        let mut node = node.clone();
        self.charge(&node, at)?;
        if self.stack.len() + node.measure().height > self.limits.depth() {
            return Err(too_deep(at, self.limits.depth()));
        }
        node.at = at;
        self.complete(node, 0)
    }

    /// Pays for a copy, before anything else can copy it again.
    fn charge(&mut self, node: &Node<'a>, at: At) -> Result<(), Fault> {
        let cost = node.measure();
        self.n_copied = self.n_copied.saturating_add(cost.n_values);
        self.n_copied_bytes = self.n_copied_bytes.saturating_add(cost.n_bytes);
        if self.n_copied > self.limits.max_alias_values
            || self.n_copied_bytes > self.limits.max_bytes
        {
            let message = format!(
                "anchors and aliases copy too much; accepted here: at most {} values and {} bytes",
                self.limits.max_alias_values, self.limits.max_bytes
            );
            return Err(Fault::new(at, Kind::AliasBudget, message));
        }
        Ok(())
    }
}

fn place(marker: &Marker) -> At {
    At::new(marker.line(), marker.col() + 1)
}

fn refuse_key(text: &str, at: At) -> Result<(), Fault> {
    if text == "<<" {
        let message = "the merge key `<<` is not supported; accepted here: keys written out, or \
                       `\"<<\"` in quotes";
        return Err(Fault::new(at, Kind::MergeKey, message));
    }
    // `on:` and `no:` are common names of keys, and keys are never booleans here.
    if scalar::is_old_bool(text) || scalar::resolve(text, at).is_ok_and(|key| key == Scalar::Text) {
        return Ok(());
    }
    let message = if text.is_empty() {
        String::from("a key is missing before `:`; accepted here: text")
    } else {
        format!("the key {} is not text; accepted here: text, if need be in quotes", shown(text))
    };
    Err(Fault::new(at, Kind::KeyNotText, message))
}

fn tag_fault(tag: &Tag, at: At, accepted: &str) -> Fault {
    let written = format!("{}{}", tag.original_handle(), tag.suffix());
    let message =
        format!("the tag {} is not supported here; accepted here: {accepted}", shown(&written));
    Fault::new(at, Kind::Tag, message)
}

/// Everything that YAML calls not printable, and byte-order marks anywhere.
fn refuse_characters(text: &str) -> Result<(), Fault> {
    let refused = |c: char| match c {
        '\t' | '\n' | '\r' => false,
        '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}' => true,
        c => c.is_control(),
    };
    let Some((offset, c)) = text.char_indices().find(|(_, c)| refused(*c)) else {
        return Ok(());
    };
    let at = crate::text::position(text.as_bytes(), offset);
    let code = u32::from(c);
    if c == '\u{FEFF}' {
        let message = "a byte-order mark inside the document; accepted here: UTF-8 without one";
        return Err(Fault::new(at, Kind::ByteOrderMark, message));
    }
    let message = format!(
        "control character `U+{code:04X}`; accepted here: text, with such a character escaped in \
         double quotes"
    );
    Err(Fault::new(at, Kind::ControlCharacter, message))
}

fn scan_fault(text: &str, error: &granit::ScanError, limits: &Limits) -> Fault {
    use granit::ErrorKind as E;
    let at = place(error.marker());
    let line = crate::text::line_at(text.as_bytes(), at.line).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let skip = usize::try_from(at.column.saturating_sub(1)).unwrap_or(0);
    let word: String = line.chars().skip(skip).take_while(|c| !c.is_whitespace()).collect();
    let near =
        if word.is_empty() { String::from("the end of the line") } else { shown_word(&word) };
    let (kind, message) = match error.kind() {
        E::RecursionLimitExceeded => return too_deep(at, limits.depth()),
        E::UnexpectedEofFlowSequence
        | E::UnexpectedEofFlowMapping
        | E::UnexpectedEofImplicitFlowMapping
        | E::UnexpectedEofBlockSequence
        | E::UnexpectedEofBlockMapping
        | E::UnexpectedEof => (
            Kind::Truncated,
            String::from("the document ends too early; accepted here: the rest of the value"),
        ),
        E::UnclosedFlowCollection { open } => (
            Kind::Truncated,
            format!(
                "the document ends before `{open}` is closed; accepted here: `{}`",
                if *open == '[' { ']' } else { '}' }
            ),
        ),
        E::UnclosedQuotedScalar => (
            Kind::Truncated,
            String::from("the document ends inside quoted text; accepted here: the closing quote"),
        ),
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabInIndentation
        | E::TabInPlainScalar
        | E::TabAtBlockScalarStart => (
            Kind::Syntax,
            format!("a tab stands in the indentation at {near}; accepted here: spaces"),
        ),
        E::UnknownAnchor => (
            Kind::Alias,
            String::from("the alias has no anchor; accepted here: an anchor defined before"),
        ),
        E::DirectiveDisallowed => (
            Kind::Directive,
            format!(
                "the directive {near} is not supported; accepted here: a document without directives"
            ),
        ),
        E::BomInsideDocument => (
            Kind::ByteOrderMark,
            String::from("a byte-order mark inside the document; accepted here: UTF-8 without one"),
        ),
        E::InvalidLowSurrogateHexEscape
        | E::InvalidLowSurrogate
        | E::MissingLowSurrogate
        | E::UnpairedLowSurrogate => (
            Kind::Surrogate,
            String::from(
                "unpaired surrogate; accepted here: a character, or both halves of a pair",
            ),
        ),
        _ if ends_there(text, error.marker()) => (
            Kind::Truncated,
            String::from("the document ends too early; accepted here: the rest of the value"),
        ),
        other => (
            Kind::Syntax,
            format!("{} at {near}; accepted here: YAML 1.2", lower_first(&other.to_string())),
        ),
    };
    Fault::new(at, kind, message)
}

/// Whether nothing but white space follows: then whatever is wrong, something is missing.
fn ends_there(text: &str, marker: &Marker) -> bool {
    let rest = marker.byte_offset().and_then(|offset| text.get(offset..));
    rest.is_some_and(|rest| rest.trim().is_empty())
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        // `YAML` and `"-"` stay as they are.
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}
