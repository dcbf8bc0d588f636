//! A set of recently changed works that forgets them after a while.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::WorkId;

/// Works, each remembered for at least one span of time and at most two.
pub(super) struct RecentlyChanged {
    spans: Mutex<Spans>,
    span: Duration,
}

/// The current span and the previous one.
#[derive(Default)]
struct Spans {
    now: HashSet<WorkId>,
    before: HashSet<WorkId>,
    began: Option<Instant>,
}

impl RecentlyChanged {
    /// An empty set that remembers works for `span`.
    pub(super) fn new(span: Duration) -> Self {
        Self {
            spans: Mutex::default(),
            span,
        }
    }

    /// Adds works that changed just now.
    pub(super) fn note(&self, ids: impl IntoIterator<Item = WorkId>) {
        self.rotated().now.extend(ids);
    }

    pub(super) fn contains(&self, id: WorkId) -> bool {
        let spans = self.rotated();
        spans.now.contains(&id) || spans.before.contains(&id)
    }

    fn rotated(&self) -> MutexGuard<'_, Spans> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.rotate(self.span);
        spans
    }
}

impl Spans {
    /// Starts a new span if the current one is over, and forgets works older than two spans.
    fn rotate(&mut self, span: Duration) {
        let Some(age) = self.began.map(|began| began.elapsed()) else {
            self.began = Some(Instant::now());
            return;
        };
        if age >= span {
            self.before = std::mem::take(&mut self.now);
            self.began = Some(Instant::now());
        }
        if age >= 2 * span {
            self.before.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_are_remembered_for_one_to_two_spans() {
        let recent = RecentlyChanged::new(Duration::from_secs(10));
        recent.note([WorkId(1)]);
        let later = |seconds| {
            let mut spans = recent.spans.lock().unwrap();
            spans.began = spans
                .began
                .and_then(|began| began.checked_sub(Duration::from_secs(seconds)));
        };
        later(9);
        assert!(recent.contains(WorkId(1)));
        later(2);
        recent.note([WorkId(2)]);
        assert!(recent.contains(WorkId(1)) && recent.contains(WorkId(2)));
        later(11);
        assert!(!recent.contains(WorkId(1)) && recent.contains(WorkId(2)));
        later(25);
        assert!(!recent.contains(WorkId(2)));
    }
}
