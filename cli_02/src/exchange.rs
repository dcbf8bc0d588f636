//! The socket and its one deadline, which connect, send and receive share.
//!
//! Each wait gets what is left of the deadline, so a server that drips a byte now and then gains nothing by it. Not
//! here: what the bytes mean.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::args::Host;

/// Most addresses of one name that are tried.
const ADDRESSES_LIMIT: usize = 8;

/// Why the server could not be talked to.
#[derive(Debug, Error)]
pub(crate) enum ExchangeError {
    /// The deadline has passed.
    #[error("no complete reply within {} (--timeout), still {stage}", humantime::format_duration(*.timeout))]
    Timeout {
        /// The whole deadline.
        timeout: Duration,
        /// What was being waited for.
        stage: &'static str,
    },
    /// The resolver has no address for the name.
    #[error("cannot find the host {name}")]
    Resolve {
        /// The name asked for.
        name: String,
        /// The resolver's reason.
        source: io::Error,
    },
    /// None of the server's addresses takes the connection; the reason is the last one's.
    #[error("cannot connect to {to}")]
    Connect {
        /// Host and port.
        to: String,
        /// The reason.
        source: io::Error,
    },
    /// The connection broke while the request was sent.
    #[error("cannot send the request")]
    Send(#[source] io::Error),
    /// The connection broke while the reply was read.
    #[error("cannot read the reply")]
    Receive(#[source] io::Error),
}

/// A connection for one request and one reply.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: TcpStream,
    deadline: Deadline,
}

impl Exchange {
    /// Connects; the deadline runs from here on.
    pub(crate) fn open(host: &Host, port: u16, timeout: Duration) -> Result<Self, ExchangeError> {
        let deadline = Deadline {
            at: Instant::now() + timeout,
            timeout,
        };
        let addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => resolve(name, deadline)?,
        };
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for (index, address) in addresses.iter().enumerate() {
            // An address that never answers gets its share of the time only, so that the next one has a turn.
            let share = deadline.left("connecting")? / (addresses.len() - index) as u32;
            match TcpStream::connect_timeout(&SocketAddr::new(*address, port), share.max(Duration::from_micros(1))) {
                Ok(stream) => return Ok(Self { stream, deadline }),
                Err(error) => last = error,
            }
        }
        deadline.left("connecting")?;
        Err(ExchangeError::Connect {
            to: host.authority(port),
            source: last,
        })
    }

    /// Sends the bytes, and says how many the system took, also when it did not take all.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> (usize, Result<(), ExchangeError>) {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.send_some(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) => return (sent, Err(error)),
            }
        }
        (sent, Ok(()))
    }

    /// Receives what there is, at least one byte; 0 means that the server has closed the connection.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, ExchangeError> {
        let stage = "waiting for the server";
        loop {
            self.stream
                .set_read_timeout(Some(self.deadline.left(stage)?))
                .map_err(ExchangeError::Receive)?;
            match self.stream.read(buffer) {
                Ok(count) => return Ok(count),
                Err(error) if is_worth_another_try(&error) => {}
                Err(error) => return Err(ExchangeError::Receive(error)),
            }
        }
    }

    /// Does something for which the server is not to blame: the deadline stands still meanwhile.
    pub(crate) fn pause<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.deadline.at += start.elapsed();
        result
    }

    fn send_some(&mut self, bytes: &[u8]) -> Result<usize, ExchangeError> {
        loop {
            let left = self.deadline.left("sending the request")?;
            self.stream.set_write_timeout(Some(left)).map_err(ExchangeError::Send)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ExchangeError::Send(io::ErrorKind::WriteZero.into())),
                Ok(count) => return Ok(count),
                Err(error) if is_worth_another_try(&error) => {}
                Err(error) => return Err(ExchangeError::Send(error)),
            }
        }
    }
}

/// A wait that ended without anything; whether there is time for another, the deadline tells.
fn is_worth_another_try(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Asks the resolver in a thread of its own: the system's resolver knows no deadline, and waits for long.
fn resolve(name: &str, deadline: Deadline) -> Result<Vec<IpAddr>, ExchangeError> {
    let (answer, answered) = mpsc::channel();
    let asked = name.to_owned();
    thread::spawn(move || {
        let found = (asked.as_str(), 0).to_socket_addrs();
        // Nobody listens any more once the deadline has passed.
        let _ = answer.send(found.map(|found| found.map(|address| address.ip()).take(ADDRESSES_LIMIT).collect()));
    });
    let stage = "looking up the host";
    let found = answered
        .recv_timeout(deadline.left(stage)?)
        .map_err(|_| deadline.missed(stage))?;
    found.map_err(|source| ExchangeError::Resolve {
        name: name.to_owned(),
        source,
    })
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// What is left, never zero.
    fn left(&self, stage: &'static str) -> Result<Duration, ExchangeError> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(self.missed(stage))
        } else {
            Ok(left)
        }
    }

    fn missed(&self, stage: &'static str) -> ExchangeError {
        ExchangeError::Timeout {
            timeout: self.timeout,
            stage,
        }
    }
}
