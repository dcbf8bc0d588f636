//! A circuit breaker: after several failures in a row it stops all calls until a probe succeeds, so that requests do
//! not wait for an unavailable server.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::log_repeated;
use crate::runtime::Part;

/// The number of failures in a row that opens the breaker.
const FAILURES: u32 = 3;

/// The breaker in front of one server.
#[derive(Debug)]
pub(super) struct Breaker {
    part: Part,
    failures: AtomicU32,
    open: AtomicBool,
}

impl Breaker {
    /// A closed breaker. `part` shows its state.
    pub(super) fn new(part: Part) -> Self {
        Self {
            part,
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Records a success, which closes the breaker: while it is open, only probes are sent.
    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.part.up();
        if self.open.swap(false, Ordering::Relaxed) {
            log_repeated!(Info, "the cache is back", "");
        }
    }

    pub(super) fn failed(&self, why: &impl std::fmt::Display) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES && !self.open.swap(true, Ordering::Relaxed) {
            log_repeated!(
                Warn,
                "the cache is left out until it is back, reads go to the store",
                "{why}"
            );
            self.part.down("the cache is unavailable");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Health, Readiness};

    #[test]
    fn failures_in_a_row_open_the_breaker_and_a_success_closes_it() {
        let health = Health::new();
        let breaker = Breaker::new(health.part("cache", false));
        breaker.succeeded();
        for _ in 0..5 {
            breaker.failed(&"gone");
            breaker.failed(&"gone");
            assert!(!breaker.is_open());
            breaker.succeeded();
        }
        assert_eq!(health.report().status, Readiness::Ready);
        (0..FAILURES).for_each(|_| breaker.failed(&"gone"));
        assert!(breaker.is_open());
        assert_eq!(health.report().status, Readiness::Degraded);
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert_eq!(health.report().status, Readiness::Ready);
    }
}
