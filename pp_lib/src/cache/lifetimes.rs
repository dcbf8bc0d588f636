//! The lifetime of each kind of entry, the same in every adapter.

use std::time::Duration;

use rand::RngExt as _;

use super::{ByCode, CacheOptions};

/// The time in which the holder of a lease must fill in the value.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// The lifetime of an unknown work.
pub(super) const UNKNOWN: Duration = Duration::from_secs(2);
/// The minimum lifetime of a deletion. No writer that does not know of it is delayed for so long.
const TOMBSTONE_AT_LEAST: Duration = Duration::from_secs(60);
/// The lifetime of a demand without a row.
pub(super) const PROVISIONAL: Duration = Duration::from_secs(3600);

/// The lifetimes derived from the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes(pub(super) CacheOptions);

impl Lifetimes {
    /// The lifetime of confirmed entries. It varies by a tenth, so that entries of the same moment do not expire
    /// together.
    pub(super) fn full(&self) -> Duration {
        self.0.ttl.mul_f64(rand::rng().random_range(0.9..=1.1))
    }

    /// The lifetime of a deleted work.
    pub(super) fn tombstone(&self) -> Duration {
        self.full().max(TOMBSTONE_AT_LEAST)
    }

    /// The lifetime of entries that the refresher may have missed. Together with [`Self::late_after`] it ends before
    /// the value could exceed the staleness.
    pub(super) fn unconfirmed(&self) -> Duration {
        self.0.staleness / 2
    }

    /// The maximum age of a value put where no other value is visible.
    pub(super) fn late_after(&self) -> Duration {
        self.0.staleness / 4
    }

    /// The lifetime of a code's entry.
    pub(super) fn of_code(&self, known: &ByCode) -> Duration {
        match known {
            ByCode::Id(_) => self.full(),
            ByCode::Provisional(_) => PROVISIONAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_vary_by_at_most_a_tenth() {
        let second = Duration::from_secs(1);
        let options = CacheOptions {
            ttl: 100 * second,
            staleness: 4 * second,
        };
        let mut all: Vec<_> = (0..1_000).map(|_| Lifetimes(options).full()).collect();
        all.sort_unstable();
        assert!(all[0] >= 90 * second && all[999] <= 110 * second, "{all:?}");
        assert!(all[999] - all[0] > 10 * second, "they are all alike: {all:?}");
    }
}
