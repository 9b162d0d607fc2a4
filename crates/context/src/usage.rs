//! What an action costs: reported by whoever asks, or by whoever does it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Millionths of a dollar in a dollar.
const MICROS: f64 = 1_000_000.0;
/// The most that one report may say: a billion dollars. Sums of such stay far from overflow.
const MAX_COST_USD: f64 = 1e9;

/// What was spent: money and model tokens. Whole numbers, so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Millionths of a US dollar.
    pub cost_microusd: u64,
    /// Model tokens.
    pub tokens: u64,
}

impl Usage {
    /// A usage from dollars, rounded up to the next millionth.
    ///
    /// # Errors
    /// When the cost is no number from 0 to a billion; NaN and infinity are none.
    pub fn new(cost_usd: f64, tokens: u64) -> Result<Self, UsageError> {
        if !(0.0..=MAX_COST_USD).contains(&cost_usd) {
            return Err(UsageError { cost_usd: cost_usd.to_string() });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 1e15"
        )]
        let cost_microusd = (cost_usd * MICROS).ceil() as u64;
        Ok(Self { cost_microusd, tokens })
    }

    /// Whether nothing was spent.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cost_microusd: self.cost_microusd.saturating_add(other.cost_microusd),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.cost_microusd / 1_000_000, self.cost_microusd % 1_000_000);
        write!(f, "{whole}.{rest:06} USD, {} tokens", self.tokens)
    }
}

/// A cost is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{cost_usd}` is no cost; accepted here: US dollars, from 0 to 1000000000")]
pub struct UsageError {
    cost_usd: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_no_cost() {
        for cost in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.01, 1e10] {
            assert!(Usage::new(cost, 0).is_err(), "{cost}");
        }
        assert_eq!(Usage::new(0.000_000_1, 0).unwrap().cost_microusd, 1);
        assert_eq!(Usage::new(-0.0, 3).unwrap(), Usage { cost_microusd: 0, tokens: 3 });
        assert_eq!(Usage::new(1.5, 2).unwrap().to_string(), "1.500000 USD, 2 tokens");
    }
}
