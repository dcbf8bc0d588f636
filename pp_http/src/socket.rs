//! Limits the time and the number of bytes that wait for a client that does not read.
//!
//! The server does not ask a body for more while it cannot write. Such a body cannot end its connection, but the kernel
//! can.

use std::io;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use socket2::SockRef;

/// Limits what an accepted connection keeps. Systems without such limits keep their own.
pub(crate) fn bound(stream: &TcpStream, unread: Duration) {
    let socket = SockRef::from(stream);
    if let Err(error) = stream.set_nodelay(true).and_then(|()| set(&socket, unread)) {
        log::debug!("a connection without bounds: {error}");
    }
}

#[cfg(target_os = "linux")]
fn set(socket: &SockRef<'_>, unread: Duration) -> io::Result<()> {
    /// The maximum number of unsent bytes that the kernel keeps for a connection.
    const NOT_SENT: u32 = 128 * 1024;
    socket.set_tcp_user_timeout(Some(unread))?;
    socket.set_tcp_notsent_lowat(NOT_SENT)
}

#[cfg(not(target_os = "linux"))]
fn set(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
