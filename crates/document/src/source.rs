//! The source of a document, the limits on it, and the two entry points.

use serde::de::DeserializeOwned;

use crate::de::Walker;
use crate::error::{DocumentError, DocumentErrorKind as Kind, Fault};
use crate::text::{self, At};
use crate::tree::Node;
use crate::{json, yaml};

/// A document as it was read: a name for messages, and the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What people know the document by, mostly a path; used in messages only.
    pub name: &'a str,
    /// The document, unchanged.
    pub bytes: &'a [u8],
}

impl<'a> Source<'a> {
    /// A source from its name and its bytes.
    #[must_use]
    pub const fn new(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes }
    }
}

/// How much a document may hold. What is over a limit is refused, never cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes; 1 MiB unless said otherwise.
    pub max_bytes: u64,
    /// Most lists and mappings inside each other; 64 unless said otherwise, and never above 128.
    pub max_depth: u32,
    /// Most values, counting keys; one million unless said otherwise. It bounds memory.
    pub max_values: u64,
    /// Most values that YAML anchors and aliases may copy; 50,000 unless said otherwise.
    pub max_alias_values: u64,
}

/// The parsers and the caller's types recurse, so no caller may ask for more than the stack holds.
const DEEPEST: u32 = 128;

impl Limits {
    /// The limits of the formats page: 1 MiB, depth 64.
    pub const DEFAULT: Self = Self {
        max_bytes: 1024 * 1024,
        max_depth: 64,
        max_values: 1_000_000,
        max_alias_values: 50_000,
    };

    /// The same limits with another size.
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The same limits with another depth.
    #[must_use]
    pub const fn with_max_depth(mut self, max_depth: u32) -> Self {
        self.max_depth = max_depth;
        self
    }

    /// The same limits with another number of values.
    #[must_use]
    pub const fn with_max_values(mut self, max_values: u64) -> Self {
        self.max_values = max_values;
        self
    }

    /// The depth that is enforced.
    pub(crate) fn depth(&self) -> usize {
        usize::try_from(self.max_depth.min(DEEPEST)).unwrap_or(0)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Reads one YAML 1.2 document.
///
/// # Errors
///
/// Anything that the README calls refused; the error names the line and the column.
pub fn from_yaml<T: DeserializeOwned>(
    source: &Source<'_>,
    limits: &Limits,
) -> Result<T, DocumentError> {
    read(source, limits, yaml::parse)
}

/// Reads one JSON document (RFC 8259).
///
/// # Errors
///
/// Anything that the README calls refused; the error names the line and the column.
pub fn from_json<T: DeserializeOwned>(
    source: &Source<'_>,
    limits: &Limits,
) -> Result<T, DocumentError> {
    read(source, limits, json::parse)
}

type Parse = for<'a> fn(&'a str, &Limits) -> Result<Node<'a>, Fault>;

fn read<T: DeserializeOwned>(
    source: &Source<'_>,
    limits: &Limits,
    parse: Parse,
) -> Result<T, DocumentError> {
    checked(source, limits)
        .and_then(|text| parse(text, limits))
        .and_then(|node| {
            let at = node.at;
            T::deserialize(Walker::new(node)).map_err(|failure| failure.into_fault(at))
        })
        .map_err(|fault| DocumentError::from_fault(source, fault))
}

/// What holds for every text document: size, encoding, something in it.
fn checked<'a>(source: &Source<'a>, limits: &Limits) -> Result<&'a str, Fault> {
    let bytes = source.bytes;
    let n_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if n_bytes > limits.max_bytes {
        let message = format!(
            "the document holds {n_bytes} bytes; accepted here: at most {}",
            limits.max_bytes
        );
        return Err(Fault::new(At::START, Kind::TooLarge, message));
    }
    let mark = [
        (&b"\xEF\xBB\xBF"[..], "UTF-8"),
        (&b"\xFF\xFE"[..], "UTF-16"),
        (&b"\xFE\xFF"[..], "UTF-16"),
    ];
    if let Some((_, name)) = mark.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        let message = format!(
            "the document starts with a byte-order mark of {name}; accepted here: UTF-8 without one"
        );
        return Err(Fault::new(At::START, Kind::ByteOrderMark, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let byte = bytes.get(offset).copied().unwrap_or_default();
        let message = format!("the byte `0x{byte:02X}` is not UTF-8; accepted here: UTF-8 text");
        Fault::new(text::position(bytes, offset), Kind::Encoding, message)
    })?;
    if text.chars().all(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) {
        return Err(Fault::empty());
    }
    Ok(text)
}
