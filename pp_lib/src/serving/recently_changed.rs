//! Which works something happened to lately, remembered for as long as it matters.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::WorkId;

/// Works, each remembered for one span of time at least and two at most.
pub(super) struct RecentlyChanged {
    spans: Mutex<Spans>,
    span: Duration,
}

/// The span that began last and the one before.
#[derive(Default)]
struct Spans {
    now: HashSet<WorkId>,
    before: HashSet<WorkId>,
    began: Option<Instant>,
}

impl RecentlyChanged {
    /// Nothing yet; what comes is remembered for this span.
    pub(super) fn remembering(span: Duration) -> Self {
        Self {
            spans: Mutex::default(),
            span,
        }
    }

    /// It happened to these, now.
    pub(super) fn note(&self, ids: impl IntoIterator<Item = WorkId>) {
        self.turned().now.extend(ids);
    }

    /// Whether it happened to this one lately.
    pub(super) fn contains(&self, id: WorkId) -> bool {
        let spans = self.turned();
        spans.now.contains(&id) || spans.before.contains(&id)
    }

    fn turned(&self) -> MutexGuard<'_, Spans> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.turn(self.span);
        spans
    }
}

impl Spans {
    /// Forgets what happened more than two spans ago.
    fn turn(&mut self, span: Duration) {
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
    fn what_happened_is_remembered_for_one_span_at_least_and_two_at_most() {
        let lately = RecentlyChanged::remembering(Duration::from_secs(10));
        lately.note([WorkId(1)]);
        let later = |seconds| {
            let mut spans = lately.spans.lock().unwrap();
            spans.began = spans
                .began
                .and_then(|began| began.checked_sub(Duration::from_secs(seconds)));
        };
        later(9);
        assert!(lately.contains(WorkId(1)));
        later(2);
        lately.note([WorkId(2)]);
        assert!(lately.contains(WorkId(1)) && lately.contains(WorkId(2)));
        later(11);
        assert!(!lately.contains(WorkId(1)) && lately.contains(WorkId(2)));
        later(25);
        assert!(!lately.contains(WorkId(2)));
    }
}
