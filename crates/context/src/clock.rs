//! Time comes in from outside: nobody reads the wall clock by themselves.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};

use crate::quote::Quote;

/// A moment: microseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Timestamp(i64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match text_of(self.0) {
            Some(text) => serializer.serialize_str(as_str(&text)),
            None => serializer.collect_str(self),
        }
    }
}

/// A text that should have been a moment is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a time: RFC 3339 is accepted, for example 2026-11-20T10:00:00.000000Z")]
pub struct TimestampError(Quote);

impl Timestamp {
    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Takes a moment from outside.
    ///
    /// # Errors
    /// When the text is not RFC 3339.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        text.parse::<jiff::Timestamp>()
            .map(|at| Self(at.as_microsecond()))
            .map_err(|_| TimestampError(Quote::of(text)))
    }

    /// This moment, later by `duration`; the end of time when it would not fit.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = text_of(self.0) {
            return f.write_str(as_str(&text));
        }
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            // Outside of the years -9999 to 9999 there is no RFC 3339 text.
            Err(_) => f.write_str("9999-12-30T22:00:00.999999Z"),
        }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;
    fn try_from(text: String) -> Result<Self, TimestampError> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text)
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> String {
        at.to_string()
    }
}

const LEN: usize = "1970-01-01T00:00:00.000000Z".len();

/// The text of a moment from 1970 to 9999, which are almost all that are ever written.
fn text_of(micros: i64) -> Option<[u8; LEN]> {
    const DAY: u64 = 86_400_000_000;
    // 9999-12-30T22:00:00Z: beyond it RFC 3339 has no text for every place on earth.
    const END: u64 = 253_402_207_200_000_000;
    let micros = u64::try_from(micros).ok().filter(|micros| *micros < END)?;
    let (days, within) = (micros / DAY, micros % DAY);
    // Years that begin in March have their odd day at their end; eras of 400 of them are alike.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let seconds = within / 1_000_000;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let parts = [
        (0, 4, year),
        (5, 7, month),
        (8, 10, day),
        (11, 13, seconds / 3_600),
        (14, 16, seconds / 60 % 60),
        (17, 19, seconds % 60),
        (20, 26, within % 1_000_000),
    ];
    for (from, until, mut number) in parts {
        for digit in text.get_mut(from..until)?.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).ok()?;
            number /= 10;
        }
    }
    Some(text)
}

fn as_str(text: &[u8; LEN]) -> &str {
    // Digits and what stands between them are UTF-8.
    std::str::from_utf8(text).unwrap_or_default()
}

/// Where time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// What the wall says. It may jump, back as well.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// A clock that stands still until it is told to move; for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    start: i64,
    now: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { start: start.0, now: AtomicI64::new(start.0) }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.now().since(Timestamp(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the other way, which is right and takes longer.
    fn expected(micros: i64) -> String {
        format!("{:.6}", jiff::Timestamp::from_microsecond(micros).unwrap())
    }

    #[test]
    fn every_day_of_four_centuries_and_many_after_are_written_as_jiff_writes_them() {
        for day in (0..146_100).chain((146_100..2_932_895).step_by(37)) {
            let micros = day * 86_400_000_000 + (day * 7_919_777_777) % 86_400_000_000;
            assert_eq!(Timestamp(micros).to_string(), expected(micros), "{micros}");
        }
    }

    #[test]
    fn what_lies_outside_is_written_all_the_same() {
        for micros in [
            -1,
            0,
            253_402_207_199_999_999,
            253_402_207_200_000_000,
            -62_167_219_200_000_000,
            -1_000_000,
        ] {
            assert_eq!(Timestamp(micros).to_string(), expected(micros), "{micros}");
        }
        assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-30T22:00:00.999999Z");
        let json = serde_json::to_string(&Timestamp(1_763_000_000_123_456)).unwrap();
        assert_eq!(json, "\"2025-11-13T02:13:20.123456Z\"");
    }
}
