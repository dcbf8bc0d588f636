//! `task_consumer`: takes demands from the queue, computes sums, and records works and events.

use std::process::ExitCode;

fn main() -> ExitCode {
    task_consumer::main(async |kinds| Ok(kinds))
}
