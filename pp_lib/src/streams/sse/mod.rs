//! The format `text/event-stream`, written by the API and parsed by its clients.

mod parser;

use std::io::Write as _;

use bytes::Bytes;
use serde::Serialize;

use crate::domain::Position;

pub use parser::{Frame, Parser, SseError};

/// The media type.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// The header with the id after which a client continues.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// The name of the first event of every stream, which gives its position.
pub const START: &str = "start";

/// The name of the event that restarts a stream. Changes before its position are no longer available.
pub const RESET: &str = "reset";

/// The name of the first event of a single work's stream, which has the work itself.
pub const WORK: &str = "work";

/// The name of the events with counters.
pub const STATS: &str = "stats";

/// An event. Browsers call an event without a name a message.
pub fn event(name: Option<&str>, id: Option<&Position>, data: &impl Serialize) -> Bytes {
    let mut frame = Vec::with_capacity(256);
    // Serialization cannot fail: it writes to memory, and all keys are texts.
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

/// A heartbeat, which keeps the connection alive and gives the position to clients that get few events.
pub fn heartbeat(position: Option<&Position>) -> Bytes {
    match position {
        Some(position) => format!(": heartbeat\nid: {position}\n\n").into(),
        None => Bytes::from_static(b": heartbeat\n\n"),
    }
}

/// The time in milliseconds after which a disconnected client should return.
pub fn retry(milliseconds: u32) -> Bytes {
    format!("retry: {milliseconds}\n\n").into()
}
