//! The worker as a service: consumes and dispatches side by side. The library implements both.

mod args;

use std::time::Duration;

use pp_cli::watch::{WithoutWrites, watch_policies, watch_store};
use pp_lib::broker::AnyBroker;
use pp_lib::domain::KindName;
use pp_lib::feed::AnyFeed;
use pp_lib::maintenance::{DeadLetterDrainer, Dispatcher};
use pp_lib::runtime::{Health, supervise_part};
use pp_lib::store::{self, AnyStore};
use pp_lib::worker::{Consumer, computation};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use args::{ConsumerArgs, Dispatch};

/// The adapters of the worker.
#[derive(Clone)]
pub struct Adapters {
    /// The store of works.
    pub store: AnyStore,
    /// The broker with the demands.
    pub broker: AnyBroker,
    /// The feed that announces due and changed works.
    pub feed: AnyFeed,
}

/// Takes back the works of the previous process at once, regardless of their leases.
///
/// Call it only if this process is the only one on the store, and before it starts to work.
pub async fn take_over(store: &AnyStore) -> store::Result<()> {
    let lost = store.lose_running(args::MAX_LOST_LEASES).await?;
    if lost > 0 {
        log::warn!("{lost} works were running when the last process ended; they start again");
    }
    Ok(())
}

/// The whole service: the work, and the checks of the database and of the broker's policies.
pub async fn serve(
    args: &ConsumerArgs,
    grace: Duration,
    adapters: Adapters,
    health: &Health,
    shutdown: CancellationToken,
) -> store::Result<()> {
    let (store, part) = (adapters.store.clone(), health.part("store", true));
    let watch = watch_store(store, part, WithoutWrites::Down, shutdown.clone());
    let policies = watch_policies(adapters.broker.clone(), health.clone(), shutdown.clone());
    let (watched, (), ()) = tokio::join!(watch, policies, run(args, grace, adapters, health, shutdown));
    watched
}

/// Works until `shutdown` is cancelled. Then it finishes the running work or hands it back within `grace`.
pub async fn run(
    args: &ConsumerArgs,
    grace: Duration,
    adapters: Adapters,
    health: &Health,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    if let Some(settings) = args.dispatch() {
        let part = health.part("dispatcher", args.dispatch == Dispatch::Only);
        let own = adapters.clone();
        let dispatching = supervise_part("dispatcher", part, shutdown.clone(), move |part, shutdown| {
            let Adapters { store, broker, feed } = own.clone();
            Dispatcher::new(store, broker, feed, settings.clone()).run(part, shutdown)
        });
        let (part, bytes) = (health.part("dead letters", false), args.prefetch_bytes);
        let own = adapters.clone();
        let draining = supervise_part("drainer", part, shutdown.clone(), move |part, shutdown| {
            let Adapters { store, broker, .. } = own.clone();
            DeadLetterDrainer::new(store, broker, bytes).run(part, shutdown)
        });
        tasks.spawn(dispatching);
        tasks.spawn(draining);
    }
    if let Some(settings) = args.consume(grace) {
        let (part, computation) = (health.part("consumer", true), computation(args.pace));
        let consuming = supervise_part("consumer", part, shutdown, move |part, shutdown| {
            let Adapters { store, broker, feed } = adapters.clone();
            let (kind, computation) = (KindName::default(), computation.clone());
            Consumer::new(store, broker, feed, kind, computation, settings.clone()).run(part, shutdown)
        });
        tasks.spawn(consuming);
    }
    tasks.close();
    tasks.wait().await;
}
