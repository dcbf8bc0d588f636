//! Keeps an eye on the servers for the health pages, also while nobody asks them for anything.

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
/// How often policies are asked for.
const POLICIES: Duration = Duration::from_secs(60);
/// How often after a failure, and how many failures in a row are not shown.
const POLICIES_AGAIN: Duration = Duration::from_secs(5);
const SILENT_FAILURES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a store that is well is asked for a change.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);

/// What a process is worth whose store answers but takes no changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutWrites {
    /// It still serves reads.
    Degraded,
    /// It can do nothing.
    Down,
}

/// Checks the store about once a second and records what it finds, until the shutdown.
///
/// # Errors
/// With [`StoreError::Outdated`] when a newer program has changed the store: then the process has to end, and the
/// shutdown is begun here.
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

/// Checks the broker about once a second and records what it finds, until the shutdown.
pub async fn watch_broker(broker: AnyBroker, part: Part, shutdown: CancellationToken) {
    let watching = async {
        loop {
            match timeout(PATIENCE, broker.ready_messages(Queue::Demand)).await {
                Ok(Ok(_)) => part.up(),
                Ok(Err(error)) => {
                    log::debug!("broker check: {error}");
                    part.down(error.told());
                }
                Err(_) => part.down("the broker does not answer"),
            }
            sleep(PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(watching).await;
}

/// Asks about once a minute whether the broker's operator has it drop messages, and shows it, until the shutdown; ends
/// at once where the broker cannot tell.
pub async fn watch_policies(broker: AnyBroker, health: Health, shutdown: CancellationToken) {
    let watching = async {
        let (mut known, mut failures) = (Vec::new(), 0);
        while let Some(asked) = broker.dropping().await.transpose() {
            let part = health.part("queue policies", false);
            match asked {
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
                    // It knows nothing of a queue that was made a few seconds ago.
                    if failures > SILENT_FAILURES {
                        part.degraded("the broker's management API does not tell its policies");
                    }
                }
            }
            sleep(if failures == 0 { POLICIES } else { POLICIES_AGAIN }).await;
        }
    };
    shutdown.run_until_cancelled(watching).await;
}

struct StoreWatch {
    store: AnyStore,
    part: Part,
    without_writes: WithoutWrites,
    /// When to ask for a change again, if all is well.
    next_write: Instant,
    /// What was logged last; none while all is well.
    trouble: Option<&'static str>,
}

impl StoreWatch {
    async fn look(&mut self) -> store::Result<()> {
        if let Err(trouble) = answer(self.store.check()).await? {
            let told = self.note(trouble);
            self.part.down(told);
            return Ok(());
        }
        if self.trouble.is_none() && Instant::now() < self.next_write {
            return Ok(());
        }
        match answer(self.store.check_writes()).await? {
            Ok(()) => {
                self.next_write = Instant::now() + BETWEEN_WRITES;
                self.trouble = None;
                self.part.up();
            }
            Err(trouble) => {
                let told = self.note(trouble);
                match self.without_writes {
                    WithoutWrites::Degraded => self.part.degraded(told),
                    WithoutWrites::Down => self.part.down(told),
                }
            }
        }
        Ok(())
    }

    /// The reason is shown to everybody. The driver's words are for the log, once.
    fn note(&mut self, (told, words): Found) -> &'static str {
        if self.trouble.replace(told) != Some(told) {
            log::warn!("the check of the database: {words}");
        }
        told
    }
}

/// What to tell everybody, and what the log.
type Found = (&'static str, String);

/// What an asked store answers in time; an error only where the process has to end.
async fn answer(asked: impl Future<Output = store::Result<()>>) -> store::Result<Result<(), Found>> {
    Ok(match timeout(PATIENCE, AssertUnwindSafe(asked).catch_unwind()).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error @ StoreError::Outdated(_)))) => return Err(error),
        Ok(Ok(Err(error))) => Err((error.told(), error.to_string())),
        Ok(Err(_)) => Err(("the check of the database broke", "it panicked".to_owned())),
        Err(_) => Err(("the database does not answer", format!("no answer within {PATIENCE:?}"))),
    })
}
