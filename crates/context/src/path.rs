//! Paths inside a workspace: already normal, or refused.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::quote::Quote;

/// The longest path, in bytes, and the longest segment of one.
const MAX_PATH: usize = 4096;
const MAX_SEGMENT: usize = 255;

/// A path relative to the workspace root, `/`-separated and normal by construction.
///
/// Normal means: no `.` or `..`, no empty segment, no leading or trailing `/`, no NUL or other
/// control character, no backslash, no drive letter, no segment that ends in a space or a dot,
/// nothing outside Unicode NFC. What is not normal is refused, never repaired: two spellings of
/// one file would be two names to a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspacePath(Arc<str>);

/// A text that should have been a workspace path is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is not a path inside the workspace: {kind}")]
pub struct PathError {
    path: Quote,
    kind: PathErrorKind,
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathErrorKind {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Begins with `/`.
    #[error("it is absolute; a path relative to the workspace root is accepted")]
    Absolute,
    /// A segment is `..`.
    #[error("`..` is not accepted; paths are normal and stay inside the workspace")]
    Parent,
    /// A segment is `.`, or is empty.
    #[error("`.` and empty segments are not accepted; write the path in its normal form")]
    NotNormal,
    /// A backslash.
    #[error("a backslash is not accepted; `/` separates")]
    Backslash,
    /// `C:` and the like.
    #[error("a drive letter is not accepted")]
    Drive,
    /// NUL, newline, escape and so on.
    #[error("control characters are not accepted")]
    Control,
    /// A segment ends in a space or a dot.
    #[error("a segment that ends in a space or a dot is not accepted")]
    TrailingSpaceOrDot,
    /// Unicode that is not composed.
    #[error("it is not in Unicode normalisation form C (NFC)")]
    NotNfc,
    /// Longer than file systems take.
    #[error("it is too long; 4096 bytes, and 255 for a segment, are accepted")]
    TooLong,
}

impl PathError {
    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> PathErrorKind {
        self.kind
    }
}

impl WorkspacePath {
    /// Takes a path from outside.
    ///
    /// # Errors
    /// When the path is not normal; it is never repaired.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        match problem(text) {
            None => Ok(Self(Arc::from(text))),
            Some(kind) => Err(PathError { path: Quote::up_to(MAX_SEGMENT, text), kind }),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, from the root down.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// The directory it is in; none when that is the root itself.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(Arc::from(parent)))
    }

    /// The directories above it, the nearest first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The path of `name` inside this directory.
    ///
    /// # Errors
    /// When `name` does not make a normal path.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        Self::parse(&format!("{}/{name}", self.0))
    }

    /// Whether this is `other`, or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path with letter case taken away, for comparisons that must not be fooled by it.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

fn problem(text: &str) -> Option<PathErrorKind> {
    use PathErrorKind as Kind;
    let bytes = text.as_bytes();
    match bytes {
        [] => return Some(Kind::Empty),
        [b'/', ..] => return Some(Kind::Absolute),
        [letter, b':', ..] if letter.is_ascii_alphabetic() => return Some(Kind::Drive),
        _ => {}
    }
    if bytes.len() > MAX_PATH {
        return Some(Kind::TooLong);
    }
    if text.contains('\\') {
        return Some(Kind::Backslash);
    }
    if text.chars().any(char::is_control) {
        return Some(Kind::Control);
    }
    for segment in text.split('/') {
        match segment {
            ".." => return Some(Kind::Parent),
            "" | "." => return Some(Kind::NotNormal),
            _ if segment.ends_with([' ', '.']) => return Some(Kind::TrailingSpaceOrDot),
            _ if segment.len() > MAX_SEGMENT => return Some(Kind::TooLong),
            _ => {}
        }
    }
    (!text.is_ascii() && !unicode_normalization::is_nfc(text)).then_some(Kind::NotNfc)
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WorkspacePath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for WorkspacePath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl From<WorkspacePath> for String {
    fn from(path: WorkspacePath) -> String {
        path.0.as_ref().to_owned()
    }
}

impl AsRef<str> for WorkspacePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
