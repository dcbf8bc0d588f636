//! The worker as a service: consumes and dispatches side by side. The library implements both.

mod args;

use std::time::Duration;

use futures_util::FutureExt as _;
use pp_cli::watch::{WithoutWrites, watch_policies, watch_store};
use pp_lib::broker::AnyBroker;
use pp_lib::feed::AnyFeed;
use pp_lib::maintenance::{DeadLetterDrainer, Dispatcher};
use pp_lib::runtime::Health;
use pp_lib::runtime::supervise;
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
    let Adapters { store, broker, feed } = adapters.clone();
    let tasks = TaskTracker::new();
    if let Some(settings) = args.dispatch() {
        let part = health.part("dispatcher", args.dispatch == Dispatch::Only);
        let drain = drain(&adapters, args.prefetch_bytes, health, &shutdown);
        let (store, broker, shutdown) = (store.clone(), broker.clone(), shutdown.clone());
        tasks.spawn(supervise(
            "dispatcher",
            Some(part.clone()),
            shutdown.clone(),
            (),
            move |()| {
                let dispatcher = Dispatcher::new(store.clone(), broker.clone(), feed.clone(), settings.clone());
                dispatcher.run(part.clone(), shutdown.clone()).boxed()
            },
        ));
        tasks.spawn(drain);
    }
    if let Some(settings) = args.consume(grace) {
        let (part, computation) = (health.part("consumer", true), computation(args.pace));
        tasks.spawn(supervise(
            "consumer",
            Some(part.clone()),
            shutdown.clone(),
            (),
            move |()| {
                let (store, broker, feed) = (adapters.store.clone(), adapters.broker.clone(), adapters.feed.clone());
                let consumer = Consumer::new(store, broker, feed, computation.clone(), settings.clone());
                consumer.run(part.clone(), shutdown.clone()).boxed()
            },
        ));
    }
    tasks.close();
    tasks.wait().await;
}

/// Drains dead letters, if this process dispatches.
fn drain(
    adapters: &Adapters,
    bytes: usize,
    health: &Health,
    shutdown: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (part, shutdown) = (health.part("dead letters", false), shutdown.clone());
    let (store, broker) = (adapters.store.clone(), adapters.broker.clone());
    supervise("drainer", Some(part.clone()), shutdown.clone(), (), move |()| {
        let drainer = DeadLetterDrainer::new(store.clone(), broker.clone(), bytes);
        drainer.run(part.clone(), shutdown.clone()).boxed()
    })
}
