//! `task_producer`: publishes work demands on a cron schedule.

use std::process::ExitCode;
use std::sync::Arc;

use pp_cli::config::{BrokerUrl, ConfigError, command_line};
use pp_cli::connect::Schema;
use pp_cli::watch::{WithoutWrites, watch_broker, watch_policies, watch_store};
use pp_cli::{connect, logging, metrics, program, shutdown};
use pp_lib::enqueue::{BrokerSink, StoreSink};
use pp_lib::runtime::{Health, Metrics, STUCK};
use task_producer::{Args, ProducerConfig};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args: Args = command_line();
    logging::init(&args.runtime);
    let metrics = metrics::install(&pp_http::METRICS);
    program::run(run(args, metrics), |error| error.is::<ConfigError>())
}

async fn run(args: Args, metrics: Metrics) -> anyhow::Result<()> {
    let configs = args.configs()?;
    let shutdown = shutdown::on_signal()?;
    let (health, ended) = (Health::beating(STUCK), CancellationToken::new());
    metrics::show_health(&metrics, &health);
    let probe = args.probe().bind()?;
    let probe = tokio::spawn(probe.serve(health.clone(), metrics, ended.clone()));
    let produced = produce(&args, configs, &health, shutdown).await;
    ended.cancel();
    probe.await?;
    produced
}

async fn produce(
    args: &Args,
    configs: Vec<ProducerConfig>,
    health: &Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (address, trust) = (args.broker.shared_address()?, args.runtime.tls.trust()?);
    if address == BrokerUrl::Database {
        let part = health.part("store", true);
        let database = args.database.shared_address()?;
        let max_wait = args.runtime.startup_timeout;
        let connecting = connect::store(&database, &args.database, &trust, Schema::Migrate, max_wait);
        let Some(store) = shutdown.run_until_cancelled(connecting).await else {
            return Ok(());
        };
        let (store, feed) = (store?, connect::feed(&database, &trust)?);
        tokio::spawn(watch_store(store.clone(), part, WithoutWrites::Down, shutdown.clone()));
        return Ok(task_producer::run_all(configs, Arc::new(StoreSink::new(store, feed)), shutdown).await?);
    }
    let part = health.part("broker", true);
    let broker = args.broker(&configs)?;
    let connecting = connect::broker(&address, &broker, &trust, args.runtime.startup_timeout);
    let Some(broker) = shutdown.run_until_cancelled(connecting).await else {
        return Ok(());
    };
    let broker = broker?;
    tokio::spawn(watch_broker(broker.clone(), part, shutdown.clone()));
    tokio::spawn(watch_policies(broker.clone(), health.clone(), shutdown.clone()));
    Ok(task_producer::run_all(configs, Arc::new(BrokerSink::new(broker)), shutdown).await?)
}
