//! What an accepted connection may cost: how long bytes may wait for a client that does not read, and how many.
//!
//! A body that cannot be written is not asked for more, so it cannot end its connection; the kernel does.

use std::io;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use socket2::SockRef;

/// Bounds what an accepted connection keeps. Where the system has no such bounds, there are none.
pub(crate) fn bound(stream: &TcpStream, unread: Duration) {
    let socket = SockRef::from(stream);
    if let Err(error) = stream.set_nodelay(true).and_then(|()| set(&socket, unread)) {
        log::debug!("a connection without bounds: {error}");
    }
}

#[cfg(target_os = "linux")]
fn set(socket: &SockRef<'_>, unread: Duration) -> io::Result<()> {
    /// How many bytes that were not sent yet the kernel keeps for a connection.
    const NOT_SENT: u32 = 128 * 1024;
    socket.set_tcp_user_timeout(Some(unread))?;
    socket.set_tcp_notsent_lowat(NOT_SENT)
}

#[cfg(not(target_os = "linux"))]
fn set(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
