//! The worker as a service: consumes and dispatches side by side. The library implements both.
//!
//! A worker of one's own is [`main`] with the own kinds.

mod args;
mod program;
mod push;

use anyhow::Context as _;
use pp_cli::config::RuntimeArgs;
use pp_cli::metrics::{show_health, show_pool, watch_works};
use pp_cli::watch::{WithoutWrites, watch_policies, watch_store};
use pp_lib::broker::{AnyBroker, Queue};
use pp_lib::claims::Claims;
use pp_lib::domain::KindName;
use pp_lib::feed::AnyFeed;
use pp_lib::kinds::{HandledKind, Kinds, Policy, Registry};
use pp_lib::maintenance::{DeadLetterDrainer, DispatchSettings, Dispatcher, MAX_LOST_LEASES, keep_rows};
use pp_lib::runtime::{Health, Metrics, new_consumer_name, supervise_part};
use pp_lib::store::{self, AnyStore};
use pp_lib::worker::{self, Consumer, QueueKeeper, announce};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use args::{ConsumerArgs, Dispatch};
pub use program::main;

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
    let lost = store.lose_running(MAX_LOST_LEASES).await?;
    if lost > 0 {
        log::warn!("{lost} works were running when the last process ended; they start again");
    }
    Ok(())
}

/// Declares these kinds.
pub async fn declare(store: &AnyStore, kinds: &Kinds) -> anyhow::Result<()> {
    let refused = worker::declare(store, kinds).await.context("PP_DATABASE_URL")?;
    match refused.first() {
        Some(name) => anyhow::bail!("{name} is not declared: there are too many kinds"),
        None => Ok(()),
    }
}

/// Declares these kinds, and the queues of all declared kinds, for services that may not. Returns the
/// kinds.
pub async fn set_up(adapters: &Adapters, handled: &Kinds) -> anyhow::Result<Vec<KindName>> {
    let Adapters { store, broker, .. } = adapters;
    declare(store, handled).await?;
    // This gives queues the names that policies say.
    let registry = Registry::new(store.clone(), broker.clone());
    registry.refresh().await.context("PP_DATABASE_URL")?;
    let kinds = registry.list().await.context("PP_DATABASE_URL")?;
    let declared = kinds.iter().filter(|kind| kind.is_declared());
    let kinds: Vec<KindName> = declared.map(|kind| kind.name().clone()).collect();
    let demands = kinds.iter().cloned().map(Queue::Demand);
    let dead_letters = broker.dead_letter_queues().into_iter().map(|(queue, _)| queue);
    for queue in demands.chain(dead_letters) {
        broker.declare(&queue).await.context("PP_BROKER_URL")?;
    }
    Ok(kinds)
}

/// The whole service: the work, and the checks of the database and of the broker's policies.
pub async fn serve(
    args: &ConsumerArgs,
    runtime: &RuntimeArgs,
    adapters: Adapters,
    handled: Kinds,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> store::Result<()> {
    show_health(metrics, health);
    show_pool(metrics, &adapters.store);
    let works = watch_works(adapters.store.clone(), shutdown.clone());
    let (store, part) = (adapters.store.clone(), health.part("store", true));
    let watch = watch_store(store, part, WithoutWrites::Down, shutdown.clone());
    let policies = watch_policies(adapters.broker.clone(), health.clone(), shutdown.clone());
    let running = run(args, runtime, adapters, handled, health, shutdown);
    let (watched, (), (), ()) = tokio::join!(watch, policies, works, running);
    watched
}

/// Works off these kinds until `shutdown` is cancelled. Then it finishes the running work or hands it back within
/// the grace period. Each kind has a consumer of its own, so that none waits for another.
pub async fn run(
    args: &ConsumerArgs,
    runtime: &RuntimeArgs,
    adapters: Adapters,
    handled: Kinds,
    health: &Health,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let registry = Registry::new(adapters.store.clone(), adapters.broker.clone());
    tasks.spawn(registry.clone().run(shutdown.clone()));
    match args.dispatch() {
        Some(settings) if adapters.broker.carries() => {
            let keeper = QueueKeeper {
                store: adapters.store.clone(),
                broker: adapters.broker.clone(),
                feed: adapters.feed.clone(),
                kinds: registry.clone(),
                args_limit: runtime.args_limit,
                bytes: args.prefetch_bytes,
            };
            tasks.spawn(keeper.run(shutdown.clone()));
            dispatch(args, &adapters, &registry, settings, health, &shutdown, &tasks);
        }
        Some(settings) => {
            let part = health.part("dispatcher", args.dispatch == Dispatch::Only);
            let (store, feed) = (adapters.store.clone(), adapters.feed.clone());
            tasks.spawn(supervise_part(
                "dispatcher",
                part,
                shutdown.clone(),
                move |part, shutdown| keep_rows(store.clone(), feed.clone(), settings.retain, part, shutdown),
            ));
        }
        None => {}
    }
    if args.dispatch != Dispatch::Only {
        let (all_claims, claiming) = Claims::new(&adapters.store, &adapters.feed, &registry, shutdown.clone());
        tasks.spawn(claiming);
        let claims = (!adapters.broker.carries()).then(|| all_claims.clone());
        let kinds = handled.iter().len();
        let worker = new_consumer_name();
        let pusher = push::pusher(args, runtime, &adapters, &registry);
        let announced = match &pusher {
            Some(pusher) => handled.clone().with_handler(push::notices(pusher)),
            None => handled.clone(),
        };
        tasks.spawn(announce(
            adapters.store.clone(),
            worker.clone(),
            announced,
            pusher.is_some().then(|| registry.clone()),
            shutdown.clone(),
        ));
        if let Some(pusher) = pusher {
            let pushes = push::Pushes {
                adapters: adapters.clone(),
                registry: registry.clone(),
                claims: all_claims,
                pusher,
                worker: worker.clone(),
                settings: args.consume(Policy::DEFAULT, kinds, runtime),
            };
            tasks.spawn(pushes.run(health.part("pushes", false), shutdown.clone()));
        }
        for kind in handled {
            let HandledKind {
                name,
                declaration,
                handler,
            } = kind;
            let part_name = consumer_name(&name);
            let part = health.part(part_name, name.is_add_up_to() || kinds == 1);
            let settings = args.consume(declaration.policy.clone(), kinds, runtime);
            let policy = registry.follow(name.clone(), declaration.policy);
            let (own, names, worker, claims) = (adapters.clone(), registry.clone(), worker.clone(), claims.clone());
            let consuming = supervise_part(part_name, part, shutdown.clone(), move |part, shutdown| {
                let (Adapters { store, broker, feed }, names, name) = (own.clone(), names.clone(), name.clone());
                let consumer = Consumer::new(store, broker, feed, name.clone(), handler.clone(), settings.clone())
                    .following(policy.clone())
                    .named(worker.clone());
                let consumer = match &claims {
                    Some(claims) => consumer.claiming(claims.clone()),
                    None => consumer,
                };
                async move {
                    // Its queue has a name by its policy, or the usual one.
                    if names.knows(&name, &shutdown).await {
                        consumer.run(part, shutdown).await;
                    }
                }
            });
            tasks.spawn(consuming);
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Sends due works to their queues, and keeps dead letters.
fn dispatch(
    args: &ConsumerArgs,
    adapters: &Adapters,
    registry: &Registry,
    settings: DispatchSettings,
    health: &Health,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) {
    let part = health.part("dispatcher", args.dispatch == Dispatch::Only);
    let (own, names) = (adapters.clone(), registry.clone());
    let dispatching = supervise_part("dispatcher", part, shutdown.clone(), move |part, shutdown| {
        let (Adapters { store, broker, feed }, names) = (own.clone(), names.clone());
        let dispatcher = Dispatcher::new(store, broker, feed, settings.clone());
        async move {
            if names.knows(KindName::add_up_to(), &shutdown).await {
                dispatcher.run(part, shutdown).await;
            }
        }
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

/// The consumer's name on the health pages. A process has one for each of its kinds, and as long as it runs.
fn consumer_name(kind: &KindName) -> &'static str {
    match kind.is_add_up_to() {
        true => "consumer",
        false => format!("consumer of {kind}").leak(),
    }
}
