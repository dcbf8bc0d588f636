//! The whole system in one process: API, worker, dispatcher and, if asked for, producer, on the same flows as the
//! services. Nothing has to be installed: SQLite and a broker in memory unless told otherwise.

mod args;
mod lock;

use std::future::Future;

use anyhow::Context as _;
use pp_lib::config::BrokerUrl;
use pp_lib::config::DatabaseUrl;
use pp_lib::connect::{self, Schema};
use pp_lib::health::Health;
use task_consumer::Parts;
use tokio_util::sync::CancellationToken;

pub use args::Args;
pub use lock::FolderLock;

/// Runs everything until `shutdown` is cancelled. `ready` is told the address of the API once it answers.
///
/// # Errors
/// When something cannot start; the message is one line.
pub async fn run(args: Args, shutdown: CancellationToken, ready: impl FnOnce(&Started)) -> anyhow::Result<()> {
    let listener = pp_backend_api::bind(&args.api.api_bind)?;
    let lock = FolderLock::take(&args.data_dir)?;
    let started = Started {
        api: format!("http://{}", listener.local_addr()?),
        data: args.data_dir.display().to_string(),
    };
    let Some(parts) = shutdown.run_until_cancelled(connect(&args)).await else {
        return Ok(());
    };
    let parts = parts?;
    let (health, grace) = (Health::new(), args.runtime.grace);
    ready(&started);
    // The API stops first: what it has acknowledged by then is a row that the next start finds.
    let api = pp_backend_api::serve(
        &args.api,
        grace,
        listener,
        parts.store.clone(),
        &parts.feed,
        &health,
        shutdown.clone(),
    );
    let worker = task_consumer::run(&args.consumer, grace, parts.clone(), &health, shutdown.clone());
    let (served, ()) = tokio::join!(stopping_all(api, &shutdown), worker);
    drop(lock);
    served.context("the API ended")
}

/// What is said when everything is up.
#[derive(Clone, Debug)]
pub struct Started {
    /// The API's URL.
    pub api: String,
    /// The data folder.
    pub data: String,
}

/// A part whose end is the end of all.
async fn stopping_all<T>(part: impl Future<Output = T>, shutdown: &CancellationToken) -> T {
    let outcome = part.await;
    shutdown.cancel();
    outcome
}

async fn connect(args: &Args) -> anyhow::Result<Parts> {
    let database: DatabaseUrl = args.database.address_or(&args.default_database())?;
    let broker: BrokerUrl = args.broker.address_or_memory()?;
    let patience = args.runtime.startup_timeout;
    Ok(Parts {
        store: connect::store(&database, &args.database, Schema::Migrate, patience).await?,
        broker: connect::broker(&broker, args.broker.queue_names(), patience).await?,
        feed: connect::feed(&database)?,
    })
}
