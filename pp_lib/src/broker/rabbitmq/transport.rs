//! The way of the client library's bytes: Tokio's, with [`Greeting`] and [`Frames`] on what comes in.

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

/// How many bytes are read at once: what is kept back of them is held besides the budget.
const AT_ONCE: usize = 256 << 10;

/// What a connection runs on.
pub(super) type Transport = Runtime<RuntimeParts<Tokio, Readable>>;

/// The current Tokio runtime, for one connection: it brings nothing in that the library cannot read, and no message that
/// has no room behind the gate; and it tells the server's version, whose greeting may take this long.
pub(super) fn transport(greeted: Greeted, limit: Duration, gate: Option<Gate>) -> Transport {
    let readable = Readable {
        tokio: Tokio::current(),
        greeted,
        limit,
        gate,
    };
    Runtime::new(RuntimeParts::new(Tokio::current(), readable))
}

/// Tokio's reactor, but for its connections.
#[derive(Clone, Debug)]
pub(super) struct Readable {
    tokio: Tokio,
    greeted: Greeted,
    limit: Duration,
    gate: Option<Gate>,
}

impl Reactor for Readable {
    type TcpStream = ReadableStream<<Tokio as Reactor>::TcpStream>;
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
        async move {
            Ok(ReadableStream {
                stream: connecting.await?,
                greeting: Greeting::new(greeted, limit),
                frames: Frames::behind(gate),
            })
        }
    }
}

/// A connection of which only what can be read is read.
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
                    // Not closed in order: the answer to that would come behind messages that nobody takes any more.
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                self.frames.go_on();
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
