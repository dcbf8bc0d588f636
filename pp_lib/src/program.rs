//! What the `main` of every service does around its own work: files enough, a runtime, and an end that is not held up.

use std::fmt::Display;
use std::future::Future;
use std::io::{Write as _, stderr};
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;

/// How long the end waits for threads that are still in a driver, such as one that asks a frozen server.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Runs a service to its end. An error becomes one line on standard error, whatever the log is set to.
pub fn run<E: Display>(service: impl Future<Output = Result<(), E>>) -> ExitCode {
    // Each client is an open file, and many systems allow 1,024 until a process asks for what it may have. One that may have
    // no more goes on with that.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let outcome = match Runtime::new() {
        Ok(runtime) => {
            let outcome = runtime.block_on(service).map_err(|error| format!("{error:#}"));
            runtime.shutdown_timeout(LAST_WAIT);
            outcome
        }
        Err(error) => Err(format!("no threads can be started: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
