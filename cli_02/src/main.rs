//! `cli_02`, a hand-made HTTP/1.1 client on a raw TCP socket: one request, one reply, every byte shown.
//!
//! `args` checks the command line, `request` writes the request, `exchange` is the socket, `reply` and `chunked` read
//! the reply, and `show` prints it. With TLS the bytes are those within it. Redirects, cookies, connection reuse and the meaning of PP's answers are left
//! out on purpose; `cli_01` knows PP's API.

mod args;
mod chunked;
mod exchange;
mod reply;
mod request;
mod show;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use args::{Args, Settings, UsageError};
use exchange::Exchange;
use reply::{Progress, Reply};
use request::Request;
use show::Screen;

/// The server answered with a 4xx or 5xx.
const ANSWERED_WITH_ERROR: u8 = 1;
/// The command line is invalid.
const USAGE: u8 = 2;
/// There is no complete reply: refused, timed out, cut off, malformed or too large.
const UNAVAILABLE: u8 = 3;

/// The maximum number of bytes of one read from the socket.
const READ_SIZE: usize = 16 * 1024;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // The socket's errors are wrapped, so a bare one comes from standard output.
        let output = error.downcast_ref::<io::Error>();
        // The reader of the output has seen enough (`| head`). That is no failure.
        if output.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let what = if output.is_some() {
            "cannot write the output: "
        } else {
            ""
        };
        // If standard error is closed too, only the exit code remains.
        let _ = writeln!(io::stderr().lock(), "error: {what}{error:#}");
        ExitCode::from(if error.is::<UsageError>() { USAGE } else { UNAVAILABLE })
    })
}

fn run() -> Result<ExitCode> {
    let settings = Args::parse().resolve()?;
    let request = Request::new(&settings);
    let mut screen = Screen::new(BufWriter::new(io::stdout().lock()));
    let status = converse(&settings, &request, &mut screen);
    // The received part is shown completely before the error about the missing part.
    screen.end()?;
    Ok(exit_code(status?))
}

/// Sends the request, shows the reply as it arrives and answers its status code.
fn converse(settings: &Settings, request: &Request, screen: &mut Screen<impl Write>) -> Result<u16> {
    let mut exchange = Exchange::open(&settings.host, settings.port, settings.tls.as_ref(), settings.timeout)?;
    let (sent, outcome) = exchange.send(request.bytes());
    screen.request(&request.bytes()[..sent])?;
    // A server may refuse a large request before it has read all of it, and close. Its reply explains more than the
    // failed write, so the reply is read first. Without a reply, the failed write is the error.
    let mut reply = Reply::new(&settings.method, settings.max_bytes);
    receive(&mut exchange, &mut reply, screen).or_else(|error| {
        if !error.is::<io::Error>() {
            outcome?;
        }
        Err(error)
    })
}

fn receive(exchange: &mut Exchange, reply: &mut Reply, screen: &mut Screen<impl Write>) -> Result<u16> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let mut parts = Vec::new();
        let progress: Result<Progress> = match exchange.receive(&mut buffer) {
            Ok(0) => reply.close(&mut parts).map_err(Into::into),
            Ok(count) => reply.take(&buffer[..count], &mut parts).map_err(Into::into),
            Err(error) => {
                reply.abandon(&mut parts);
                Err(error.into())
            }
        };
        // The time limit concerns the server. The time of the output's reader, such as a pager, does not count.
        exchange.pause(|| screen.parts(&parts))?;
        if let Progress::Complete(status) = progress? {
            return Ok(status);
        }
    }
}

fn exit_code(status: u16) -> ExitCode {
    if status < 400 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(ANSWERED_WITH_ERROR)
    }
}
