//! `cli_01`, the operator's tool: creates and looks up works, over HTTP or straight in the database.
//!
//! Here lives the recipe: what was typed becomes a request (`args`), a request is answered over HTTP (`http`) or by the
//! database (`db`), the answer is printed (`output`), and what went wrong is one line and an exit code (`failure`).

mod args;
mod commands;
mod db;
mod failure;
mod http;
mod output;

use std::io::{self, Write as _};
use std::process::ExitCode;

use pp_cli::config::command_line;

use args::Args;
use commands::Command;
use failure::Failure;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough (`| head`): that is no failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // When even standard error is closed, the exit code is all there is left to say.
            let _ = writeln!(io::stderr().lock(), "error: {failure}");
            failure.exit_code()
        }
    }
}

fn run() -> Result<(), Failure> {
    let settings = command_line::<Args>().resolve()?;
    let works = settings.source.open()?;
    match settings.command {
        Command::Show(id) => commands::show(&*works, id, settings.output),
        Command::Search(search) => commands::search(&*works, &search, settings.output),
        Command::Events(id) => commands::events(&*works, id, settings.output),
        Command::Create(wanted) => commands::create(&*works, wanted, settings.output),
        Command::Update(id, add_up_to) => commands::update(&*works, id, add_up_to, settings.output),
        Command::Cancel(id) => commands::cancel(&*works, id, settings.output),
        Command::Retry(id) => commands::retry(&*works, id, settings.output),
        Command::Delete(id) => commands::delete(&*works, id),
        Command::Stats { rebuild } => commands::stats(&*works, rebuild, settings.output),
        Command::Watch(what) => commands::watch(&*works, &what, settings.output),
        Command::DeadLetters(what) => commands::dead_letters(&*works, &what, settings.output),
    }
}
