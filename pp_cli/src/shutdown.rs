//! Turns signals into a shutdown token. Only `main` calls [`on_signal`], because signals belong to the process.

use std::io;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use std::{process, thread};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::logging;

/// The time an abandoned process waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(100);

/// A token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once. Signals have a thread of
/// their own, so they work while all other threads are busy or stuck.
pub fn on_signal() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (stop, (listens, listening)) = (token.clone(), sync_channel(1));
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let listened = listen().map(|(runtime, signals)| {
            let _ = listens.send(Ok(()));
            runtime.block_on(obey(signals, &stop));
        });
        let _ = listened.map_err(|error| listens.send(Err(error)));
    })?;
    listening.recv().unwrap_or_else(|gone| Err(io::Error::other(gone)))?;
    Ok(token)
}

fn listen() -> io::Result<(Runtime, [Signal; 2])> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    drop(entered);
    Ok((runtime, signals))
}

async fn obey([mut terminate, mut interrupt]: [Signal; 2], stop: &CancellationToken) {
    for what in ["stopping", "stopping at once, what is in flight is abandoned"] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log::info!("{name}: {what}");
        if stop.is_cancelled() {
            logging::flush(LAST_LINES);
            process::exit(1);
        }
        stop.cancel();
    }
}
