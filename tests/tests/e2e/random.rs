//! A seed, and numbers that follow from it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (SplitMix64): the same seed, the same numbers.
pub(crate) struct Random(u64);

impl Random {
    /// From `LICTOR_TEST_SEED`, else from the clock. The seed is printed, so that a failure can
    /// be tried again.
    pub(crate) fn new() -> Self {
        let given = std::env::var("LICTOR_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap()
        });
        eprintln!("LICTOR_TEST_SEED={seed}");
        Self(seed)
    }

    /// Another one, for somebody who works at the same time.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
