//! The way to a server up to the end of the handshake of TLS.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use pp_tls::rustls::pki_types::ServerName;
use pp_tls::rustls::{ClientConnection, StreamOwned};
use pp_tls::{Trust, words};
use socket2::{SockRef, TcpKeepalive};

use super::address::Address;
use super::encryption::Encryption;

/// The message that asks a server for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A server that was asked for TLS.
pub(super) enum Dialled {
    /// TLS is ready.
    Encrypted(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// There is no TLS, or no server. The connection is closed again.
    Plain,
}

/// Connects and asks for TLS. With `prefer`, what fails because of TLS is no error.
pub(super) fn dial(address: &Address, encryption: &Encryption, trust: &Trust) -> Result<Dialled, String> {
    let must = encryption.mode().is_required();
    let failed = |error: &dyn std::fmt::Display| format!("connection to server at {address} failed: {error}");
    let config = encryption.client(trust)?;
    let name = ServerName::try_from(address.name.clone());
    let name = name.map_err(|_| format!("{:?} is no name that TLS can check", address.name))?;
    let deadline = Instant::now() + address.connect_timeout();
    let mut socket = match connect(address, deadline) {
        Ok(socket) => socket,
        Err(error) if must || is_timeout(&error) => return Err(failed(&in_time(error))),
        Err(_) => return Ok(Dialled::Plain),
    };
    let asked = ask(&mut socket, deadline);
    match asked {
        Ok(b'S') => {}
        Ok(b'N' | b'E') => return Ok(Dialled::Plain),
        Ok(_) => return Err(failed(&"it is not a PostgreSQL server")),
        Err(error) if must || is_timeout(&error) => return Err(failed(&in_time(error))),
        Err(_) => return Ok(Dialled::Plain),
    }
    match shake_hands(socket, config, name, deadline) {
        Ok(stream) => Ok(Dialled::Encrypted(Box::new(stream))),
        Err(error) if must || is_timeout(&error) => Err(failed(&match is_timeout(&error) {
            true => in_time(error).to_string(),
            false => words(&error),
        })),
        Err(_) => Ok(Dialled::Plain),
    }
}

fn connect(address: &Address, deadline: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = (address.at.as_str(), address.port()).to_socket_addrs()?.collect();
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for (index, one) in addresses.iter().enumerate() {
        // An address that never answers leaves time for the others.
        let share = left(deadline)? / (addresses.len() - index) as u32;
        match TcpStream::connect_timeout(one, share.max(Duration::from_micros(1))) {
            Ok(socket) => {
                bound(&socket, address)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sets what libpq would set: a server that is gone without a word is noticed by TCP.
fn bound(socket: &TcpStream, address: &Address) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let seconds = |name: &str| address.number(name).filter(|number| *number > 0);
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = seconds("keepalives_idle") {
        keepalive = keepalive.with_time(Duration::from_secs(idle.into()));
    }
    if let Some(interval) = seconds("keepalives_interval") {
        keepalive = keepalive.with_interval(Duration::from_secs(interval.into()));
    }
    if let Some(count) = seconds("keepalives_count") {
        keepalive = keepalive.with_retries(count);
    }
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    if let Some(milliseconds) = seconds("tcp_user_timeout") {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(milliseconds.into())))?;
    }
    Ok(())
}

/// Asks for TLS and reads the answer: one byte and no more, or what follows would not be encrypted.
fn ask(socket: &mut TcpStream, deadline: Instant) -> io::Result<u8> {
    limit(socket, deadline)?;
    socket.write_all(&SSL_REQUEST)?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    Ok(answer[0])
}

fn shake_hands(
    mut socket: TcpStream,
    config: std::sync::Arc<pp_tls::rustls::ClientConfig>,
    name: ServerName<'static>,
    deadline: Instant,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        limit(&socket, deadline)?;
        tls.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(tls, socket))
}

fn limit(socket: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = left(deadline)?;
    socket.set_read_timeout(Some(left))?;
    socket.set_write_timeout(Some(left))
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// The error in libpq's words if the time was over.
fn in_time(error: io::Error) -> io::Error {
    match is_timeout(&error) {
        true => io::Error::other("timeout expired"),
        false => error,
    }
}
