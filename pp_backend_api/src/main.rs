//! `pp_backend_api`: the REST API as a service of its own.

use std::process::ExitCode;

use clap::Parser;
use pp_backend_api::ApiArgs;
use pp_lib::config::{DatabaseArgs, RuntimeArgs, command_line};
use pp_lib::connect::{self, Schema};
use pp_lib::health::Health;
use pp_lib::{logging, program, shutdown};

/// Takes work in over REST and serves what became of it.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    let args: Args = command_line();
    logging::init(&args.runtime);
    program::run(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let listener = pp_backend_api::bind(&args.api.api_bind)?;
    let database = args.database.shared_address()?;
    let connect = async {
        let store = connect::store(&database, &args.database, Schema::Migrate, args.runtime.startup_timeout).await?;
        anyhow::Ok((store, connect::feed(&database)?))
    };
    match shutdown.run_until_cancelled(connect).await {
        None => Ok(()),
        Some(connected) => {
            let (store, feed) = connected?;
            pp_backend_api::serve(
                &args.api,
                args.runtime.grace,
                listener,
                store,
                &feed,
                &Health::new(),
                shutdown,
            )
            .await
        }
    }
}
