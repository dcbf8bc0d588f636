//! The bytes' way between a client and a connection: TLS if the service has a certificate.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::rt::net::TcpStream;
use pp_lib::tls::Identity;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection::refusal::Refusal;

/// The first byte of a client that speaks TLS.
const HANDSHAKE: u8 = 22;

/// Admits accepted connections.
#[derive(Clone)]
pub(crate) struct Entrance {
    tls: Option<TlsAcceptor>,
    limit: Duration,
}

impl Entrance {
    /// With an identity, a client must finish the handshake within `limit`.
    pub(crate) fn new(identity: Option<&Arc<Identity>>, limit: Duration) -> io::Result<Self> {
        let server = identity.map(|identity| identity.server()).transpose();
        let tls = server.map_err(io::Error::other)?.map(TlsAcceptor::from);
        Ok(Self { tls, limit })
    }

    /// Shakes hands. A connection counts as one of the server's from its beginning, so that the number of handshakes is
    /// bounded as well.
    pub(crate) async fn admit(&self, stream: TcpStream) -> io::Result<Wire> {
        let Some(tls) = &self.tls else {
            return Ok(Wire::Plain(stream));
        };
        let admitted = timeout(self.limit, shake_hands(tls, stream)).await;
        let admitted = admitted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        admitted.inspect_err(|error| log::debug!("a connection ends before its first request: {error}"))
    }

    /// Refuses a connection of a peer that has enough of them.
    pub(crate) async fn turn_away(&self, mut stream: TcpStream) -> io::Error {
        if self.tls.is_none() {
            let detail = "this address has too many connections; close some, or try again in a moment";
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail).code("too_many_connections");
            let _ = timeout(self.limit, stream.write_all(&refusal.render())).await;
            let _ = stream.shutdown().await;
        }
        log::debug!("a connection is refused: its peer has too many");
        io::Error::other("too many connections of one peer")
    }
}

async fn shake_hands(tls: &TlsAcceptor, mut stream: TcpStream) -> io::Result<Wire> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "this port speaks HTTPS; use https://");
        stream.write_all(&refusal.render()).await?;
        stream.shutdown().await?;
        return Err(io::Error::other("the client does not speak TLS"));
    }
    Ok(Wire::Encrypted(Box::new(tls.accept(stream).await?)))
}

/// A connection as the client made it.
pub(crate) enum Wire {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Ends the connection with a reset once it is dropped, so that the kernel keeps no unsent bytes.
    pub(crate) fn reset(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Encrypted(stream) => stream.get_ref().0,
        };
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Encrypted(stream) => match Pin::new(stream).poll_read(cx, buffer) {
                // Many clients leave without a farewell. Requests have lengths, so nothing is mistaken for a whole one.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => read,
            },
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
