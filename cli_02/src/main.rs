//! `cli_02`, a hand-made HTTP/1.1 client on a raw TCP socket: one request, one reply, every byte shown.
//!
//! Here lives the recipe and what each end of it exits with. What is typed is checked in `args`, what is sent is
//! written in `request`, the socket is in `exchange`, what comes back is read in `reply` and `chunked`, what the
//! terminal sees is in `show`. Deliberately absent: TLS, redirects, cookies, connection reuse, and everything PP's
//! API means by its answers; `cli_01` is the tool for that.

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

/// The server answered, and the answer is an error: 404 or another 4xx or 5xx.
const ANSWERED_WITH_ERROR: u8 = 1;
/// The command line asks for what cannot be sent.
const USAGE: u8 = 2;
/// No complete reply: refused, timed out, cut off, malformed, too large.
const UNAVAILABLE: u8 = 3;

/// How much one read takes from the socket, in bytes.
const PIECE: usize = 16 * 1024;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // The socket's errors are wrapped in errors of their own: a bare one is standard output's.
        let output = error.downcast_ref::<io::Error>();
        // Whoever reads our output has seen enough (`| head`): that is no failure.
        if output.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let what = if output.is_some() {
            "cannot write the output: "
        } else {
            ""
        };
        // When even standard error is closed, the exit code is all there is left to say.
        let _ = writeln!(io::stderr().lock(), "error: {what}{error:#}");
        ExitCode::from(if error.is::<UsageError>() { USAGE } else { UNAVAILABLE })
    })
}

fn run() -> Result<ExitCode> {
    let settings = Args::parse().resolve()?;
    let request = Request::new(&settings);
    let mut screen = Screen::new(BufWriter::new(io::stdout().lock()));
    let status = converse(&settings, &request, &mut screen);
    // What did arrive is shown whole before the error that says what is missing.
    screen.end()?;
    Ok(exit_code(status?))
}

/// Sends the request, shows the reply piece by piece as it arrives, and returns its status code.
fn converse(settings: &Settings, request: &Request, screen: &mut Screen<impl Write>) -> Result<u16> {
    let mut exchange = Exchange::open(&settings.host, settings.port, settings.timeout)?;
    let (sent, outcome) = exchange.send(request.bytes());
    screen.request(&request.bytes()[..sent])?;
    // A server may refuse a large request before it has read all of it, and close. Its answer explains more than our
    // failed write does, so it is read first; without one, the failed write is the error.
    let mut reply = Reply::new(&settings.method, settings.max_bytes);
    receive(&mut exchange, &mut reply, screen).or_else(|error| {
        if !error.is::<io::Error>() {
            outcome?;
        }
        Err(error)
    })
}

fn receive(exchange: &mut Exchange, reply: &mut Reply, screen: &mut Screen<impl Write>) -> Result<u16> {
    let mut buffer = vec![0; PIECE];
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
        // The deadline is the server's: time that our own reader takes (a pager, say) is not counted against it.
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
