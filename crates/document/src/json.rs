//! A strict JSON parser (RFC 8259) that keeps the place of every value.

use std::borrow::Cow;

use crate::error::{DocumentErrorKind as Kind, Fault};
use crate::source::Limits;
use crate::text::{At, count_chars, position, shown, shown_word};
use crate::tree::{Data, Key, Node, refuse_duplicates};

pub(crate) fn parse<'a>(text: &'a str, limits: &Limits) -> Result<Node<'a>, Fault> {
    let mut parser = Parser {
        text,
        bytes: text.as_bytes(),
        offset: 0,
        line: 1,
        mark: 0,
        mark_column: 1,
        depth: 0,
        max_depth: limits.depth(),
        n_values: 0,
        max_values: limits.max_values,
    };
    let root = parser.value()?;
    parser.skip_space();
    if parser.peek().is_some() {
        let found = parser.found(parser.offset);
        let message =
            format!("found {found} after the end of the document; accepted here: nothing");
        return Err(parser.fault(parser.offset, Kind::TrailingData, message));
    }
    Ok(root)
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    offset: usize,
    line: usize,
    // The column is known at `mark`, on the current line; characters are counted once.
    mark: usize,
    mark_column: usize,
    depth: usize,
    max_depth: usize,
    n_values: u64,
    max_values: u64,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.offset).copied()
    }

    /// The place of the next byte.
    fn at(&mut self) -> At {
        let passed = self.bytes.get(self.mark..self.offset).unwrap_or_default();
        self.mark_column += count_chars(passed);
        self.mark = self.offset;
        At::new(self.line, self.mark_column)
    }

    fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.offset += 1,
                b'\n' | b'\r' => {
                    self.offset += 1;
                    if byte == b'\r' && self.peek() == Some(b'\n') {
                        self.offset += 1;
                    }
                    self.line += 1;
                    self.mark = self.offset;
                    self.mark_column = 1;
                }
                _ => return,
            }
        }
    }

    fn value(&mut self) -> Result<Node<'a>, Fault> {
        self.skip_space();
        let at = self.at();
        self.count(at)?;
        let data = match self.peek() {
            Some(b'{') => Data::Map(self.nested(at, Self::object)?),
            Some(b'[') => Data::List(self.nested(at, Self::array)?),
            Some(b'"') => Data::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number(at)?,
            _ => self.word(at)?,
        };
        Ok(Node { at, data })
    }

    fn count(&mut self, at: At) -> Result<(), Fault> {
        self.n_values += 1;
        if self.n_values > self.max_values {
            let message = format!(
                "too many values; accepted here: at most {} in a document",
                self.max_values
            );
            return Err(Fault::new(at, Kind::TooManyValues, message));
        }
        Ok(())
    }

    fn nested<T>(&mut self, at: At, inner: fn(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= self.max_depth {
            return Err(too_deep(at, self.max_depth));
        }
        self.depth += 1;
        self.offset += 1;
        let inside = inner(self)?;
        self.depth -= 1;
        Ok(inside)
    }

    fn object(&mut self) -> Result<Vec<(Key<'a>, Node<'a>)>, Fault> {
        let mut entries = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.offset += 1;
            return Ok(entries);
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let at = self.at();
            self.count(at)?;
            let text = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.expected("`:`"));
            }
            self.offset += 1;
            let value = self.value()?;
            entries.push((Key { at, text }, value));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.offset += 1,
                Some(b'}') => break,
                _ => return Err(self.expected("`,` or `}`")),
            }
        }
        self.offset += 1;
        refuse_duplicates(&entries)?;
        Ok(entries)
    }

    fn array(&mut self) -> Result<Vec<Node<'a>>, Fault> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.offset += 1;
            return Ok(items);
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.offset += 1,
                Some(b']') => break,
                _ => return Err(self.expected("`,` or `]`")),
            }
        }
        self.offset += 1;
        Ok(items)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        let opening = self.offset;
        self.offset += 1;
        let mut owned: Option<String> = None;
        loop {
            let start = self.offset;
            self.offset += plain_run(self.bytes.get(start..).unwrap_or_default());
            let run = self.text.get(start..self.offset).unwrap_or_default();
            match self.peek() {
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(run),
                        Some(mut text) => {
                            text.push_str(run);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(run);
                    let c = self.escape()?;
                    text.push(c);
                }
                Some(byte) => {
                    let message = format!(
                        "control character `0x{byte:02X}` inside text; accepted here: its escape \
                         `\\u{byte:04x}`"
                    );
                    return Err(self.fault(self.offset, Kind::ControlCharacter, message));
                }
                None => {
                    let message = "the document ends inside the text that starts here; \
                                   accepted here: a closing `\"`";
                    return Err(self.fault(opening, Kind::Truncated, message));
                }
            }
        }
    }

    /// One escape; the offset stands on the backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.offset;
        let Some(letter) = self.bytes.get(start + 1).copied() else {
            return Err(self.fault(start, Kind::Truncated, "the document ends inside an escape"));
        };
        self.offset += 2;
        let c = match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(start),
            _ => {
                let escape: String =
                    self.text.get(start..).unwrap_or_default().chars().take(2).collect();
                let message = format!(
                    "unknown escape {}; accepted here: \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
                    shown(&escape)
                );
                return Err(self.fault(start, Kind::Syntax, message));
            }
        };
        Ok(c)
    }

    fn code_point(&mut self, start: usize) -> Result<char, Fault> {
        let unit = self.hex(start)?;
        let scalar = match unit {
            0xD800..=0xDBFF => {
                let low_at = self.offset;
                if self.bytes.get(low_at..low_at + 2) != Some(b"\\u") {
                    return Err(self.lone(start, unit));
                }
                self.offset += 2;
                match self.hex(low_at)? {
                    low @ 0xDC00..=0xDFFF => 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00),
                    _ => return Err(self.lone(start, unit)),
                }
            }
            other => other,
        };
        char::from_u32(scalar).ok_or_else(|| self.lone(start, unit))
    }

    fn hex(&mut self, start: usize) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.offset..self.offset + 4);
        let mut unit = 0;
        for digit in digits.unwrap_or(b"?") {
            let Some(digit) = char::from(*digit).to_digit(16) else {
                let kind = if digits.is_some() { Kind::Syntax } else { Kind::Truncated };
                let message = "incomplete escape; accepted here: `\\u` and four hex digits";
                return Err(self.fault(start, kind, message));
            };
            unit = unit * 16 + digit;
        }
        self.offset += 4;
        Ok(unit)
    }

    fn lone(&self, start: usize, unit: u32) -> Fault {
        let message = format!(
            "unpaired surrogate `\\u{unit:04x}`; accepted here: a character, or both halves of a pair"
        );
        self.fault(start, Kind::Surrogate, message)
    }

    fn number(&mut self, at: At) -> Result<Data<'a>, Fault> {
        let word = self.take_word();
        let refused = |kind, message: String| Err(Fault::new(at, kind, message));
        let unsigned = word.strip_prefix('-').unwrap_or(word);
        let n_digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = unsigned.split_at_checked(n_digits).unwrap_or_default();
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) || !is_fraction(rest) {
            if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
                return Err(not_finite(at, word));
            }
            let message = format!(
                "{} is not a JSON number; accepted here: digits without a leading zero, then \
                 optionally `.` with digits and an exponent",
                shown_word(word)
            );
            return refused(Kind::Syntax, message);
        }
        if rest.is_empty() {
            return match word.parse() {
                Ok(value) => Ok(Data::Int(value)),
                Err(_) => Err(out_of_i64(at, word)),
            };
        }
        match word.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Data::Float(value)),
            _ => Err(out_of_f64(at, word)),
        }
    }

    fn word(&mut self, at: At) -> Result<Data<'a>, Fault> {
        let start = self.offset;
        let word = self.take_word();
        match word {
            "null" => return Ok(Data::Null),
            "true" => return Ok(Data::Bool(true)),
            "false" => return Ok(Data::Bool(false)),
            _ => {}
        }
        if ["nan", "infinity", "inf"]
            .iter()
            .any(|name| word.trim_start_matches('+').eq_ignore_ascii_case(name))
        {
            return Err(not_finite(at, word));
        }
        self.offset = start;
        Err(self.expected("a value"))
    }

    /// The run of characters that could belong to a number or a literal.
    fn take_word(&mut self) -> &'a str {
        let start = self.offset;
        let n_word = self
            .bytes
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_'))
            .count();
        self.offset += n_word;
        self.text.get(start..self.offset).unwrap_or_default()
    }

    fn expected(&self, what: &str) -> Fault {
        if self.peek().is_none() {
            let message = format!("the document ends too early; accepted here: {what}");
            return self.fault(self.offset, Kind::Truncated, message);
        }
        if let Some(byte) = self.peek()
            && byte < 0x20
        {
            let message = format!("control character `0x{byte:02X}`; accepted here: {what}");
            return self.fault(self.offset, Kind::ControlCharacter, message);
        }
        let message = format!("found {}; accepted here: {what}", self.found(self.offset));
        self.fault(self.offset, Kind::Syntax, message)
    }

    /// The word or the character at an offset.
    fn found(&self, offset: usize) -> String {
        let rest = self.text.get(offset..).unwrap_or_default();
        let n_word = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        match rest.get(..n_word) {
            Some(word) if !word.is_empty() => shown_word(word),
            _ => shown(&rest.chars().take(1).collect::<String>()),
        }
    }

    #[cold]
    fn fault(&self, offset: usize, kind: Kind, message: impl Into<String>) -> Fault {
        Fault::new(position(self.bytes, offset), kind, message)
    }
}

pub(crate) fn too_deep(at: At, max_depth: usize) -> Fault {
    let message = format!("nested too deeply; accepted here: at most {max_depth} levels");
    Fault::new(at, Kind::TooDeep, message)
}

pub(crate) fn not_finite(at: At, word: &str) -> Fault {
    let message = format!("{} is not a finite number; accepted here: finite numbers", shown(word));
    Fault::new(at, Kind::NotFinite, message)
}

pub(crate) fn out_of_i64(at: At, word: &str) -> Fault {
    let message = format!(
        "the integer {} is out of range; accepted here: {} to {}, or the digits in quotes",
        shown(word),
        i64::MIN,
        i64::MAX
    );
    Fault::new(at, Kind::NumberRange, message)
}

pub(crate) fn out_of_f64(at: At, word: &str) -> Fault {
    let message = format!(
        "the number {} is out of range; accepted here: magnitudes up to {:e}",
        shown(word),
        f64::MAX
    );
    Fault::new(at, Kind::NumberRange, message)
}

/// `.5`, `e10`, `.5e-10` or nothing.
fn is_fraction(rest: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let fraction_is_fine = match fraction.strip_prefix('.') {
        Some(text) => digits(text),
        None => fraction.is_empty(),
    };
    let exponent_is_fine = match exponent {
        Some(text) => digits(text.strip_prefix(['+', '-']).unwrap_or(text)),
        None => true,
    };
    fraction_is_fine && exponent_is_fine
}

/// How many bytes from here on are text without quote, backslash or control character.
///
/// Whole chunks first, in a form that the compiler turns into vector instructions.
fn plain_run(bytes: &[u8]) -> usize {
    const CHUNK: usize = 16;
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let (chunks, _) = bytes.as_chunks::<CHUNK>();
    let n_plain = chunks
        .iter()
        .take_while(|chunk| !chunk.iter().fold(false, |found, byte| found | special(*byte)))
        .count()
        * CHUNK;
    let rest = bytes.get(n_plain..).unwrap_or_default();
    n_plain + rest.iter().position(|byte| special(*byte)).unwrap_or(rest.len())
}
