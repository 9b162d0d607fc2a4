//! The one error of this crate: a place in a document, and what is wrong there.

use std::fmt;

use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::source::Source;
use crate::text::{self, At};

/// A document was refused.
///
/// `Display` is made for people: `file:line:column: message`, then the line with a caret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DocumentError(Box<Inner>);

/// Why a document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DocumentErrorKind {
    /// More bytes than the limit.
    TooLarge,
    /// Lists and mappings nested deeper than the limit.
    TooDeep,
    /// More values than the limit.
    TooManyValues,
    /// YAML aliases copy more than the limit.
    AliasBudget,
    /// Not UTF-8.
    Encoding,
    /// A byte-order mark.
    ByteOrderMark,
    /// A control character where text belongs; mostly a binary file.
    ControlCharacter,
    /// Nothing in it.
    Empty,
    /// Not YAML, or not JSON.
    Syntax,
    /// Ends in the middle.
    Truncated,
    /// Something after the end of the JSON document.
    TrailingData,
    /// More than one YAML document.
    SeveralDocuments,
    /// A key stands twice in a mapping.
    DuplicateKey,
    /// A key that nobody reads.
    UnknownKey,
    /// A key that must be there.
    MissingKey,
    /// A mapping key that is not text.
    KeyNotText,
    /// A YAML merge key.
    MergeKey,
    /// A YAML tag outside the core schema, or one that does not fit its value.
    Tag,
    /// A YAML directive.
    Directive,
    /// An alias without its anchor, or inside it.
    Alias,
    /// NaN or infinity.
    NotFinite,
    /// A number that its type does not hold.
    NumberRange,
    /// Unquoted text that YAML versions read in different ways.
    Ambiguous,
    /// Half of a surrogate pair.
    Surrogate,
    /// A value of another type than the one expected.
    InvalidType,
    /// A name that is not one of those accepted.
    UnknownValue,
    /// A value that its type does not accept.
    InvalidValue,
    /// Well formed, yet wrong for the caller: made by [`DocumentError::at`].
    Semantic,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    file: String,
    at: At,
    kind: DocumentErrorKind,
    message: String,
    excerpt: Option<String>,
}

/// A place and what is wrong there, before the file's name is known.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: At,
    pub(crate) kind: DocumentErrorKind,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(at: At, kind: DocumentErrorKind, message: impl Into<String>) -> Self {
        Self { at, kind, message: message.into() }
    }

    pub(crate) fn empty() -> Self {
        Self::new(
            At::START,
            DocumentErrorKind::Empty,
            "the document is empty; accepted here: one value",
        )
    }
}

impl DocumentError {
    /// An error from a check of the caller's, at the place of a [`crate::Located`] value.
    ///
    /// Line 0 means that the place is unknown.
    #[must_use]
    pub fn at(source_name: &str, line: u32, column: u32, message: impl AsRef<str>) -> Self {
        Self(Box::new(Inner {
            file: text::inert(source_name),
            at: At { line, column },
            kind: DocumentErrorKind::Semantic,
            message: text::inert(message.as_ref()),
            excerpt: None,
        }))
    }

    /// The same error with the excerpt cut from `source`, for a caller that still has it.
    #[must_use]
    pub fn with_excerpt_of(mut self, source: &Source<'_>) -> Self {
        self.0.excerpt = excerpt(source, self.0.at);
        self
    }

    pub(crate) fn from_fault(source: &Source<'_>, fault: Fault) -> Self {
        let excerpt = match fault.kind {
            DocumentErrorKind::TooLarge | DocumentErrorKind::Empty => None,
            _ => excerpt(source, fault.at),
        };
        Self(Box::new(Inner {
            file: text::inert(source.name),
            at: fault.at,
            kind: fault.kind,
            message: text::inert(&fault.message),
            excerpt,
        }))
    }

    /// The name of the source, control characters escaped.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// The line, from 1; 0 if unknown.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.0.at.line
    }

    /// The column in characters, from 1; 0 if unknown.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.0.at.column
    }

    /// What is wrong, in one line, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The line of the source with a caret below the column, if it was at hand.
    #[must_use]
    pub fn excerpt(&self) -> Option<&str> {
        self.0.excerpt.as_deref()
    }

    /// Why the document was refused, for matching.
    #[must_use]
    pub fn kind(&self) -> DocumentErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.at.line > 0 {
            write!(f, ":{}:{}", self.at.line, self.at.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        Ok(())
    }
}

impl Serialize for DocumentError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("DocumentError", 4)?;
        fields.serialize_field("file", self.file())?;
        fields.serialize_field("line", &self.line())?;
        fields.serialize_field("column", &self.column())?;
        fields.serialize_field("message", self.message())?;
        fields.end()
    }
}

fn excerpt(source: &Source<'_>, at: At) -> Option<String> {
    (at.line > 0 && at.column > 0).then(|| text::excerpt(source.bytes, at)).flatten()
}
