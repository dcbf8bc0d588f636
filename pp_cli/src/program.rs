//! What the `main` of every service does around its own work: files enough, a runtime, and an end that is not held up.

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::{USAGE, warn_of_unknown_variables};
use crate::logging;

/// How long the end waits for threads that are still in a driver, such as one that asks a frozen server.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Runs a service to its end. An error becomes one line on standard error, whatever the log is set to; one about a
/// setting has an exit code of its own, as one about the command line has.
pub fn run<E: Display>(
    service: impl Future<Output = Result<(), E>>,
    is_about_a_setting: impl FnOnce(&E) -> bool,
) -> ExitCode {
    warn_of_unknown_variables();
    // Each client is an open file, and many systems allow 1,024 until a process asks for what it may have. One that may have
    // no more goes on with that.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let outcome = match Runtime::new() {
        Ok(runtime) => {
            let outcome = runtime.block_on(service).map_err(|error| {
                let code = if is_about_a_setting(&error) { USAGE } else { 1 };
                (format!("{error:#}"), code)
            });
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
