//! `/work/search` and `GET /work`: works that match the query, newest first, in pages. `/work/count`: their number.

use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::{KindName, Status, Work, WorkCodePrefix, WorkId};
use pp_lib::store::Search;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::form_urlencoded::Serializer;

use crate::error::ApiError;
use crate::openapi::{Operation, Tag, examples};
use crate::query::{self, number};
use crate::{Api, answer};

/// The last second of the year 9999: later than any work, and within the range of every database.
const LATEST: i64 = 253_402_300_799;

/// The number at which counting stops.
const MOST_COUNTED: u32 = 100_000;

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
    /// Their status.
    #[schemars(with = "Status")]
    status: Option<String>,
    /// True for those that are done, false for the others. It may not contradict `status`.
    #[schemars(with = "bool")]
    done: Option<String>,
    /// Those created in this Unix second or later.
    #[schemars(with = "i64")]
    since: Option<String>,
    /// The most works of the page.
    #[schemars(with = "u16", range(min = 1, max = query::MAX_PAGE), extend("default" = query::MAX_PAGE))]
    limit: Option<String>,
    /// Those before the one with this id: the next page.
    #[schemars(with = "i64")]
    before: Option<String>,
}

/// The number of works that match.
#[derive(Serialize, JsonSchema)]
struct Counted {
    /// Their number, 100,000 at most.
    works: u32,
    /// True if there are more.
    more: bool,
}

pub(super) async fn search(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let params: Params = query::parse(&request)?;
    let mut search = parse(&params)?;
    let limit = search.limit;
    // One more work than requested shows if there is a next page.
    search.limit += 1;
    let works = api.ask(api.works.search(search)).await?;
    answer::send_page(&api, &works, limit, Work::bytes, |last| {
        format!("{}?{}", request.path(), next_query(&params, last.id))
    })
}

pub(super) async fn count(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let search = parse(&query::parse(&request)?)?;
    let counted = api.ask(api.works.count_matching(search, MOST_COUNTED + 1)).await?;
    Ok(HttpResponse::Ok().json(Counted {
        works: counted.min(MOST_COUNTED),
        more: counted > MOST_COUNTED,
    }))
}

fn parse(params: &Params) -> Result<Search, ApiError> {
    let work_code = params.work_code.as_deref().map(prefix).transpose()?;
    let since = params.since.as_deref().map(|text| number("since", text)).transpose()?;
    let before = params
        .before
        .as_deref()
        .map(|text| number("before", text))
        .transpose()?;
    Ok(Search {
        work_code,
        kind: params.kind.as_deref().map(query::kind).transpose()?,
        status: status(params)?,
        since: since.map(|since| since.clamp(0, LATEST)),
        before: before.map(WorkId),
        // The default is the maximum, because not every client follows links.
        limit: query::limit(params.limit.as_deref(), query::MAX_PAGE)?,
    })
}

pub(super) fn prefix(text: &str) -> Result<WorkCodePrefix, ApiError> {
    let prefix = WorkCodePrefix::parse(text).filter(|_| !text.contains('\0'));
    let most = WorkCodePrefix::MAX_LENGTH;
    prefix.ok_or_else(|| ApiError::bad_request(format!("work_code may be at most {most} bytes without zero bytes")))
}

/// Combines `status` and `done`, and refuses pairs that no work can meet.
fn status(params: &Params) -> Result<Option<(Status, bool)>, ApiError> {
    let status = params.status.as_deref().map(parse_status).transpose()?;
    let done = params.done.as_deref().map(parse_done).transpose()?;
    match (status, done) {
        (Some(status), Some(done)) if (status == Status::Done) != done => Err(ApiError::bad_request(format!(
            "done={done} and status={status} contradict each other; give one of them"
        ))),
        (Some(status), _) => Ok(Some((status, true))),
        (None, done) => Ok(done.map(|done| (Status::Done, done))),
    }
}

pub(super) fn parse_status(text: &str) -> Result<Status, ApiError> {
    let names = || Status::ALL.map(Status::as_str).join(", ");
    text.parse()
        .map_err(|()| ApiError::bad_request(format!("status must be one of {}", names())))
}

fn parse_done(text: &str) -> Result<bool, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request("done must be true or false"))
}

/// The same query, continuing after this page.
fn next_query(params: &Params, last: WorkId) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in [
        ("work_code", &params.work_code),
        ("kind", &params.kind),
        ("status", &params.status),
        ("done", &params.done),
        ("since", &params.since),
        ("limit", &params.limit),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.append_pair("before", &last.to_string()).finish()
}

/// Describes `GET /work/search`.
pub(super) fn search_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("search_works", Tag::Works)
        .query::<Params>()
        .array::<Work>("The works, newest first.", true, [examples::done_work()])
}

/// Describes `GET /work/count`.
pub(super) fn count_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("count_works", Tag::Works)
        .query::<Params>()
        .json::<Counted>(200, "Their number.", json!({ "works": 17, "more": false }))
}

/// Describes `GET /work`.
pub(super) fn list_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("list_works", Tag::Works)
        .query::<Params>()
        .array::<Work>("The works, newest first.", true, [examples::done_work()])
}
