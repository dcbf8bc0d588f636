//! Changes of works by their owners: another bound, cancel, retry and delete, optionally only at given versions.

use actix_web::http::header::ETAG;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::domain::{Principal, Work, WorkId};
use pp_lib::serving::{ActorError, KeyError, Works};
use pp_lib::store::Changed;
use serde_json::json;

use super::{no_such_work, parse_id};
use crate::access::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::etag::{Preconditions, tag};
use crate::openapi::{Operation, Tag, examples};
use crate::request_json::{Empty, Object, Update};
use crate::{Api, answer, body, idempotent};

/// The change that a POST makes to a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Cancel,
    Retry,
}

pub(super) async fn update(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    let Object(update): Object<Update> = body::parse(&request, &body.bytes)?;
    let wanted = Preconditions::of(&request)?;
    let version = applied(api.ask(expected_version(&api.works, id, wanted)).await?)?;
    let kind = api.ask(api.works.newest(id)).await?.ok_or_else(no_such_work)?.kind;
    let args = update.args(&kind).map_err(ApiError::unprocessable)?;
    api.check_args(&kind, Some(&args), "").await?;
    let work = applied(
        api.ask(api.works.update(&Caller::of(&request).principal, id, args, version))
            .await?,
    )?;
    let mut response = HttpResponse::Ok();
    response.insert_header((ETAG, tag(&work)));
    answer::send_json(&api.answers, response, &work)
}

pub(super) async fn cancel(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    post(Action::Cancel, &api, &request, &id, body).await
}

pub(super) async fn retry(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    post(Action::Retry, &api, &request, &id, body).await
}

async fn post(deed: Action, api: &Api, request: &HttpRequest, id: &str, body: Body) -> Result<HttpResponse, ApiError> {
    let id = parse_id(id)?;
    body.parse_if_any::<Object<Empty>>(request)?;
    let (works, wanted) = (api.works.clone(), Preconditions::of(request)?);
    let by = Caller::of(request).principal;
    idempotent::answer_once(api, request, &body.bytes, move |_| async move {
        let changed = match expected_version(&works, id, wanted).await? {
            Changed::Applied(version) => deed.done(&works, &by, id, version).await?,
            refused => return Err(KeyError::Refused(refused.map(drop))),
        };
        match changed {
            Changed::Applied(work) => idempotent::ok_json(&work, vec![(ETAG.to_string(), tag(&work))]),
            refused => Err(KeyError::Refused(refused.map(drop))),
        }
    })
    .await
}

impl Action {
    async fn done(
        self,
        works: &Works,
        by: &Principal,
        id: WorkId,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        match self {
            Self::Cancel => works.cancel(by, id, version).await,
            Self::Retry => works.retry(by, id, version).await,
        }
    }
}

pub(super) async fn delete(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    let wanted = Preconditions::of(&request)?;
    let version = applied(api.ask(expected_version(&api.works, id, wanted)).await?)?;
    applied(
        api.ask(api.works.delete(&Caller::of(&request).principal, id, version))
            .await?,
    )?;
    Ok(HttpResponse::NoContent().finish())
}

/// The only version at which the work may change; `None` for any.
async fn expected_version(
    works: &Works,
    id: WorkId,
    wanted: Preconditions,
) -> Result<Changed<Option<i64>>, ActorError> {
    if let Some(version) = wanted.version() {
        return Ok(Changed::Applied(version));
    }
    // The store compares with one version. If the current version is allowed, it is that one.
    Ok(match works.newest(id).await? {
        Some(work) if wanted.check(work.version).is_ok() => Changed::Applied(Some(work.version)),
        Some(_) => Changed::OtherVersion,
        None => Changed::Missing,
    })
}

fn applied<T>(changed: Changed<T>) -> Result<T, ApiError> {
    match changed {
        Changed::Applied(what) => Ok(what),
        refused => Err(ApiError::refused(&refused)),
    }
}

/// Describes `PATCH /work/{id}`.
pub(super) fn update_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("update_work", Tag::Works)
        .text("The work is done anew, also if it was finished.")
        .body::<Update>(json!({ "add_up_to": 6 }))
        .json::<Work>(200, "The work.", examples::work())
        .header("ETag")
        .conditional()
        .missing()
        .problem(
            409,
            &["unique_held"],
            "Another work with the same `unique` is unfinished.",
        )
}

/// Describes `POST /work/{id}/cancel`.
pub(super) fn cancel_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("cancel_work", Tag::Works)
        .optional_body::<Empty>(&[json!({})])
        .json::<Work>(200, "The work, cancelled.", examples::cancelled_work())
        .header("ETag")
        .idempotent()
        .conditional()
        .missing()
        .problem(409, &["wrong_status"], "The work is finished.")
}

/// Describes `POST /work/{id}/retry`.
pub(super) fn retry_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("retry_work", Tag::Works)
        .optional_body::<Empty>(&[json!({})])
        .json::<Work>(200, "The work, pending again.", examples::work())
        .header("ETag")
        .idempotent()
        .conditional()
        .missing()
        .problem(
            409,
            &["wrong_status", "unique_held"],
            "The status of the work does not allow it, or another work with the same `unique` is unfinished.",
        )
}

/// Describes `DELETE /work/{id}`.
pub(super) fn delete_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("delete_work", Tag::Works)
        .empty(204, "The work is gone.")
        .conditional()
        .missing()
}
