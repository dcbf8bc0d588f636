//! Single works: created, read by id or code, and their history.

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::WorkCode;

use super::{no_such_work, parse_id};
use crate::error::ApiError;
use crate::etag::{tag, work_response};
use crate::{Api, body};

/// 200 and not 201: existing clients rely on it.
pub(super) async fn create(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let body = match body::read(&api.config, &request, payload).await {
        Ok(body) => body,
        Err(unread) => return Ok(unread.into()),
    };
    let add_up_to = body::bound_asked_for(&request, &body)?;
    let work = api.ask(api.works.create(add_up_to)).await?;
    Ok(HttpResponse::Ok()
        .insert_header((LOCATION, format!("/work/{}", work.id)))
        .insert_header((ETAG, tag(&work)))
        .json(work))
}

pub(super) async fn get(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let work = api.ask(api.works.store().get(parse_id(&id)?)).await?;
    Ok(work_response(&request, &work.ok_or_else(no_such_work)?))
}

pub(super) async fn by_code(
    api: web::Data<Api>,
    request: HttpRequest,
    code: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    // What cannot be a code is no work's code.
    let code = code.parse::<WorkCode>().map_err(|_| no_such_work())?;
    let work = api.ask(api.works.store().by_code(code)).await?;
    Ok(work_response(&request, &work.ok_or_else(no_such_work)?))
}

pub(super) async fn events(api: web::Data<Api>, id: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let events = api.ask(api.works.store().events(parse_id(&id)?)).await?;
    Ok(HttpResponse::Ok().json(events.ok_or_else(no_such_work)?))
}
