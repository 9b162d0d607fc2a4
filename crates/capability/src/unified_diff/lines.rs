//! The lines of a diff, with their places, and what is wrong at one.

use std::ops::Range;

use lictor_context::Quote;
use lictor_document::{DocumentError, Source};

/// Something that is refused, and where.
#[derive(Debug)]
pub(super) struct Fault {
    line: u32,
    column: u32,
    message: String,
}

impl Fault {
    pub(super) fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, column: 1, message: message.into() }
    }

    pub(super) fn at(line: u32, column: u32, message: impl Into<String>) -> Self {
        Self { line, column, message: message.into() }
    }

    pub(super) fn into_error(self, source: &Source<'_>) -> DocumentError {
        let error = DocumentError::at(source.name, self.line, self.column, &self.message);
        // Excerpts count a lone carriage return as the end of a line; diffs do not.
        let mut bytes = source.bytes.iter().peekable();
        let mut lone = false;
        while let Some(byte) = bytes.next() {
            lone |= *byte == b'\r' && bytes.peek() != Some(&&b'\n');
        }
        if lone { error } else { error.with_excerpt_of(source) }
    }
}

/// The lines of a text, read from the top. Lines end in a newline and in nothing else.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    spans: Vec<Range<usize>>,
    next: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let mut start = 0;
        let spans = text
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                let from = start;
                start += line.len();
                from..start
            })
            .collect();
        Self { text, spans, next: 0 }
    }

    /// The number of the next line, from 1.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// A line that lies ahead, without its newline; 0 is the next one.
    pub(super) fn peek(&self, ahead: usize) -> Option<&'a [u8]> {
        let line = self.text.get(self.spans.get(self.next + ahead)?.clone())?;
        Some(line.strip_suffix(b"\n").unwrap_or(line))
    }

    /// The same for a header line, whose carriage return means nothing either.
    pub(super) fn peek_header(&self, ahead: usize) -> Option<&'a [u8]> {
        self.peek(ahead).map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }

    pub(super) fn skip(&mut self) {
        self.next += 1;
    }

    /// Takes the next line: its place in the text, with the newline. A line without a newline
    /// was cut off, and perhaps in the middle.
    pub(super) fn take(&mut self) -> Result<Range<usize>, Fault> {
        let Some(span) = self.spans.get(self.next).cloned() else {
            return Err(self.cut_off());
        };
        if !self.text.get(span.clone()).is_some_and(|line| line.ends_with(b"\n")) {
            return Err(self.cut_off());
        }
        self.next += 1;
        Ok(span)
    }

    /// Takes the next line as a header.
    pub(super) fn take_header(&mut self) -> Result<&'a [u8], Fault> {
        let line = self.peek_header(0).unwrap_or_default();
        self.take()?;
        Ok(line)
    }

    fn cut_off(&self) -> Fault {
        let last = u32::try_from(self.spans.len()).unwrap_or(u32::MAX).max(1);
        Fault::new(
            self.number().min(last),
            "the diff ends in the middle; accepted here: a whole diff that ends in a newline",
        )
    }
}

/// Bytes from outside for a message.
pub(super) fn shown(bytes: &[u8]) -> Quote {
    Quote::of(&String::from_utf8_lossy(bytes))
}
