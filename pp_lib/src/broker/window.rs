//! Tracks the deliveries of a subscription that may be acknowledged. A multiple acknowledgement covers every lower tag,
//! so it stops before the first unfinished delivery.

use std::collections::BTreeSet;

/// The finished deliveries of one subscription.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Every delivery up to this tag is acknowledged.
    acknowledged: u64,
    /// Finished deliveries after an unfinished one.
    finished: BTreeSet<u64>,
}

impl Window {
    /// Records finished deliveries. Answers the tag up to which all may now be acknowledged, if it has changed.
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
    fn an_acknowledgement_stops_before_the_first_unfinished_delivery() {
        let mut window = Window::default();
        assert_eq!(window.finish(&[2, 3]), None);
        assert_eq!(window.finish(&[1]), Some(3));
        assert_eq!(window.finish(&[1, 2, 3]), None);
        assert_eq!(window.finish(&[6, 4]), Some(4));
        assert_eq!(window.finish(&[5]), Some(6));
        assert!(window.finished.is_empty());
    }
}
