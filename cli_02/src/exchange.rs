//! The socket and its time limit, which connect, the handshake of TLS, send and receive share.
//!
//! Each wait lasts at most for the rest of the limit, so a server gains nothing by sending single bytes slowly.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pp_tls::rustls::{ClientConnection, StreamOwned};
use thiserror::Error;

use crate::args::{Host, Tls};

/// The maximum number of addresses tried for one name.
const ADDRESSES_LIMIT: usize = 8;

/// The reason why the exchange with the server failed.
#[derive(Debug, Error)]
pub(crate) enum ExchangeError {
    /// The time limit has passed.
    #[error("no complete reply within {} (--timeout), still {stage}", humantime::format_duration(*.timeout))]
    Timeout { timeout: Duration, stage: &'static str },
    /// The resolver has no address for the name.
    #[error("cannot find the host {name}")]
    Resolve { name: String, source: io::Error },
    /// None of the server's addresses accepts the connection. The source is the error of the last address.
    #[error("cannot connect to {to}")]
    Connect { to: String, source: io::Error },
    /// The server does not speak TLS, or its certificate is refused.
    #[error("cannot begin TLS with {to}: {why}")]
    Tls { to: String, why: String },
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
    stream: Wire,
    deadline: Deadline,
}

/// The bytes' way to the server.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Encrypted(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Encrypted(stream) => stream.get_ref(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Encrypted(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }
}

impl Exchange {
    /// Connects. The time limit starts here.
    pub(crate) fn open(host: &Host, port: u16, tls: Option<&Tls>, timeout: Duration) -> Result<Self, ExchangeError> {
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
            // An address that never answers gets only a share of the time, so that the next one gets a turn.
            let share = deadline.left("connecting")? / (addresses.len() - index) as u32;
            match TcpStream::connect_timeout(&SocketAddr::new(*address, port), share.max(Duration::from_micros(1))) {
                Ok(socket) => {
                    let stream = match tls {
                        None => Wire::Plain(socket),
                        Some(tls) => shake_hands(socket, tls, &host.authority(port), deadline)?,
                    };
                    return Ok(Self { stream, deadline });
                }
                Err(error) => last = error,
            }
        }
        deadline.left("connecting")?;
        Err(ExchangeError::Connect {
            to: host.authority(port),
            source: last,
        })
    }

    /// Sends the bytes. Answers how many of them the system took, even after an error.
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

    /// Receives at least one byte. 0 means that the server has closed the connection.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, ExchangeError> {
        let stage = "waiting for the server";
        loop {
            self.stream
                .socket()
                .set_read_timeout(Some(self.deadline.left(stage)?))
                .map_err(ExchangeError::Receive)?;
            match self.stream.read(buffer) {
                Ok(count) => return Ok(count),
                Err(error) if is_worth_another_try(&error) => {}
                Err(error) => return Err(ExchangeError::Receive(error)),
            }
        }
    }

    /// Runs `work` without counting its time, because the server is not responsible for it.
    pub(crate) fn pause<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.deadline.at += start.elapsed();
        result
    }

    fn send_some(&mut self, bytes: &[u8]) -> Result<usize, ExchangeError> {
        loop {
            let left = self.deadline.left("sending the request")?;
            let socket = self.stream.socket();
            // With TLS, writing may have to read first.
            socket
                .set_write_timeout(Some(left))
                .and_then(|()| socket.set_read_timeout(Some(left)))
                .map_err(ExchangeError::Send)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ExchangeError::Send(io::ErrorKind::WriteZero.into())),
                Ok(count) => return Ok(count),
                Err(error) if is_worth_another_try(&error) => {}
                Err(error) => return Err(ExchangeError::Send(error)),
            }
        }
    }
}

fn shake_hands(mut socket: TcpStream, tls: &Tls, to: &str, deadline: Deadline) -> Result<Wire, ExchangeError> {
    let failed = |why: String| ExchangeError::Tls { to: to.to_owned(), why };
    let begun = ClientConnection::new(tls.config.clone(), tls.name.clone());
    let mut connection = begun.map_err(|error| failed(error.to_string()))?;
    while connection.is_handshaking() {
        let left = deadline.left("beginning TLS")?;
        let limited = socket
            .set_read_timeout(Some(left))
            .and_then(|()| socket.set_write_timeout(Some(left)));
        match limited.and_then(|()| connection.complete_io(&mut socket)) {
            Ok(_) => {}
            Err(error) if is_worth_another_try(&error) => {}
            Err(error) => return Err(failed(pp_tls::words(&error))),
        }
    }
    Ok(Wire::Encrypted(Box::new(StreamOwned::new(connection, socket))))
}

/// True if the wait ended without a result. The time limit decides about another one.
fn is_worth_another_try(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Resolves the name in a separate thread, because the system's resolver has no time limit.
fn resolve(name: &str, deadline: Deadline) -> Result<Vec<IpAddr>, ExchangeError> {
    let (answer, answered) = mpsc::channel();
    let asked = name.to_owned();
    thread::spawn(move || {
        let found = (asked.as_str(), 0).to_socket_addrs();
        // After the time limit the receiver is gone.
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
    /// The remaining time, never zero.
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
