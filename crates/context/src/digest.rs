//! Digests: SHA-256 everywhere, and JSON made canonical before it is hashed.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize, Serializer};
use sha2::Digest as _;

use crate::quote::Quote;

/// The SHA-256 of some bytes, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest([u8; 32]);

const PREFIX: &str = "sha256:";

/// A digest's text, where it was asked for: every record is full of them.
struct Text([u8; PREFIX.len() + 64]);

impl Text {
    fn of(digest: &Digest) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let mut text = [0; PREFIX.len() + 64];
        let (prefix, hex) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        for ([high, low], byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(digest.0) {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        // Hex digits behind a prefix are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(self).as_str())
    }
}

/// A text that should have been a digest is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a digest: `sha256:` and 64 lower-case hex digits are accepted")]
pub struct DigestError(Quote);

/// A value has no canonical JSON form (RFC 8785): a key is no string, or a number is not finite.
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form")]
pub struct CanonicalError(#[from] serde_json::Error);

impl Digest {
    /// The digest of bytes as they are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of a value's canonical JSON (RFC 8785).
    ///
    /// # Errors
    /// When the value has no canonical form.
    pub fn of_json<T: Serialize>(value: &T) -> Result<Self, CanonicalError> {
        let mut hasher = Hasher::new();
        serde_json_canonicalizer::to_writer(value, &mut hasher)?;
        Ok(hasher.finish())
    }

    /// A digest that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits, without the prefix.
    #[must_use]
    pub fn hex(&self) -> String {
        Text::of(self).as_str().get(PREFIX.len()..).unwrap_or_default().to_owned()
    }

    /// Takes a digest from outside.
    ///
    /// # Errors
    /// When the text is not `sha256:` and 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let fail = || DigestError(Quote::of(text));
        let hex = text.strip_prefix(PREFIX).ok_or_else(fail)?.as_bytes();
        if hex.len() != 64 {
            return Err(fail());
        }
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let [high, low] = pair else {
                return Err(fail());
            };
            *byte = nibble(*high).ok_or_else(fail)? << 4 | nibble(*low).ok_or_else(fail)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(self).as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Hashes what is written to it; so a file of any size is hashed in a buffer's worth of memory.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Starts with nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds a part with its length before it, so that two lists of parts never run into each other.
    pub fn update_framed(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// The digest of everything that was added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

/// The canonical JSON bytes of a value (RFC 8785).
///
/// # Errors
/// When the value has no canonical form.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    Ok(serde_json_canonicalizer::to_vec(value)?)
}
