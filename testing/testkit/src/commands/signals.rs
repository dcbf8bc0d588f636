//! SIGINT, SIGTERM and SIGHUP as messages, so that a command can clean up before it ends.

use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use pp_testkit::chaos::system::Stop;
use tokio::signal::unix::{SignalKind, signal};

/// From now on these signals no longer end this process; they arrive here.
pub(crate) fn receive() -> Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut streams = runtime
        .block_on(async {
            anyhow::Ok((
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ))
        })
        .context("cannot watch for signals")?;
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let received = tokio::select! {
                    _ = streams.0.recv() => Signal::SIGINT,
                    _ = streams.1.recv() => Signal::SIGTERM,
                    _ = streams.2.recv() => Signal::SIGHUP,
                };
                if sender.send(received).is_err() {
                    break;
                }
            }
        });
    });
    Ok(receiver)
}

/// From now on these signals set a stop instead: what runs ends in order, services and servers too.
pub(crate) fn stop() -> Result<Stop> {
    let stop = Stop::default();
    let signals = receive()?;
    let set = stop.clone();
    thread::spawn(move || {
        if signals.recv().is_ok() {
            set.set();
        }
    });
    Ok(stop)
}
