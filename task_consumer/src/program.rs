//! The program: command line, log, signals, and the service between them.

use std::process::ExitCode;

use clap::Parser;
use pp_cli::config::{BrokerArgs, ConfigError, DatabaseArgs, RuntimeArgs, command_line};
use pp_cli::connect::{self, Schema};
use pp_cli::{logging, metrics, program, shutdown};
use pp_http::ProbeBind;
use pp_lib::kinds::Kinds;
use pp_lib::runtime::{Health, Metrics, STUCK};

use crate::{Adapters, ConsumerArgs, serve, set_up};

/// Takes work demands from RabbitMQ, computes them, and records works and events in PostgreSQL.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(flatten)]
    consumer: ConsumerArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// The address of the health pages and metrics, or `off`.
    #[arg(long, env = "PP_PROBE_BIND", default_value = "127.0.0.1:3001")]
    probe_bind: ProbeBind,
    /// Creates the schema and the queues of all declared kinds, then ends: for services that may not.
    #[arg(long)]
    setup: bool,
}

/// Runs a worker with the kinds that `add` returns. It is given the built-in kind, and may wait and fail.
///
/// This is all of a program: it reads the command line, and installs the log, the recorder of metrics and the handlers of
/// signals.
pub fn main(add: impl AsyncFnOnce(Kinds) -> anyhow::Result<Kinds>) -> ExitCode {
    let args: Args = command_line();
    logging::init(&args.runtime);
    let metrics = metrics::install(&pp_http::METRICS);
    program::run(run(args, add, metrics), |error| error.is::<ConfigError>())
}

async fn run(
    args: Args,
    add: impl AsyncFnOnce(Kinds) -> anyhow::Result<Kinds>,
    metrics: Metrics,
) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let kinds = add(args.consumer.kinds()).await?;
    if args.setup {
        if let Some(adapters) = shutdown.run_until_cancelled(connect(&args)).await {
            let declared = set_up(&adapters?, &kinds).await?;
            log::info!("schema and queues are there for {} kinds", declared.len());
        }
        return Ok(());
    }
    let health = Health::beating(STUCK);
    // The service is not ready before it is connected.
    health.part("store", true);
    let probe = args.probe_bind.bind()?;
    let probe = tokio::spawn(probe.serve(health.clone(), metrics.clone(), shutdown.clone()));
    if let Some(adapters) = shutdown.run_until_cancelled(connect(&args)).await {
        serve(
            &args.consumer,
            &args.runtime,
            adapters?,
            kinds,
            &health,
            &metrics,
            shutdown,
        )
        .await?;
    }
    probe.await?;
    Ok(())
}

async fn connect(args: &Args) -> anyhow::Result<Adapters> {
    let (database, broker) = (args.database.shared_address()?, args.broker.shared_address()?);
    let (trust, max_wait) = (args.runtime.tls.trust()?, args.runtime.startup_timeout);
    Ok(Adapters {
        store: connect::store(&database, &args.database, &trust, Schema::Migrate, max_wait).await?,
        broker: connect::broker(&broker, &args.broker, &trust, max_wait).await?,
        feed: connect::feed(&database, &trust)?,
    })
}
