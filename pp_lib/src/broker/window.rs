//! Which deliveries of a subscription may be acknowledged: a multiple acknowledgement covers every lower tag, so it may
//! go only up to where all are finished.

use std::collections::BTreeSet;

/// The finished deliveries of one subscription.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Everything up to here is acknowledged.
    acknowledged: u64,
    /// Finished, but with an unfinished one before.
    finished: BTreeSet<u64>,
}

impl Window {
    /// Records finished deliveries; the tag up to which everything may now be acknowledged, if that moved.
    pub(super) fn finish(&mut self, tags: &[u64]) -> Option<u64> {
        let before = self.acknowledged;
        self.finished.extend(tags.iter().filter(|tag| **tag > before));
        while self.finished.remove(&(self.acknowledged + 1)) {
            self.acknowledged += 1;
        }
        (self.acknowledged > before).then_some(self.acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_nothing_unfinished_before_it_is_acknowledged() {
        let mut window = Window::default();
        assert_eq!(window.finish(&[2, 3]), None);
        assert_eq!(window.finish(&[1]), Some(3));
        assert_eq!(window.finish(&[1, 2, 3]), None);
        assert_eq!(window.finish(&[6, 4]), Some(4));
        assert_eq!(window.finish(&[5]), Some(6));
        assert!(window.finished.is_empty());
    }
}
