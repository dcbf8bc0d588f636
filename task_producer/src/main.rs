//! The producer as a service: arguments, logger, signals, broker and probe; what it does is the library's.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use pp_lib::broker::AnyBroker;
use pp_lib::config::command_line;
use pp_lib::flow::BrokerSink;
use pp_lib::health::Health;
use pp_lib::{connect, logging, shutdown};
use task_producer::Args;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    match produce(command_line()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not a line of the log: it must be seen whatever the log is set to.
            let _ = writeln!(io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn produce(args: Args) -> anyhow::Result<()> {
    let config = args.config()?;
    let address = args.broker.shared_address()?;
    logging::init(&args.runtime);
    let shutdown = shutdown::on_signal().context("signals cannot be listened to")?;
    let probe = bind_probe(&args)?;
    let broker = connect::broker(&address, args.broker.queue_names(), args.runtime.startup_timeout).await?;
    let ended = CancellationToken::new();
    let probe = probe.map(|listener| tokio::spawn(serve(listener, broker.clone(), ended.clone())));
    let outcome = task_producer::run(config, Arc::new(BrokerSink::new(broker)), shutdown).await;
    ended.cancel();
    Ok(outcome?)
}
