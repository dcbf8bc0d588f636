//! Server-Sent Events as response bodies. Frames arrive rendered and are passed on with heartbeats in between, so a
//! client costs little more than its connection.

use std::convert::Infallible;
use std::future::pending;
use std::sync::LazyLock;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::rt::time::{Instant, Interval, interval_at};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::unfold;
use pp_http::{Client, Place};
use pp_lib::domain::Position;
use pp_lib::streams::{Message, StatsSubscription, Subscription, sse};
use serde_json::json;

use crate::Api;
use crate::error::ApiError;

/// The pause before a disconnected client returns, in milliseconds.
const RETRY: u32 = 1000;

/// The answer to HEAD, without a body.
pub(crate) fn head() -> HttpResponse {
    answer().finish()
}

/// A stream that begins with these frames. It ends with its source, or when the client leaves.
/// `place` is the peer's; see [`place`].
pub(crate) fn stream(
    api: &Api,
    request: &HttpRequest,
    place: Option<Place>,
    beginning: Vec<Bytes>,
    source: impl Source,
) -> HttpResponse {
    let client = request.conn_data::<Client>().cloned();
    if let Some(client) = &client {
        client.takes_no_more();
    }
    let body = Body {
        beginning: beginning.into_iter(),
        source,
        heartbeats: heartbeats(api.config.heartbeat),
        client,
        _place: place,
    };
    let frames = unfold(body, |mut body| async move {
        let frame = body.next().await?;
        Some((Ok::<_, Infallible>(frame), body))
    });
    answer().streaming(frames)
}

/// A place for one more stream of the peer. The error is 503.
pub(crate) fn place(api: &Api, request: &HttpRequest) -> Result<Option<Place>, ApiError> {
    let Some(peer) = request.peer_addr() else {
        return Ok(None);
    };
    let place = api.streaming.admit(peer.ip());
    let place = place.ok_or_else(|| ApiError::unavailable("this address has too many streams; close one of them"));
    place.map(Some).map_err(|error| error.code("too_many_streams"))
}

/// A source of frames.
pub(crate) trait Source: 'static {
    /// The next frame, or `None` at the end. The call may be cancelled and repeated.
    async fn next_frame(&mut self) -> Option<Bytes>;

    /// The position after all frames so far, if it is known.
    fn position(&self) -> Option<&Position>;
}

impl Source for Subscription {
    async fn next_frame(&mut self) -> Option<Bytes> {
        self.next().await.map(frame)
    }

    fn position(&self) -> Option<&Position> {
        Subscription::position(self)
    }
}

impl Source for StatsSubscription {
    async fn next_frame(&mut self) -> Option<Bytes> {
        self.next().await
    }

    fn position(&self) -> Option<&Position> {
        None
    }
}

fn answer() -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, sse::CONTENT_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Some proxies hold back small pieces unless they see this header.
        .insert_header(("x-accel-buffering", "no"))
        // Nothing follows on the connection, so a stop need not wait for another request.
        .force_close();
    answer
}

/// The frame at the start of each stream.
pub(crate) fn retry() -> Bytes {
    sse::retry(RETRY)
}

fn frame(message: Message) -> Bytes {
    match message {
        Message::Started(at) => sse::event(Some(sse::START), Some(&at), &json!({})),
        Message::Change(bytes) => bytes,
        Message::Reset(head) => reset(&head),
    }
}

/// Tells a client to start again from this position.
pub(crate) fn reset(head: &Position) -> Bytes {
    let reason = "earlier events are no longer available; read the current state again";
    sse::event(Some(sse::RESET), Some(head), &json!({ "reason": reason }))
}

/// The first message of a stream, which gives its position.
pub(crate) async fn first(subscription: &mut Subscription) -> Result<Message, ApiError> {
    let stopping = || ApiError::unavailable("the service is stopping");
    subscription.next().await.ok_or_else(stopping)
}

/// The body of a stream.
struct Body<S> {
    beginning: std::vec::IntoIter<Bytes>,
    source: S,
    heartbeats: Interval,
    client: Option<Client>,
    _place: Option<Place>,
}

/// Ticks at this interval. The heartbeats of all streams fall on the same moments, so that a process with thousands of
/// streams wakes up once for all of them.
fn heartbeats(every: Duration) -> Interval {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    let now = Instant::now();
    let into_second = Duration::from_nanos(now.duration_since(*EPOCH).subsec_nanos().into());
    interval_at(now + every - into_second.min(every / 2), every)
}

impl<S: Source> Body<S> {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.beginning.next() {
            return Some(frame);
        }
        let left = async {
            match &self.client {
                Some(client) => client.left().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = left => None,
            frame = self.source.next_frame() => frame,
            _ = self.heartbeats.tick() => Some(sse::heartbeat(self.source.position())),
        }
    }
}
