//! The program: command line, log, signals, and the system between them.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use pp_cli::config::{ConfigError, command_line};
use pp_cli::{logging, metrics, program, shutdown};
use pp_lib::kinds::Kinds;

use crate::{Args, Started, run};

/// Runs all of PP with the kinds that `add` returns. It is given the built-in kind, and may wait and fail.
///
/// This is all of a program: it reads the command line, and installs the log, the recorder of metrics and the handlers of
/// signals.
pub fn main(add: impl AsyncFnOnce(Kinds) -> anyhow::Result<Kinds>) -> ExitCode {
    let args: Args = command_line();
    logging::init(&args.runtime);
    let metrics = metrics::install(&pp_http::METRICS);
    let system = async {
        let shutdown = shutdown::on_signal()?;
        let kinds = add(args.kinds()).await?;
        run(args, kinds, metrics, shutdown, welcome).await
    };
    program::run(system, |error: &anyhow::Error| error.is::<ConfigError>())
}

/// Prints the address for the person who started the program. A thread writes it, because an unread standard output may
/// block.
fn welcome(started: &Started) {
    let Started { api, data } = started;
    let text = format!("PP is running: {api}  (data in {data}, Ctrl-C stops it)\nTry:  curl -X POST {api}/work\n");
    thread::spawn(move || io::stdout().write_all(text.as_bytes()));
}
