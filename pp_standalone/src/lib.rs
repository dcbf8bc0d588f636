//! The whole system in one process: API, worker, dispatcher and optionally the producer, as in the services.
//!
//! Nothing has to be installed: by default it uses SQLite and a broker in memory. A system of one's own is [`main`] with
//! the own kinds.

mod args;
mod lock;
mod program;
#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use pp_backend_api::{Listeners, Ports};
use pp_cli::config::{ConfigError, DatabaseUrl};
use pp_cli::connect::{self, Schema};
use pp_lib::enqueue::{BrokerSink, DemandSink, StoreSink};
use pp_lib::kinds::{Kinds, Registry};
use pp_lib::runtime::{Health, Metrics, STUCK};
use pp_lib::tls::Trust;
use task_consumer::Adapters;
use task_producer::ProducerConfig;
use tokio_util::sync::CancellationToken;

pub use args::Args;
pub use lock::FolderLock;
pub use program::main;

/// The addresses to announce after the start.
#[derive(Clone, Debug)]
pub struct Started {
    /// The API's URL.
    pub api: String,
    /// The data folder.
    pub data: String,
}

/// Runs everything with these kinds until `shutdown` is cancelled or the API fails. `metrics` is the page that it serves,
/// and `ready` gets the addresses once everything runs.
pub async fn run(
    args: Args,
    kinds: Kinds,
    metrics: Metrics,
    shutdown: CancellationToken,
    ready: impl FnOnce(&Started),
) -> anyhow::Result<()> {
    // The lock precedes the listener. Otherwise a second process would report the port instead of the folder.
    let database = args.database.address_or(&args.default_database())?;
    let folder = folder_of(&database, &args.data_dir);
    let _lock = FolderLock::take(folder)?;
    args.api.check()?;
    let listeners = Listeners {
        api: pp_backend_api::bind(&args.api.api_bind)?,
        probe: args.api.probe_bind.bind()?,
    };
    let produce = args
        .produce
        .then(|| args.schedule.configs(&args.runtime, &args.broker.queue_prefix))
        .transpose()?;
    if produce.iter().flatten().any(|config| config.queue.is_some()) {
        let why = "`queue` is for task_producer: here the policy of a kind names its queue";
        return Err(ConfigError::new("PP_SCHEDULE_FILE", why).into());
    }
    let trust = args.runtime.tls.trust()?;
    let caches = connect::caches(&args.cache.address()?, &args.cache, &trust)?;
    let Some(adapters) = shutdown.run_until_cancelled(connect(&args, &database, &trust)).await else {
        return Ok(());
    };
    let adapters = adapters?;
    if matches!(database, DatabaseUrl::Sqlite(_)) {
        // The lock of the folder proves that no other process uses this file.
        task_consumer::take_over(&adapters.store)
            .await
            .context("PP_DATABASE_URL")?;
    }
    // Works of these kinds are taken from the first request on.
    task_consumer::declare(&adapters.store, &kinds).await?;
    // The producer's first demands go to the queues that policies name.
    let registry = Registry::new(adapters.store.clone(), adapters.broker.clone());
    registry.refresh().await.context("PP_DATABASE_URL")?;
    let data = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    ready(&Started {
        api: format!("{}://{}", args.api.scheme(), listeners.api.local_addr()?),
        data: data.display().to_string(),
    });

    let health = Health::beating(STUCK);
    let ports = Ports {
        store: adapters.store.clone(),
        feed: adapters.feed.clone(),
        broker: adapters.broker.clone(),
        caches,
    };
    let producer = producer(produce, &adapters, shutdown.clone());
    let api = pp_backend_api::serve(
        &args.api,
        &args.runtime,
        listeners,
        ports,
        &health,
        &metrics,
        shutdown.clone(),
    );
    let worker = task_consumer::run(
        &args.consumer,
        &args.runtime,
        adapters.clone(),
        kinds,
        &health,
        shutdown.clone(),
    );
    let (served, produced, ()) = tokio::join!(ending_all(api, &shutdown), producer, worker);
    served.context("the API ended")?;
    produced
}

/// The folder to lock: the one that contains the database.
fn folder_of<'a>(database: &'a DatabaseUrl, data_dir: &'a Path) -> &'a Path {
    match database {
        DatabaseUrl::Sqlite(file) => match Path::new(file).parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        },
        DatabaseUrl::Postgres(_) | DatabaseUrl::Pooled { .. } => data_dir,
    }
}

async fn connect(args: &Args, database: &DatabaseUrl, trust: &Trust) -> anyhow::Result<Adapters> {
    let broker = args.broker.address_or_memory()?;
    let max_wait = args.runtime.startup_timeout;
    Ok(Adapters {
        store: connect::store(database, &args.database, trust, Schema::Migrate, max_wait).await?,
        broker: connect::broker(&broker, &args.broker, trust, max_wait).await?,
        feed: connect::feed(database, trust)?,
    })
}

/// A producer that writes rows directly, because this process's broker would lose demands at its end.
async fn producer(
    configs: Option<Vec<ProducerConfig>>,
    adapters: &Adapters,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Some(configs) = configs else { return Ok(()) };
    let sink: Arc<dyn DemandSink> = if adapters.broker.durable() {
        Arc::new(BrokerSink::new(adapters.broker.clone()))
    } else {
        Arc::new(StoreSink::new(adapters.store.clone(), adapters.feed.clone()))
    };
    Ok(task_producer::run_all(configs, sink, shutdown).await?)
}

/// Runs a part, and ends all other parts with it.
async fn ending_all<T>(part: impl Future<Output = T>, shutdown: &CancellationToken) -> T {
    let outcome = part.await;
    shutdown.cancel();
    outcome
}
