//! The works in the store as metrics: counts by kind and status, what waits, and the oldest due row.
//!
//! They are read every few seconds, however often the page is asked for. Processes on one store show the same.

use std::collections::BTreeMap;
use std::time::Duration;

use pp_lib::domain::{ByStatus, Status};
use pp_lib::runtime::{Metric, kind_label};
use pp_lib::store::{self, AnyStore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The interval of readings.
const PAUSE: Duration = Duration::from_secs(5);
const MAX_WAIT: Duration = Duration::from_secs(3);

const WORKS: Metric = Metric::gauging(
    "pp_works",
    &["kind", "status"],
    "Works in the database, scheduled ones among the pending.",
);
const BACKLOG: Metric = Metric::gauging(
    "pp_backlog_works",
    &[],
    "Unfinished works of all kinds, without the scheduled ones.",
);
const SCHEDULED: Metric = Metric::gauging("pp_scheduled_works", &[], "Pending works that wait for their `run_at`.");
const OLDEST_DUE: Metric = Metric::gauging(
    "pp_oldest_due_seconds",
    &["kind"],
    "How long the longest due row waits to be sent; 0 if none does. Kinds that are paused are left out.",
);

pub(super) const ALL: [Metric; 4] = [WORKS, BACKLOG, SCHEDULED, OLDEST_DUE];

/// Reads the works until the shutdown. Without the store the last values stay.
pub async fn watch_works(store: AnyStore, shutdown: CancellationToken) {
    let mut shown = Shown::default();
    let watching = async {
        loop {
            match timeout(MAX_WAIT, shown.read(&store)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::debug!("reading works for metrics: {error}"),
                Err(_) => log::debug!("reading works for metrics: no answer within {MAX_WAIT:?}"),
            }
            sleep(PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(watching).await;
}

/// The values by the label of their kind. A kind that is gone stays, as zero.
#[derive(Default)]
struct Shown {
    works: BTreeMap<String, ByStatus>,
    oldest: BTreeMap<String, Duration>,
}

impl Shown {
    async fn read(&mut self, store: &AnyStore) -> store::Result<()> {
        self.works.values_mut().for_each(|works| *works = ByStatus::default());
        for counts in store.kind_counts().await? {
            add(self.works.entry(kind_label(&counts.kind)).or_default(), counts.works);
        }
        for (kind, works) in &mut self.works {
            for status in Status::ALL {
                WORKS.gauge(&[kind, status.as_str()]).set(*works.of(status) as f64);
            }
        }
        let stats = store.stats(None).await?;
        BACKLOG.gauge(&[]).set(stats.backlog as f64);
        SCHEDULED.gauge(&[]).set(stats.scheduled as f64);
        self.oldest.values_mut().for_each(|oldest| *oldest = Duration::ZERO);
        for kind in self.works.keys() {
            self.oldest.entry(kind.clone()).or_default();
        }
        for (kind, waited) in store.oldest_due().await? {
            let oldest = self.oldest.entry(kind_label(&kind)).or_default();
            *oldest = waited.max(*oldest);
        }
        for (kind, waited) in &self.oldest {
            OLDEST_DUE.gauge(&[kind]).set(waited.as_secs_f64());
        }
        Ok(())
    }
}

fn add(sum: &mut ByStatus, mut more: ByStatus) {
    for status in Status::ALL {
        *sum.of(status) += *more.of(status);
    }
}
