//! `cli_01`, the operator's tool: creates, shows and changes works, over HTTP or directly in the database.
//!
//! `args` parses the command line, `http` or `db` answers it, `output` prints the answer, and `failure` gives the error
//! line and the exit code.

mod args;
mod commands;
mod db;
mod failure;
mod http;
mod output;

use std::io::{self, Write as _};
use std::process::ExitCode;

use pp_cli::config::command_line;

use args::{Args, Request};
use failure::Failure;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has seen enough (`| head`). That is no failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is closed too, only the exit code remains.
            let _ = writeln!(io::stderr().lock(), "error: {failure}");
            failure.exit_code()
        }
    }
}

fn run() -> Result<(), Failure> {
    match command_line::<Args>().resolve()? {
        Request::Local(what) => what.run(),
        Request::Doctor(doctor) => doctor.run(),
        Request::Ask(settings) => {
            let works = settings.source.open(&settings.trust, settings.timeout)?;
            settings.command.run(&*works, settings.output)
        }
    }
}
