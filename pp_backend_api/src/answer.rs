//! Answers that may be large: within the budget for them until they are sent, and in pages that are bounded in bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::HttpResponseBuilder;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CONTENT_TYPE, LINK};
use actix_web::web::Bytes;
use pp_http::{Budget, Share};
use serde::Serialize;

use crate::error::ApiError;

/// The media type of every answer that is no error and no stream.
pub(crate) const JSON: &str = "application/json";
/// Answers up to this size are not counted: the server has as much of any answer in its own buffer.
const UNCOUNTED: usize = 4 * 1024;
/// How much the server is given at once. It keeps up to 32 KiB, and what it is given last.
const SLICE: usize = 16 * 1024;
/// Where a page ends that has fewer items than were asked for.
const PAGE_BYTES: usize = 1024 * 1024;

/// A body that counts as held until the server has taken all of it.
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

/// Answers with these bytes, or that there is no room for them.
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
        return Err(ApiError::unavailable(
            "too many large answers are under way already; try again in a moment",
        ));
    }
    Ok(response.body(Held { rest, _share: share }))
}

/// The items of a page as a JSON array, and how many they are: the first `limit` of these, or fewer that have the size
/// of a page.
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

/// Answers with a page of these items, of which there may be one more than `limit`, and a link to the next page where
/// there is one: `next` makes it from the last item that is shown.
pub(crate) fn send_page<T: Serialize>(
    budget: &Budget,
    items: &[T],
    limit: u16,
    next: impl FnOnce(&T) -> String,
) -> Result<HttpResponse, ApiError> {
    let (array, count) = page(items, limit.into())?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, JSON));
    if let (true, Some(last)) = (count < items.len(), items[..count].last()) {
        response.insert_header((LINK, format!("<{}>; rel=\"next\"", next(last))));
    }
    send(budget, response, array)
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
    fn an_answer_beyond_the_budget_is_refused_until_those_before_it_are_sent() {
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
    fn a_page_ends_at_its_limit_or_at_its_size() {
        assert_eq!(shown(&[1, 2, 3], 2), ("[1,2]".to_owned(), 2));
        assert_eq!(shown(&[1, 2, 3], 5), ("[1,2,3]".to_owned(), 3));
        assert_eq!(shown::<u8>(&[], 5), ("[]".to_owned(), 0));
        let large = "x".repeat(PAGE_BYTES / 2 - 10);
        let (array, count) = shown(&[&large, &large, &large], 3);
        assert_eq!((array.len(), count), (2 * large.len() + 7, 2));
        let larger = "x".repeat(2 * PAGE_BYTES);
        assert_eq!(shown(&[&larger, &larger], 2).1, 1, "a page has one item at least");
    }
}
