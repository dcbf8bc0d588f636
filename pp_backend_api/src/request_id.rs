//! The id of a request: the client's `X-Request-Id`, or a new one. Every answer has it, and so have lines of the log.

use actix_web::dev::RequestHead;
use actix_web::http::header::{HeaderName, HeaderValue};
use pp_lib::runtime::new_message_id;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over.
const LONGEST: usize = 128;

/// The id of the request with this head. An id that is not 1 to 128 of `A-Z a-z 0-9 . _ : / + = -` is replaced.
pub(crate) fn of(head: &RequestHead) -> HeaderValue {
    let usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(byte);
    let given = head.headers.get(REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(usual)
    });
    given.cloned().unwrap_or_else(new)
}

fn new() -> HeaderValue {
    let id = new_message_id();
    HeaderValue::from_str(id.as_str()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}
