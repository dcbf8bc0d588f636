//! The transport of the client library: Tokio's, with TLS for `amqps://`, and [`Greeting`] and [`Frames`] on received
//! bytes.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;

use super::budget::Gate;
use super::frames::Frames;
use super::greeting::{Greeted, Greeting};
use super::wire::{Encryption, Wire};

/// The number of bytes read at once. Held-back bytes of one read are not charged to the budget.
const AT_ONCE: usize = 256 << 10;

/// The runtime of a connection.
pub(super) type Transport = Runtime<RuntimeParts<Tokio, Readable>>;

/// The current Tokio runtime for one connection. It passes no frame that the library cannot parse and no message
/// without room behind the gate. It reports the server's version, whose greeting must arrive within `limit`.
pub(super) fn transport(
    encryption: Option<Encryption>,
    greeted: Greeted,
    limit: Duration,
    gate: Option<Gate>,
) -> Transport {
    let readable = Readable {
        tokio: Tokio::current(),
        encryption,
        greeted,
        limit,
        gate,
    };
    Runtime::new(RuntimeParts::new(Tokio::current(), readable))
}

/// Tokio's reactor with wrapped connections.
#[derive(Clone, Debug)]
pub(super) struct Readable {
    tokio: Tokio,
    encryption: Option<Encryption>,
    greeted: Greeted,
    limit: Duration,
    gate: Option<Gate>,
}

impl Reactor for Readable {
    type TcpStream = ReadableStream<Wire>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.tokio.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.tokio.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.tokio.tcp_connect_addr(address);
        let (greeted, limit, gate) = (self.greeted.clone(), self.limit, self.gate.clone());
        let encryption = self.encryption.clone();
        async move {
            let plain = connecting.await?;
            Ok(ReadableStream {
                stream: match encryption {
                    Some(encryption) => encryption.shake_hands(plain).await?,
                    None => Wire::Plain(plain),
                },
                greeting: Greeting::new(greeted, limit),
                frames: Frames::behind(gate),
            })
        }
    }
}

/// A connection that passes only readable frames.
#[derive(Debug)]
pub(super) struct ReadableStream<S> {
    stream: S,
    greeting: Greeting,
    frames: Frames,
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadableStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.frames.is_empty() {
            if let Some(gate) = self.frames.waiting() {
                gate.wait(context.waker());
                if gate.is_over() {
                    // The connection is aborted, because the answer to an orderly close would come after messages that
                    // are never taken.
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                self.frames.process();
                if self.frames.is_empty() && self.frames.waiting().is_some() {
                    return Poll::Pending;
                }
                continue;
            }
            let most = buffer.len().min(AT_ONCE);
            let Poll::Ready(count) = Pin::new(&mut self.stream).poll_read(context, &mut buffer[..most])? else {
                return self.greeting.poll_limit(context).map(Err);
            };
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            self.greeting.take_in(&buffer[..count])?;
            self.frames.take_in(&buffer[..count]);
        }
        Poll::Ready(Ok(self.frames.hand_out(buffer)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadableStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
