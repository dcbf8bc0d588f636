//! `pp_standalone`: all of PP in one process.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use pp_cli::config::{ConfigError, command_line};
use pp_cli::{logging, program, shutdown};
use pp_standalone::{Args, Started, run};

fn main() -> ExitCode {
    let args: Args = command_line();
    logging::init(&args.runtime);
    program::run(async { run(args, shutdown::on_signal()?, welcome).await }, |error| {
        error.is::<ConfigError>()
    })
}

/// For the person who started it, not for the log. A thread of its own writes it: nothing waits for a standard output
/// that nobody reads.
fn welcome(started: &Started) {
    let Started { api, data } = started;
    let text = format!("PP is running: {api}  (data in {data}, Ctrl-C stops it)\nTry:  curl -X POST {api}/work\n");
    thread::spawn(move || io::stdout().write_all(text.as_bytes()));
}
