//! Works changed by their owners: another bound, or the end; only at a version the client knows, if it says so.

use actix_web::http::header::ETAG;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::WorkId;
use pp_lib::store::Changed;

use super::{no_such_work, parse_id};
use crate::error::ApiError;
use crate::etag::{IfMatch, tag};
use crate::wanted::{Object, Update};
use crate::{Api, body};

pub(super) async fn update(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let body = match body::read(&api.config, &request, payload).await {
        Ok(body) => body,
        Err(unread) => return Ok(unread.into()),
    };
    let id = parse_id(&id)?;
    let Object(Update { add_up_to }) = body::parse(&request, &body)?;
    let version = expected_version(&api, id, IfMatch::of(&request)?).await?;
    let work = applied(api.ask(api.works.update(id, add_up_to, version)).await?)?;
    Ok(HttpResponse::Ok().insert_header((ETAG, tag(&work))).json(work))
}

pub(super) async fn delete(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    let version = expected_version(&api, id, IfMatch::of(&request)?).await?;
    applied(api.ask(api.works.delete(id, version)).await?)?;
    Ok(HttpResponse::NoContent().finish())
}

/// The one version at which the work may change; `None` for any.
async fn expected_version(api: &Api, id: WorkId, wanted: IfMatch) -> Result<Option<i64>, ApiError> {
    let versions = match wanted {
        IfMatch::Any => return Ok(None),
        IfMatch::Versions(versions) => versions,
    };
    if let [version] = versions[..] {
        return Ok(Some(version));
    }
    // The store compares with one version: with that of now, if it is among them.
    let work = api.ask(api.works.store().get(id)).await?.ok_or_else(no_such_work)?;
    let current = versions.contains(&work.version).then_some(work.version);
    current.map(Some).ok_or_else(ApiError::precondition_failed)
}

fn applied<T>(changed: Changed<T>) -> Result<T, ApiError> {
    match changed {
        Changed::Applied(what) => Ok(what),
        Changed::OtherVersion => Err(ApiError::precondition_failed()),
        Changed::Missing => Err(no_such_work()),
    }
}
