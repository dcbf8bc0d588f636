//! `pp_chaos_worker`: the worker of a chaos run, with the kinds of the run beside the sum.

use std::process::ExitCode;

use pp_chaos::handlers::with_kinds;

fn main() -> ExitCode {
    task_consumer::main(async |kinds| with_kinds(kinds))
}
