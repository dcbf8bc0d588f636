//! Large answers: counted in a budget until they are sent, and split into pages of limited size.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CONTENT_TYPE, LINK};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use pp_http::{Budget, Share};
use pp_lib::domain::{PAGE_BYTES, is_full};
use serde::Serialize;

use crate::Api;
use crate::error::ApiError;

/// The media type of every answer except errors and streams.
pub(crate) const JSON: &str = "application/json";
/// Answers up to this size are not counted. The server has a buffer of this size for every answer.
const UNCOUNTED: usize = 4 * 1024;
/// The number of bytes the server gets at once. It keeps up to 32 KiB and the last slice.
const SLICE: usize = 16 * 1024;

/// A body that is counted until the server has taken all of it.
struct Held {
    rest: Bytes,
    _share: Share,
}

impl MessageBody for Held {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let some = self.rest.len().min(SLICE);
        let slice = self.rest.split_to(some);
        Poll::Ready((!slice.is_empty()).then_some(Ok(slice)))
    }
}

/// Answers with these bytes, or with 503 if the budget has no room.
pub(crate) fn send(
    budget: &Budget,
    mut response: HttpResponseBuilder,
    body: impl Into<Bytes>,
) -> Result<HttpResponse, ApiError> {
    let rest = body.into();
    if rest.len() <= UNCOUNTED {
        return Ok(response.body(rest));
    }
    let mut share = budget.share();
    if !share.resize(rest.len()) {
        return Err(
            ApiError::unavailable("too many large answers are being sent; try again in a moment").code("no_room"),
        );
    }
    Ok(response.body(Held { rest, _share: share }))
}

/// The items of a page as a JSON array, and their number: at most `limit`, or fewer once the page is large enough.
fn page<T: Serialize>(items: &[T], limit: usize) -> Result<(Vec<u8>, usize), ApiError> {
    let (mut array, mut count) = (b"[".to_vec(), 0);
    for item in items.iter().take(limit) {
        let end = array.len();
        if count > 0 {
            array.push(b',');
        }
        serde_json::to_writer(&mut array, item).map_err(|_| ApiError::internal())?;
        if count > 0 && array.len() > PAGE_BYTES {
            array.truncate(end);
            break;
        }
        count += 1;
    }
    array.push(b']');
    array.shrink_to_fit();
    Ok((array, count))
}

/// Answers with JSON.
pub(crate) fn send_json(
    budget: &Budget,
    mut response: HttpResponseBuilder,
    value: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec(value).map_err(|_| ApiError::internal())?;
    response.insert_header((CONTENT_TYPE, JSON));
    send(budget, response, body)
}

/// Answers with a page of these items, which the store read with a limit one higher. If there are more of them, or the
/// store's page ended because of its bytes, the answer links to the next page, whose path and query `next` makes from the
/// last item shown. That page may be empty.
pub(crate) fn send_page<T: Serialize>(
    api: &Api,
    items: &[T],
    limit: u16,
    size: impl Fn(&T) -> usize,
    next: impl FnOnce(&T) -> String,
) -> Result<HttpResponse, ApiError> {
    let (array, count) = page(items, limit.into())?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, JSON));
    let more = count < items.len() || is_full(items, PAGE_BYTES, size);
    if let (true, Some(last)) = (more, items[..count].last()) {
        let link = format!("<{}{}>; rel=\"next\"", api.config.prefix, next(last));
        response.insert_header((LINK, link));
    }
    send(&api.answers, response, array)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use actix_web::ResponseError as _;

    use super::*;

    fn shown<T: Serialize>(items: &[T], limit: usize) -> (String, usize) {
        let (array, count) = page(items, limit).unwrap();
        (String::from_utf8(array).unwrap(), count)
    }

    #[test]
    fn an_answer_beyond_the_budget_waits_for_earlier_ones_to_be_sent() {
        let (budget, large) = (Budget::new(80_000), vec![b' '; 40_000]);
        let first = send(&budget, HttpResponse::Ok(), large.clone()).unwrap();
        let refused = send(&budget, HttpResponse::Ok(), large.clone()).unwrap_err();
        assert_eq!(refused.error_response().status(), 503);
        assert!(send(&budget, HttpResponse::Ok(), vec![b' '; UNCOUNTED]).is_ok());
        let mut body = Box::pin(first.into_body());
        let mut slices = Vec::new();
        while let Poll::Ready(Some(Ok(slice))) = body.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
            slices.push(slice.len());
        }
        assert_eq!(slices, [SLICE, SLICE, 40_000 - 2 * SLICE]);
        drop(body);
        assert!(send(&budget, HttpResponse::Ok(), large).is_ok());
    }

    #[test]
    fn a_page_ends_at_its_limit_or_its_size() {
        assert_eq!(shown(&[1, 2, 3], 2), ("[1,2]".to_owned(), 2));
        assert_eq!(shown(&[1, 2, 3], 5), ("[1,2,3]".to_owned(), 3));
        assert_eq!(shown::<u8>(&[], 5), ("[]".to_owned(), 0));
        let large = "x".repeat(PAGE_BYTES / 2 - 10);
        let (array, count) = shown(&[&large, &large, &large], 3);
        assert_eq!((array.len(), count), (2 * large.len() + 7, 2));
        let larger = "x".repeat(2 * PAGE_BYTES);
        assert_eq!(shown(&[&larger, &larger], 2).1, 1, "a page has at least one item");
    }
}
