//! Sizes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

use crate::text::shown;

/// A number of bytes: `12B`, `500KiB`, `64MiB`, `1GiB`, or a plain integer.
///
/// Decimal units (`MB`) are refused, for half of their readers take them for binary ones.
/// `Display` and `Serialize` use the largest unit that needs no fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize {
    n_bytes: u64,
}

/// Text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a size; accepted here: a whole number of bytes, or one with B, KiB, MiB or GiB, such as 64MiB{reason}", shown(.text))]
pub struct ParseByteSizeError {
    text: String,
    reason: &'static str,
}

/// Largest first: the order in which `Display` tries them.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// A size of so many bytes.
    #[must_use]
    pub const fn from_bytes(n_bytes: u64) -> Self {
        Self { n_bytes }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.n_bytes
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits =
            |(_, n_bytes): &&(&str, u64)| self.n_bytes > 0 && self.n_bytes.is_multiple_of(*n_bytes);
        match UNITS.iter().find(fits) {
            Some((unit, n_bytes)) => write!(f, "{}{unit}", self.n_bytes / n_bytes),
            None => f.write_str("0B"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |reason| ParseByteSizeError { text: text.to_owned(), reason };
        let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(n_digits).unwrap_or_default();
        if number.is_empty() {
            return Err(refused(""));
        }
        let unit = if unit.is_empty() { "B" } else { unit };
        let Some((_, n_bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(refused(""));
        };
        let n_units: Option<u64> = number.parse().ok();
        match n_units.and_then(|n_units| n_units.checked_mul(*n_bytes)) {
            Some(n_bytes) => Ok(Self { n_bytes }),
            None => Err(refused("; it is too large")),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of bytes, or one with B, KiB, MiB or GiB, such as 64MiB")
    }

    fn visit_u64<E: Error>(self, n_bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize { n_bytes })
    }

    fn visit_i64<E: Error>(self, n_bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(n_bytes)
            .map(ByteSize::from_bytes)
            .map_err(|_| E::invalid_value(Unexpected::Signed(n_bytes), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}
