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

/// Prints the address for the person who started the program. A thread writes it, because an unread standard output may
/// block.
fn welcome(started: &Started) {
    let Started { api, data } = started;
    let text = format!("PP is running: {api}  (data in {data}, Ctrl-C stops it)\nTry:  curl -X POST {api}/work\n");
    thread::spawn(move || io::stdout().write_all(text.as_bytes()));
}
