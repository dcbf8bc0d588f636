//! `pp_backend_api`: the REST API as a service.

use std::process::ExitCode;

use clap::Parser;
use pp_backend_api::{ApiArgs, Listeners, Ports};
use pp_cli::config::{BrokerArgs, CacheArgs, ConfigError, DatabaseArgs, RuntimeArgs, command_line};
use pp_cli::connect::{self, Schema};
use pp_cli::{logging, metrics, program, shutdown};
use pp_lib::runtime::{Health, Metrics, STUCK};

/// Accepts work over REST and serves its state and results.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    let args: Args = command_line();
    logging::init(&args.runtime);
    let metrics = metrics::install(&pp_http::METRICS);
    program::run(run(args, metrics), |error| error.is::<ConfigError>())
}

async fn run(args: Args, metrics: Metrics) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    args.api.check()?;
    let listeners = Listeners {
        api: pp_backend_api::bind(&args.api.api_bind)?,
        probe: args.api.probe_bind.bind()?,
    };
    let (database, broker) = (args.database.shared_address()?, args.broker.shared_address()?);
    let cache = args.cache.address()?;
    let trust = args.runtime.tls.trust()?;
    let max_wait = args.runtime.startup_timeout;
    let connect = async {
        let store = connect::store(&database, &args.database, &trust, Schema::Migrate, max_wait).await?;
        anyhow::Ok(Ports {
            store,
            feed: connect::feed(&database, &trust)?,
            broker: connect::broker_when_needed(&broker, &args.broker, &trust)?,
            caches: connect::caches(&cache, &args.cache, &trust)?,
        })
    };
    match shutdown.run_until_cancelled(connect).await {
        None => Ok(()),
        Some(ports) => {
            let (ports, health) = (ports?, Health::beating(STUCK));
            pp_backend_api::serve(&args.api, &args.runtime, listeners, ports, &health, &metrics, shutdown).await
        }
    }
}
