//! A limit on the bytes that several holders keep in memory together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest share that may use the part of the budget reserved for small shares.
const SMALL: usize = 4 * 1024;

/// A number of bytes, handed out in shares.
#[derive(Clone, Debug)]
pub struct Budget {
    held: Arc<AtomicUsize>,
    most: usize,
}

impl Budget {
    /// A budget of `most` bytes. An eighth of it is reserved for shares of at most 4 KiB, so that large shares cannot
    /// shut out small ones.
    pub fn new(most: usize) -> Self {
        let held = Arc::default();
        Self { held, most }
    }

    /// An empty share.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// Shows its use as a metric.
    pub fn show(&self, name: &'static str) {
        crate::metrics::show_budget(name, self.held.load(Ordering::Relaxed), self.most);
    }

    /// The size of the largest possible share.
    pub fn largest_share(&self) -> usize {
        self.most - self.most / 8
    }
}

/// The bytes of one holder. Dropping the share gives them back.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Sets the size of this share. Answers `false` and changes nothing if the budget has no room.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        let held = &self.budget.held;
        if let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) {
            let most = if bytes <= SMALL {
                self.budget.most
            } else {
                self.budget.largest_share()
            };
            let enlarged = |held: usize| held.checked_add(more).filter(|held| *held <= most);
            if held
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enlarged)
                .is_err()
            {
                return false;
            }
        } else {
            held.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }

    /// Enlarges this share, as [`Self::resize`] does.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        self.resize(self.bytes.saturating_add(more))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_return_their_bytes() {
        let budget = Budget::new(80_000);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.resize(50_000));
        assert!(!two.resize(20_001), "an eighth is kept for small shares");
        assert!(two.resize(20_000));
        assert!(!one.grow(1) && one.resize(49_999) && one.grow(1));
        drop(two);
        assert!(one.grow(20_000));
        assert!(!budget.share().resize(usize::MAX));
    }

    #[test]
    fn small_shares_have_room_when_large_ones_have_taken_theirs() {
        let budget = Budget::new(80_000);
        let (mut large, mut small, mut another) = (budget.share(), budget.share(), budget.share());
        assert!(large.resize(70_000) && !large.grow(1));
        assert!(small.resize(4_096) && another.resize(4_096));
        assert!(!another.grow(1), "it would not be small any more");
        assert!(budget.share().resize(1_808) && !budget.share().resize(1_809));
    }
}
