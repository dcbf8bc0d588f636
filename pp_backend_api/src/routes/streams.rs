//! Live streams: `/stream`, `/work/{id}/stream` and `/stats/stream`.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::domain::{KindName, Position, Status, WorkCodePrefix};
use pp_lib::streams::{Filter, Message, sse};
use schemars::JsonSchema;
use serde::Deserialize;

use super::search::{parse_status, prefix};
use super::{no_such_work, parse_id, stats};
use crate::error::ApiError;
use crate::openapi::{Operation, Tag, examples};
use crate::{Api, query, stream};

/// The query parameters. Each may occur once, and others are refused.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Params {
    /// The beginning of their codes.
    #[schemars(with = "WorkCodePrefix")]
    work_code: Option<String>,
    /// Their kind.
    #[schemars(with = "KindName")]
    kind: Option<String>,
    /// Their status after the change.
    #[schemars(with = "Status")]
    status: Option<String>,
}

pub(super) async fn all(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let params: Params = query::parse(&request)?;
    let filter = Filter {
        work: None,
        work_code: params.work_code.as_deref().map(prefix).transpose()?,
        kind: params.kind.as_deref().map(query::kind).transpose()?,
        status: params.status.as_deref().map(parse_status).transpose()?,
    };
    let after = last_event_id(&request)?;
    if request.method() == Method::HEAD {
        return Ok(stream::head());
    }
    let place = stream::place(&api, &request)?;
    let subscription = api.streams.subscribe(filter, after)?;
    Ok(stream::stream(
        &api,
        &request,
        place,
        vec![stream::retry()],
        subscription,
    ))
}

/// The work is read after its position in the stream, so that no change is missed.
pub(super) async fn of_work(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    let after = last_event_id(&request)?;
    let is_head = request.method() == Method::HEAD;
    let filter = Filter {
        work: Some(id),
        ..Filter::default()
    };
    let place = stream::place(&api, &request)?;
    let mut subscription = api.streams.subscribe(filter, after)?;
    let first = api.ask(stream::first(&mut subscription)).await?;
    let work = api.ask(api.works.newest(id)).await?.ok_or_else(no_such_work)?;
    if is_head {
        return Ok(stream::head());
    }
    let mut beginning = vec![stream::retry()];
    if let Message::Reset(head) = first {
        beginning.push(stream::reset(&head));
    }
    beginning.push(sse::event(Some(sse::WORK), subscription.position(), &work));
    Ok(stream::stream(&api, &request, place, beginning, subscription))
}

pub(super) async fn stats(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let kind = stats::kind(&request)?;
    if request.method() == Method::HEAD {
        return Ok(stream::head());
    }
    let place = stream::place(&api, &request)?;
    let counters = api.streams.watch_stats(kind)?;
    Ok(stream::stream(&api, &request, place, vec![stream::retry()], counters))
}

/// The position after which a returning client continues.
fn last_event_id(request: &HttpRequest) -> Result<Option<Position>, ApiError> {
    let Some(value) = request.headers().get(sse::LAST_EVENT_ID) else {
        return Ok(None);
    };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || ApiError::bad_request("Last-Event-ID must be the id of an event of this stream, as in 1764-9021:77");
    position.map(Some).ok_or_else(wrong)
}

/// Describes `GET /stream`.
pub(super) fn all_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("follow_works", Tag::Streams)
        .text("The data of each unnamed event is a `StreamedChange`. An event `reset` says that earlier ones are gone.")
        .query::<Params>()
        .resumable()
        .stream("The changes, without an end.", examples::STREAM)
}

/// Describes `GET /work/{id}/stream`.
pub(super) fn of_work_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("follow_work", Tag::Streams)
        .text("Begins with an event `work`, whose data is the work; then come its changes.")
        .resumable()
        .stream("The work and its changes, without an end.", examples::WORK_STREAM)
        .missing()
}

/// Describes `GET /stats/stream`.
pub(super) fn stats_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("follow_stats", Tag::Streams)
        .text("The data of each event `stats` is the JSON of `GET /stats`.")
        .query::<stats::Params>()
        .stream("The counters as they change, without an end.", examples::STATS_STREAM)
}
