//! Which works something happened to lately: remembered for a span of time at least, and two at most.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::WorkId;

/// Works, in two spans: the one that began last and the one before.
pub(super) struct Lately {
    span: Duration,
    spans: Mutex<Spans>,
}

#[derive(Default)]
struct Spans {
    now: HashSet<WorkId>,
    before: HashSet<WorkId>,
    began: Option<Instant>,
}

impl Lately {
    pub(super) fn new(span: Duration) -> Self {
        let spans = Mutex::default();
        Self { span, spans }
    }

    pub(super) fn note(&self, ids: impl IntoIterator<Item = WorkId>) {
        self.spans().now.extend(ids);
    }

    pub(super) fn contains(&self, id: WorkId) -> bool {
        let spans = self.spans();
        spans.now.contains(&id) || spans.before.contains(&id)
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.turn(self.span);
        spans
    }
}

impl Spans {
    fn turn(&mut self, span: Duration) {
        let age = self.began.get_or_insert_with(Instant::now).elapsed();
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

    const SPAN: Duration = Duration::from_secs(10);

    fn later(lately: &Lately, seconds: u64) {
        let mut spans = lately.spans.lock().unwrap();
        let began = spans.began.unwrap();
        spans.began = began.checked_sub(Duration::from_secs(seconds));
    }

    #[test]
    fn what_happened_is_remembered_for_one_span_at_least_and_two_at_most() {
        let lately = Lately::new(SPAN);
        lately.note([WorkId(1)]);
        later(&lately, 9);
        assert!(lately.contains(WorkId(1)));
        later(&lately, 2);
        lately.note([WorkId(2)]);
        assert!(lately.contains(WorkId(1)) && lately.contains(WorkId(2)));
        later(&lately, 11);
        assert!(!lately.contains(WorkId(1)) && lately.contains(WorkId(2)));
        later(&lately, 25);
        assert!(!lately.contains(WorkId(2)));
    }
}
