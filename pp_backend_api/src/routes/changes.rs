//! Works changed by their owners: another bound, or the end; only at versions that the client names, if it does.

use actix_web::http::header::ETAG;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::WorkId;
use pp_lib::store::Changed;
use pp_probe::NoQuery;

use super::{no_such_work, parse_id};
use crate::error::ApiError;
use crate::etag::{Preconditions, tag};
use crate::wanted::{Object, Update};
use crate::{Api, body};

pub(super) async fn update(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let body = match body::read(&api, &request, payload).await {
        Ok(body) => body,
        Err(unread) => return Ok(unread.into()),
    };
    let id = parse_id(&id)?;
    let Object(Update { add_up_to }) = body::parse(&request, &body.bytes)?;
    let version = expected_version(&api, id, Preconditions::of(&request)?).await?;
    let work = applied(api.ask(api.works.update(id, add_up_to, version)).await?)?;
    Ok(HttpResponse::Ok().insert_header((ETAG, tag(&work))).json(work))
}

pub(super) async fn delete(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    let version = expected_version(&api, id, Preconditions::of(&request)?).await?;
    applied(api.ask(api.works.delete(id, version)).await?)?;
    Ok(HttpResponse::NoContent().finish())
}

/// The one version at which the work may change; `None` for any.
async fn expected_version(api: &Api, id: WorkId, wanted: Preconditions) -> Result<Option<i64>, ApiError> {
    if let Some(version) = wanted.version() {
        return Ok(version);
    }
    // The store compares with one version: with that of now, if it meets them.
    let work = api.ask(api.works.store().get(id)).await?.ok_or_else(no_such_work)?;
    wanted.check(work.version)?;
    Ok(Some(work.version))
}

fn applied<T>(changed: Changed<T>) -> Result<T, ApiError> {
    match changed {
        Changed::Applied(what) => Ok(what),
        Changed::OtherVersion => Err(ApiError::precondition_failed()),
        Changed::Missing => Err(no_such_work()),
    }
}
