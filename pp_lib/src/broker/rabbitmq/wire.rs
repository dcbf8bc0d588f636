//! A connection to the server, with TLS or without.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use futures_io::{AsyncRead, AsyncWrite};
use pp_tls::rustls::ClientConfig;
use pp_tls::rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};

/// A plain connection of the library's transport.
type Plain = <Tokio as Reactor>::TcpStream;

/// TLS with one server.
#[derive(Clone, Debug)]
pub(super) struct Encryption {
    pub(super) config: Arc<ClientConfig>,
    /// The name in the server's certificate.
    pub(super) name: ServerName<'static>,
}

impl Encryption {
    /// Begins TLS on a connection. It takes as long as the server does; the caller has a time limit.
    pub(super) async fn shake_hands(self, plain: Plain) -> io::Result<Wire> {
        let connector = TlsConnector::from(self.config);
        let stream = connector.connect(self.name, plain.compat()).await?;
        Ok(Wire::Encrypted(Box::new(stream.compat())))
    }
}

/// The bytes' way to the server.
pub(super) enum Wire {
    Plain(Plain),
    Encrypted(Box<Compat<TlsStream<Compat<Plain>>>>),
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_close(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_close(context),
        }
    }
}
