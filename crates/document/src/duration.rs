//! Durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

use crate::text::shown;

/// A duration: a whole number and one unit of `ms`, `s`, `m`, `h`, `d`.
///
/// `Display` and `Serialize` use the largest unit that needs no fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration {
    n_ms: u64,
}

/// Text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a duration; accepted here: a whole number and ms, s, m, h or d, such as 500ms, 30s, 10m, 1h, 7d{reason}", shown(.text))]
pub struct ParseDurationError {
    text: String,
    reason: &'static str,
}

/// Largest first: the order in which `Display` tries them.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl HumanDuration {
    /// A duration of so many milliseconds.
    #[must_use]
    pub const fn from_millis(n_ms: u64) -> Self {
        Self { n_ms }
    }

    /// A duration of so many seconds; the longest duration if there are too many.
    #[must_use]
    pub const fn from_secs(n_s: u64) -> Self {
        Self { n_ms: n_s.saturating_mul(1_000) }
    }

    /// The duration in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.n_ms
    }

    /// The duration for the standard library.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.n_ms)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.as_duration()
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, n_ms): &&(&str, u64)| self.n_ms > 0 && self.n_ms.is_multiple_of(*n_ms);
        match UNITS.iter().find(fits) {
            Some((unit, n_ms)) => write!(f, "{}{unit}", self.n_ms / n_ms),
            None => f.write_str("0s"),
        }
    }
}

impl FromStr for HumanDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |reason| ParseDurationError { text: text.to_owned(), reason };
        let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(n_digits).unwrap_or_default();
        if number.is_empty() {
            return Err(refused(""));
        }
        let Some((_, n_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(refused(if unit.is_empty() { "; the unit is missing" } else { "" }));
        };
        let n_units: Option<u64> = number.parse().ok();
        match n_units.and_then(|n_units| n_units.checked_mul(*n_ms)) {
            Some(n_ms) => Ok(Self { n_ms }),
            None => Err(refused("; it is too long")),
        }
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = HumanDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 500ms, 30s, 10m, 1h, 7d")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
        text.parse().map_err(E::custom)
    }
}
