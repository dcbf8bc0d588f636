//! Chance that can be repeated: its seed is printed, and taken from `PP_TEST_SEED` when that is set.

#![allow(clippy::print_stderr, reason = "a failed test shows what it printed")]

use std::ops::RangeInclusive;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A source of chance.
pub(crate) struct Dice(StdRng);

impl Dice {
    /// A new source, which says its seed.
    pub(crate) fn new() -> Self {
        let given = std::env::var("PP_TEST_SEED").ok();
        let seed = given.map_or_else(rand::random::<u64>, |seed| {
            seed.parse().expect("PP_TEST_SEED is a number")
        });
        eprintln!("PP_TEST_SEED={seed}");
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number, and a line that says what it is for.
    pub(crate) fn roll(&mut self, what: &str, range: RangeInclusive<usize>) -> usize {
        let number = self.0.random_range(range);
        eprintln!("{what}: {number}");
        number
    }
}
