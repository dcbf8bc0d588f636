//! Checks the servers for the health pages, even while there is no traffic.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use pp_lib::broker::{AnyBroker, Queue};
use pp_lib::runtime::Trouble as _;
use pp_lib::runtime::{Health, Part};
use pp_lib::store::{self, AnyStore, StoreError};

const PAUSE: Duration = Duration::from_secs(1);
/// The interval of policy checks.
const POLICY_INTERVAL: Duration = Duration::from_secs(60);
/// The interval after a failed policy check. This many failures in a row are not reported.
const POLICY_RETRY: Duration = Duration::from_secs(5);
const SILENT_FAILURES: u32 = 3;
const MAX_WAIT: Duration = Duration::from_secs(3);
/// The interval of test writes to a healthy store.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// The health of a process whose store answers but accepts no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutWrites {
    /// It still serves reads.
    Degraded,
    /// It can do no work.
    Down,
}

/// Checks the store about once a second until the shutdown and records the result.
///
/// # Errors
/// [`StoreError::Outdated`] if a newer program has changed the store. The process must end then, so this function
/// also begins the shutdown.
pub async fn watch_store(
    store: AnyStore,
    part: Part,
    without_writes: WithoutWrites,
    shutdown: CancellationToken,
) -> store::Result<()> {
    let mut watch = StoreWatch {
        store,
        part,
        without_writes,
        next_write: Instant::now(),
        trouble: None,
    };
    let watching = async {
        loop {
            watch.look().await?;
            sleep(PAUSE).await;
        }
    };
    let outdated = shutdown.run_until_cancelled(watching).await.unwrap_or(Ok(()));
    if outdated.is_err() {
        shutdown.cancel();
    }
    outdated
}

/// Checks the broker about once a second until the shutdown and records the result.
pub async fn watch_broker(broker: AnyBroker, part: Part, shutdown: CancellationToken) {
    if !broker.carries() {
        return part.up();
    }
    let sums = Queue::sums();
    let watching = async {
        loop {
            match timeout(MAX_WAIT, broker.ready_messages(&sums)).await {
                Ok(Ok(_)) => part.up(),
                Ok(Err(error)) => {
                    log::debug!("broker check: {error}");
                    part.down(error.summary());
                }
                Err(_) => part.down("the broker does not answer"),
            }
            sleep(PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(watching).await;
}

/// Asks about once a minute if a policy makes the broker drop messages, and reports it. It ends at once if the broker
/// cannot answer that.
pub async fn watch_policies(broker: AnyBroker, health: Health, shutdown: CancellationToken) {
    let watching = async {
        let (mut known, mut failures) = (Vec::new(), 0);
        while let Some(check) = broker.dropping().await.transpose() {
            let part = health.part("queue policies", false);
            match check {
                Ok(dropping) if dropping.is_empty() => {
                    (known, failures) = (dropping, 0);
                    part.up();
                }
                Ok(dropping) => {
                    failures = 0;
                    if dropping != known {
                        log::warn!(
                            "RabbitMQ drops messages that it confirmed, by policy: {}",
                            dropping.join("; ")
                        );
                        known = dropping;
                    }
                    part.degraded("a policy of the broker drops messages that were accepted");
                }
                Err(error) => {
                    log::debug!("asking for policies: {error}");
                    failures += 1;
                    // The management API does not know a queue in its first seconds.
                    if failures > SILENT_FAILURES {
                        part.degraded("the broker's management API does not answer");
                    }
                }
            }
            sleep(if failures == 0 { POLICY_INTERVAL } else { POLICY_RETRY }).await;
        }
    };
    shutdown.run_until_cancelled(watching).await;
}

struct StoreWatch {
    store: AnyStore,
    part: Part,
    without_writes: WithoutWrites,
    /// The time of the next test write while all is well.
    next_write: Instant,
    /// The trouble that was logged last; `None` while all is well.
    trouble: Option<&'static str>,
}

impl StoreWatch {
    async fn look(&mut self) -> store::Result<()> {
        if let Err(trouble) = answer(self.store.check()).await? {
            let summary = self.note(trouble);
            self.part.down(summary);
            return Ok(());
        }
        if self.trouble.is_none() && Instant::now() < self.next_write {
            return Ok(());
        }
        match answer(self.store.check_writes()).await? {
            Ok(()) => {
                self.next_write = Instant::now() + WRITE_INTERVAL;
                self.trouble = None;
                self.part.up();
            }
            Err(trouble) => {
                let summary = self.note(trouble);
                match self.without_writes {
                    WithoutWrites::Degraded => self.part.degraded(summary),
                    WithoutWrites::Down => self.part.down(summary),
                }
            }
        }
        Ok(())
    }

    /// Answers the summary for the health pages and logs the driver's words once.
    fn note(&mut self, (summary, detail): CheckFailure) -> &'static str {
        if self.trouble.replace(summary) != Some(summary) {
            log::warn!("the check of the database: {detail}");
        }
        summary
    }
}

/// The summary for the health pages, and the detail for the log.
type CheckFailure = (&'static str, String);

/// The result of a check within [`MAX_WAIT`]. It is an error only if the process must end.
async fn answer(check: impl Future<Output = store::Result<()>>) -> store::Result<Result<(), CheckFailure>> {
    Ok(match timeout(MAX_WAIT, AssertUnwindSafe(check).catch_unwind()).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error @ StoreError::Outdated(_)))) => return Err(error),
        Ok(Ok(Err(error))) => Err((error.summary(), error.to_string())),
        Ok(Err(_)) => Err(("the check of the database failed", "it panicked".to_owned())),
        Err(_) => Err(("the database does not answer", format!("no answer within {MAX_WAIT:?}"))),
    })
}
