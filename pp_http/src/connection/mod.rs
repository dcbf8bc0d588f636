//! A layer between a client's socket and the web server (actix-http).
//!
//! It bounds the memory of a connection, answers malformed requests, repairs heads that the server would misread and
//! notices when the client leaves. The server reads and writes it like a socket. docs/decisions/026 gives the reasons.

mod chunks;
mod framing;
mod head;
mod pace;
pub(crate) mod refusal;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::rt::time::{Sleep, sleep};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use self::framing::{End, Framing};
pub(crate) use self::pace::Pace;
use self::refusal::Refusal;
use crate::budget::{Budget, Share};
use crate::metrics::OpenConnection;
use crate::peers::Place;
use crate::wire::Wire;

/// The number of bytes read from the socket at once.
const READ_SIZE: usize = 8 * 1024;
/// The number of bytes the server gets before it must process them. Without this limit it takes 128 KiB from a fast
/// client.
const MAX_GIVEN: usize = 16 * 1024;
/// The number of requests the server may leave unanswered before it gets more. Requests received together count as one
/// batch and are not split.
const MAX_UNANSWERED: usize = 4;
/// The part of an incomplete head that is not charged to the budget.
const FREE_HEAD_BYTES: usize = 1024;
/// The time and the bytes a client gets to finish sending after a refusal. Without them it would see a reset instead of
/// the refusal.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// The client of a connection, for handlers that wait. A handler gets it with `request.conn_data::<Client>()`.
#[derive(Clone, Debug)]
pub struct Client {
    left: CancellationToken,
    done: Arc<AtomicBool>,
}

impl Client {
    /// Declares this answer the last one, and a stream. Everything the client sends from now on is discarded, and it may
    /// take the stream at any pace.
    pub fn takes_no_more(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Waits until the client closes its side of the connection.
    pub async fn left(&self) {
        self.left.cancelled().await;
    }
}

pub(crate) struct Connection {
    socket: Wire,
    framing: Framing,
    /// The bytes the server may read, starting at `at`.
    ready: Vec<u8>,
    at: usize,
    /// The bytes the server has read since it last had to wait.
    given: usize,
    /// The requests the server has read since it last wrote.
    ahead: usize,
    /// True when nothing more will be read.
    ended: bool,
    /// True when a request has begun.
    started: bool,
    head_timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    heads: Share,
    pace: Pace,
    _place: Place,
    client: Client,
    closing: Closing,
    _open: OpenConnection,
}

/// The way the connection ends.
enum Closing {
    /// The server decides.
    Normal,
    /// The refusal is being written; the number is the position.
    Saying(Vec<u8>, usize),
    /// The refusal is written.
    Said,
    /// The rest of the client's bytes is being discarded.
    Lingering(Pin<Box<Sleep>>, usize),
}

impl Connection {
    /// The client must send a head within `head_timeout`, and keeps the `pace` when it reads. `heads` bounds the
    /// incomplete heads of all connections, and `place` is the peer's.
    pub(crate) fn new(
        socket: Wire,
        head_timeout: Duration,
        pace: Pace,
        heads: &Budget,
        place: Place,
        open: OpenConnection,
    ) -> Self {
        let client = Client {
            left: CancellationToken::new(),
            done: Arc::default(),
        };
        Self {
            socket,
            framing: Framing::new(),
            ready: Vec::new(),
            at: 0,
            given: 0,
            ahead: 0,
            ended: false,
            started: false,
            head_timeout,
            deadline: None,
            heads: heads.share(),
            pace,
            _place: place,
            client,
            closing: Closing::Normal,
            _open: open,
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Receives bytes, or notices an end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead >= MAX_UNANSWERED {
            return Poll::Pending;
        }
        let mut bytes = [0; READ_SIZE];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer)? {
            Poll::Pending => return self.poll_deadline(cx).map(Ok),
            Poll::Ready(()) if buffer.filled().is_empty() => self.leave(),
            Poll::Ready(()) => self.received(buffer.filled()),
        }
        Poll::Ready(Ok(()))
    }

    fn received(&mut self, bytes: &[u8]) {
        self.started = true;
        if self.client.done.load(Ordering::Relaxed) {
            return;
        }
        match self.framing.take(bytes, &mut self.ready) {
            Ok(heads) => self.ahead += heads,
            Err(End::Refused(refusal)) => return self.refuse(refusal),
            Err(End::Broken) => return self.ended = true,
        }
        let partial = self.framing.partial_len();
        if partial == 0 {
            self.deadline = None;
        }
        let charged = if partial > FREE_HEAD_BYTES { partial } else { 0 };
        if !self.heads.resize(charged) {
            let detail = "too many requests have large heads; try again in a moment";
            self.refuse(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
    }

    /// Ready when a head took too long. The time of the first head starts with the connection.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.framing.in_head() || (self.started && self.framing.partial_len() == 0) {
            return Poll::Pending;
        }
        let timeout = self.head_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        let detail = format!("the head of the request took longer than {} ms", timeout.as_millis());
        self.refuse(Refusal::new(StatusCode::REQUEST_TIMEOUT, detail));
        Poll::Ready(())
    }

    /// Refuses the request and reads no more. The refusal follows the answers to the requests before it.
    fn refuse(&mut self, refusal: Refusal) {
        log::debug!("a request is refused: {refusal:?}");
        crate::metrics::refused(refusal.status);
        self.closing = Closing::Saying(refusal.render(), 0);
        self.leave();
    }

    /// Watches the pace of the client, from the outcome of a write.
    fn paced<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>, bytes: usize) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.pace.took(bytes);
            return written;
        }
        if self.client.done.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        ready!(self.pace.poll_waits(cx));
        log::debug!("a connection ends: its client takes the answer too slowly");
        self.socket.reset();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn leave(&mut self) {
        self.ended = true;
        self.client.left.cancel();
    }

    /// Discards the client's bytes until it closes the connection or [`LINGER`] is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering(until, left) = &mut self.closing else {
            return Poll::Ready(());
        };
        let mut bytes = [0; READ_SIZE];
        while *left > 0 {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *left = left.saturating_sub(buffer.filled().len()),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.at < this.ready.len() {
                if this.given >= MAX_GIVEN {
                    this.given = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let some = buffer.remaining().min(this.ready.len() - this.at);
                buffer.put_slice(&this.ready[this.at..this.at + some]);
                (this.at, this.given) = (this.at + some, this.given + some);
                if this.at == this.ready.len() {
                    (this.ready, this.at) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            match this.poll_receive(cx) {
                Poll::Ready(received) => received?,
                Poll::Pending => {
                    this.given = 0;
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.ahead) >= MAX_UNANSWERED {
            // The server may receive again.
            cx.waker().wake_by_ref();
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        let count = match &written {
            Poll::Ready(Ok(count)) => *count,
            _ => 0,
        };
        this.paced(cx, written, count)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.paced(cx, flushed, 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::Normal => return Pin::new(&mut this.socket).poll_shutdown(cx),
                Closing::Saying(bytes, at) if *at < bytes.len() => {
                    *at += ready!(Pin::new(&mut this.socket).poll_write(cx, &bytes[*at..]))?;
                }
                Closing::Saying(..) => this.closing = Closing::Said,
                Closing::Said => {
                    ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
                    this.closing = Closing::Lingering(Box::pin(sleep(LINGER)), LINGER_BYTES);
                }
                Closing::Lingering(..) => return this.poll_linger(cx).map(Ok),
            }
        }
    }
}
