//! Single works: creates them, reads them by id or code, and lists their history.

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::domain::{Event, Json, Work, WorkCode};
use pp_lib::serving::{CreateWork, ProvisionalWork, Read, WorkOrDemand};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{no_such_work, parse_id};
use crate::access::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::etag::{DEMAND_TAG, tag, versioned, work_response};
use crate::openapi::{Operation, Tag, examples};
use crate::request_json::{Items, Object};
use crate::{Api, answer, body, idempotent, query};

/// The memory of one work in a bulk request until it is answered, in bytes. It exists parsed, as the store's input and
/// output, and as JSON.
const COST: usize = 640;
/// The number of times that its arguments exist meanwhile, beside the request's body.
const COPIES: usize = 5;

/// The query parameters of a history page.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Part {
    /// Events behind the one with this id.
    #[schemars(with = "i64")]
    after: Option<String>,
    /// The most events of the page.
    #[schemars(with = "u16", range(min = 1, max = query::MAX_PAGE), extend("default" = query::MAX_PAGE))]
    limit: Option<String>,
}

/// Creates a work. The answer is 200 instead of 201, because existing clients rely on it.
pub(super) async fn create(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let wanted = body
        .parse_if_any(&request)?
        .map_or_else(CreateWork::default, |Object(wanted)| wanted);
    let caller = Caller::of(&request);
    caller.may_create(&wanted.kind)?;
    api.check_args(&wanted.kind, wanted.args.as_ref(), "").await?;
    api.check_notify(&caller, &wanted)?;
    let key = caller.bounded_key();
    let (works, prefix) = (api.works.clone(), api.config.prefix.clone());
    idempotent::answer_once(&api, &request, &body.bytes, move |seed| async move {
        works.count(key, 1).await?;
        let created = works.create(wanted, seed).await?;
        let location = (LOCATION.to_string(), format!("{prefix}/work/{}", created.work.id));
        idempotent::ok_json(&created, vec![location, (ETAG.to_string(), tag(&created.work))])
    })
    .await
}

/// Creates all works or none.
pub(super) async fn create_all(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    Body { bytes, mut share }: Body,
) -> Result<HttpResponse, ApiError> {
    let Items(wanted): Items<CreateWork> = body::parse(&request, &bytes)?;
    let caller = Caller::of(&request);
    wanted.iter().try_for_each(|wanted| caller.may_create(&wanted.kind))?;
    for (place, wanted) in wanted.iter().enumerate() {
        let place = format!("/{place}");
        api.check_args(&wanted.kind, wanted.args.as_ref(), &place).await?;
        api.check_notify(&caller, wanted)?;
    }
    let args_bytes: usize = wanted
        .iter()
        .filter_map(|work| work.args.as_ref())
        .map(Json::bytes)
        .sum();
    if !share.grow(wanted.len() * COST + args_bytes * COPIES) {
        return Err(body::no_room());
    }
    let (works, key) = (api.works.clone(), caller.bounded_key());
    idempotent::answer_once(&api, &request, &bytes, move |seed| async move {
        works.count(key, wanted.len()).await?;
        let answer = idempotent::ok_json(&works.create_all(wanted, seed).await?, Vec::new());
        // The share is held until here, even if the client has left.
        drop(share);
        answer
    })
    .await
}

pub(super) async fn get(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let Read { value, source } = api.ask(api.works.by_id(parse_id(&id)?)).await?;
    work_response(&api.answers, &request, &value.ok_or_else(no_such_work)?, source)
}

pub(super) async fn by_code(
    api: web::Data<Api>,
    request: HttpRequest,
    code: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    // A text that cannot be a code belongs to no work.
    let code = code.parse::<WorkCode>().map_err(|_| no_such_work())?;
    let Read { value, source } = api.ask(api.works.by_code(code)).await?;
    match value.ok_or_else(no_such_work)? {
        WorkOrDemand::Work(work) => work_response(&api.answers, &request, &work, source),
        WorkOrDemand::Provisional(demand) => {
            let work = ProvisionalWork::from(demand);
            versioned(&api.answers, &request, &work, DEMAND_TAG.to_owned(), source)
        }
    }
}

/// The first page of a history. An ordinary history fits on one page.
pub(super) async fn events(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    let Part { after, limit } = query::parse(&request)?;
    let after = after.map(|text| query::number("after", &text)).transpose()?;
    let limit = query::limit(limit.as_deref(), query::MAX_PAGE)?;
    // One more event than requested shows if there is a next page.
    let events = api.works.events(id, after.unwrap_or(0), limit + 1);
    let events = api.ask(events).await?.ok_or_else(no_such_work)?;
    answer::send_page(&api, &events, limit, Event::bytes, |last| {
        format!("{}?limit={limit}&after={}", request.path(), last.id)
    })
}

/// Describes `POST /work`.
pub(super) fn create_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("create_work", Tag::Works)
        .optional_body::<CreateWork>(&[json!({ "add_up_to": 5 }), json!({})])
        .json::<Work>(200, "The work.", examples::work())
        .header("Location")
        .header("ETag")
        .idempotent()
        .problem(429, &["too_many_works"], "The key has created its works of the day.")
}

/// Describes `POST /work/bulk`.
pub(super) fn create_all_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("create_works", Tag::Works)
        .text("All works are created or none.")
        .items::<CreateWork>(json!([{ "add_up_to": 5 }, {}]))
        .array::<Work>("The works, in the order of the request.", false, [examples::work()])
        .idempotent()
        .problem(429, &["too_many_works"], "The key has created its works of the day.")
}

/// Describes `GET /work/{id}`.
pub(super) fn get_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_work", Tag::Works)
        .json::<Work>(200, "The work.", examples::done_work())
        .header("Cache-Status")
        .versioned()
        .missing()
}

/// Describes `GET /work/code/{code}`.
pub(super) fn by_code_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_work_by_code", Tag::Works)
        .text("A demand is found from its acceptance on; until a worker has written the work, `id` is null.")
        .json_either::<Work, ProvisionalWork>("The work.", examples::done_work())
        .header("Cache-Status")
        .versioned()
        .missing()
}

/// Describes `GET /work/{id}/events`.
pub(super) fn events_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("list_events", Tag::Works)
        .query::<Part>()
        .array::<Event>("The events, oldest first.", true, [examples::event()])
        .missing()
}
