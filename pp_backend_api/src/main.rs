//! The API as a service: arguments, logger, signals and database; what it does is the library's.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Context as _;
use pp_backend_api::{Command, Parts};
use pp_lib::actor::StoreActor;
use pp_lib::config::command_line;
use pp_lib::connect::Schema;
use pp_lib::flow::{WorkService, watch_store};
use pp_lib::health::Health;
use pp_lib::{connect, logging, shutdown};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    match serve(command_line()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not a line of the log: it must be seen whatever the log is set to.
            let _ = writeln!(io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(command: Command) -> anyhow::Result<()> {
    let address = command.database.shared_address()?;
    logging::init(&command.runtime);
    let shutdown = shutdown::on_signal().context("signals cannot be listened to")?;
    let listener = pp_backend_api::bind(&command.api.api_bind)?;
    let patience = command.runtime.startup_timeout;
    let connected = connect::store(&address, &command.database, Schema::Migrate, patience);
    let Some(store) = shutdown.run_until_cancelled(connected).await.transpose()? else {
        return Ok(());
    };
    let feed = connect::feed(&address)?;
    let (actor, handle) = StoreActor::start(&store, &feed, command.api.store_options());
    let health = Health::new();
    tokio::spawn(watch_store(store, health.part("store", true), shutdown.clone()));
    let works = WorkService::new(handle);
    run(&command, listener, Parts { works, health }, shutdown).await?;
    // What the server has answered is done; what it gave up on has this long.
    let _ = timeout(command.runtime.grace, actor.stop()).await;
    Ok(())
}

async fn run(
    command: &Command,
    listener: TcpListener,
    parts: Parts,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    log::info!("the API listens on http://{address}");
    pp_backend_api::run(command.api.config(command.runtime.grace), listener, parts, shutdown).await?;
    log::info!("the API has stopped");
    Ok(())
}
