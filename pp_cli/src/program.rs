//! The frame of every service's `main`: file descriptors, runtime, exit code and a bounded end.

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::{USAGE, warn_of_unknown_variables};
use crate::logging;

/// The time the end waits for threads inside a driver, such as one that waits for a frozen server.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Runs a service to its end. An error becomes one line on standard error, whatever the log level is. Errors of
/// settings and of the command line have their own exit code.
pub fn run<E: Display>(
    service: impl Future<Output = Result<(), E>>,
    is_about_a_setting: impl FnOnce(&E) -> bool,
) -> ExitCode {
    warn_of_unknown_variables();
    // Each client is an open file, and many systems allow 1,024 until a process raises its limit. If that fails, the
    // process continues with the lower limit.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let outcome = match Runtime::new() {
        Ok(runtime) => {
            let outcome = runtime.block_on(service).map_err(|error| {
                let code = if is_about_a_setting(&error) { USAGE } else { 1 };
                (format!("{error:#}"), code)
            });
            // A driver's thread may still want the runtime, and panic without it. That is part of the end, and no error.
            std::panic::set_hook(Box::new(|_| {}));
            runtime.shutdown_timeout(LAST_WAIT);
            outcome
        }
        Err(error) => Err((format!("no threads can be started: {error}"), 1)),
    };
    match outcome {
        Ok(()) => {
            logging::flush(logging::LAST_LINES);
            ExitCode::SUCCESS
        }
        Err((error, code)) => {
            logging::fatal_in_log(error);
            ExitCode::from(code)
        }
    }
}
