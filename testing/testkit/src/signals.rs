//! SIGINT, SIGTERM and SIGHUP as messages or as a [`Stop`], so that a command can clean up before it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::wait;

/// From now on these signals no longer end this process; they arrive here.
///
/// # Errors
/// When the kernel does not tell of them.
pub fn receive() -> Result<mpsc::Receiver<Signal>> {
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
///
/// # Errors
/// When the kernel does not tell of them.
pub fn stop() -> Result<Stop> {
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

/// Whether the run was interrupted. Everything that takes long looks at it.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on, waiting fails.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails after an interruption.
    ///
    /// # Errors
    /// After an interruption.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    /// Lets time pass, as the plan says.
    ///
    /// # Errors
    /// After an interruption.
    pub fn pause(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(wait::PAUSE));
        }
    }
}
