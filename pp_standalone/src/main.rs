//! `pp_standalone`: all of PP in one process.

use std::process::ExitCode;

use pp_lib::config::command_line;
use pp_lib::{logging, program, shutdown};
use pp_standalone::{Args, Started, run};

fn main() -> ExitCode {
    let args: Args = command_line();
    logging::init(&args.runtime);
    program::run(async { run(args, shutdown::on_signal()?, welcome).await })
}

#[expect(
    clippy::print_stdout,
    reason = "this is for the person who started it, not for the log"
)]
fn welcome(started: &Started) {
    let Started { api, data } = started;
    println!("PP is running: {api}  (data in {data}, Ctrl-C stops it)");
    println!("Try:  curl -X POST {api}/work");
}
