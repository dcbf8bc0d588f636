//! Waiting for a condition with a deadline, the only way anything waits in this crate.
//!
//! Nothing sleeps for a fixed time in the hope that it was enough.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The pause between two looks at a condition.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `condition` holds; `false` when it still does not after `limit`.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Tries until `attempt` succeeds.
///
/// # Errors
/// After `limit`, with the last attempt's error as the reason.
pub fn until_ok<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => bail!("{what}: not within {} s: {error:#}", limit.as_secs()),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
