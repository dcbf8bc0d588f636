//! Produces at a steady rate, for load.
//!
//! The backlog is limited to one second. A sink slower than the rate sets the pace, and the log says so.

use std::time::Duration;

use pp_lib::log_repeated;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::outlet::Outlet;
use crate::{ProducerConfig, demands};

/// The interval of handing over due demands.
const STEP: Duration = Duration::from_millis(50);

/// The interval of progress reports.
const REPORT: Duration = Duration::from_secs(5);

/// Produces at a rate, in demands per second, until the shutdown.
pub(crate) async fn run(config: &ProducerConfig, rate: u32, outlet: &Outlet) {
    log::info!("producing {rate} per second");
    let mut demands = demands::fresh(config);
    let mut debt = Debt::new(rate);
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut report = Report::new();
    while outlet.shutdown().run_until_cancelled(steps.tick()).await.is_some() {
        let due = debt.take();
        report.forgiven += due.forgiven;
        let taken = demands.by_ref().take(usize::try_from(due.now).unwrap_or(usize::MAX));
        report.confirmed += outlet.deliver(taken).await;
        report.write_when_due();
    }
    report.write();
}

/// The demands that the rate requires and that are not handed over yet.
struct Debt {
    rate: u64,
    since: Instant,
    settled: u64,
}

struct Due {
    now: u64,
    forgiven: u64,
}

impl Debt {
    fn new(rate: u32) -> Self {
        Self {
            rate: u64::from(rate),
            since: Instant::now(),
            settled: 0,
        }
    }

    /// Takes all due demands. At most one second's worth of them is to be handed over.
    fn take(&mut self) -> Due {
        let asked = self.since.elapsed().as_micros() * u128::from(self.rate) / 1_000_000;
        let owed = u64::try_from(asked).unwrap_or(u64::MAX) - self.settled;
        self.settled += owed;
        let now = owed.min(self.rate);
        Due {
            now,
            forgiven: owed - now,
        }
    }
}

/// The results since the last progress report.
struct Report {
    since: Instant,
    confirmed: u64,
    forgiven: u64,
}

impl Report {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            confirmed: 0,
            forgiven: 0,
        }
    }

    fn write_when_due(&mut self) {
        if self.since.elapsed() >= REPORT {
            self.write();
            *self = Self::new();
        }
    }

    fn write(&self) {
        let seconds = self.since.elapsed().as_secs_f64();
        log::info!("rate: {} confirmed in {seconds:.1} s", self.confirmed);
        if self.forgiven > 0 {
            log_repeated!(
                Warn,
                "the rate is not reached",
                "{} left out because the broker takes them too slowly",
                self.forgiven
            );
        }
    }
}
