//! The frames of `text/event-stream`, both ways: written by the API, read by its clients.

mod parser;

use std::io::Write as _;

use bytes::Bytes;
use serde::Serialize;

use crate::domain::Position;

pub use parser::{Parser, SseError, Told};

/// The media type.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// The header with which a client goes on from where it was.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// The name of what every stream begins with, once it is known from where.
pub const START: &str = "start";

/// The name of what tells that a stream begins anew: what came before the place it names is not known any more.
pub const RESET: &str = "reset";

/// The name of what the stream of one work begins with: the work itself.
pub const WORK: &str = "work";

/// The name of the counters.
pub const STATS: &str = "stats";

/// One event; without a name it is what browsers call a message.
pub fn event(name: Option<&str>, id: Option<&Position>, data: &impl Serialize) -> Bytes {
    let mut frame = Vec::with_capacity(256);
    // Nothing here fails: it is written to memory, and no key of these types is anything but a text.
    if let Some(name) = name {
        let _ = writeln!(frame, "event: {name}");
    }
    if let Some(id) = id {
        let _ = writeln!(frame, "id: {id}");
    }
    frame.extend_from_slice(b"data: ");
    let _ = serde_json::to_writer(&mut frame, data);
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// What keeps a connection alive, and tells a client who gets little from where to go on.
pub fn heartbeat(position: Option<&Position>) -> Bytes {
    match position {
        Some(position) => format!(": heartbeat\nid: {position}\n\n").into(),
        None => Bytes::from_static(b": heartbeat\n\n"),
    }
}

/// How soon a client that was cut is to come back, in milliseconds.
pub fn retry(milliseconds: u32) -> Bytes {
    format!("retry: {milliseconds}\n\n").into()
}
