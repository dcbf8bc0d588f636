//! How long each kind of entry is kept, the same in every adapter.

use std::time::Duration;

use rand::RngExt as _;

use super::{ByCode, CacheOptions};

/// How long whoever holds a lease has to fill in the value.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// How long it is remembered that there is no such work.
pub(super) const UNKNOWN: Duration = Duration::from_secs(2);
/// Longer than any writer is held up that does not know of the deletion yet.
const TOMBSTONE_AT_LEAST: Duration = Duration::from_secs(60);
/// How long a demand without a row is remembered.
pub(super) const PROVISIONAL: Duration = Duration::from_secs(3600);

/// The lifetimes that follow from the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes(pub(super) CacheOptions);

impl Lifetimes {
    /// Of what the refresher looks after: a tenth shorter or longer for each, so that what came together does not
    /// expire together.
    pub(super) fn full(&self) -> Duration {
        self.0.ttl.mul_f64(rand::rng().random_range(0.9..=1.1))
    }

    /// Of a deleted work.
    pub(super) fn tombstone(&self) -> Duration {
        self.full().max(TOMBSTONE_AT_LEAST)
    }

    /// Of what a writer put where the refresher may have passed by already. Together with [`Self::late_after`] it ends
    /// before the value could be staler than the bound.
    pub(super) fn unconfirmed(&self) -> Duration {
        self.0.staleness / 2
    }

    /// How old a value may be that is put where nothing newer could be seen.
    pub(super) fn late_after(&self) -> Duration {
        self.0.staleness / 4
    }

    /// Of what is known of a code.
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
    fn lifetimes_differ_by_a_tenth_at_most() {
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
