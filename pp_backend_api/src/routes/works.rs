//! Single works: created, read by id or code, and their history.

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::WorkCode;
use pp_lib::flow::{Coded, Read, Wanted};
use pp_lib::wire::ProvisionalWork;

use super::{no_such_work, parse_id};
use crate::error::ApiError;
use crate::etag::{DEMAND_TAG, tag, versioned, work_response};
use crate::wanted::{Bulk, Create, Object};
use crate::{Api, body, idempotent};

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
    let wanted = if body.is_empty() {
        Wanted::default()
    } else {
        body::parse::<Object<Create>>(&request, &body)?.0.into()
    };
    let works = api.works.clone();
    idempotent::answer_once(&api, &request, &body, move |seed| async move {
        let work = works.create(wanted, seed).await?;
        let location = (LOCATION.to_string(), format!("/work/{}", work.id));
        idempotent::ok_json(&work, vec![location, (ETAG.to_string(), tag(&work))])
    })
    .await
}

/// All or none.
pub(super) async fn create_all(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let body = match body::read(&api.config, &request, payload).await {
        Ok(body) => body,
        Err(unread) => return Ok(unread.into()),
    };
    let Bulk(wanted) = body::parse(&request, &body)?;
    let works = api.works.clone();
    idempotent::answer_once(&api, &request, &body, move |seed| async move {
        idempotent::ok_json(&works.create_all(wanted, seed).await?, Vec::new())
    })
    .await
}

pub(super) async fn get(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let Read { value, source } = api.ask(api.works.by_id(parse_id(&id)?)).await?;
    Ok(work_response(&request, &value.ok_or_else(no_such_work)?, source))
}

pub(super) async fn by_code(
    api: web::Data<Api>,
    request: HttpRequest,
    code: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    // What cannot be a code is no work's code.
    let code = code.parse::<WorkCode>().map_err(|_| no_such_work())?;
    let Read { value, source } = api.ask(api.works.by_code(code)).await?;
    match value.ok_or_else(no_such_work)? {
        Coded::Work(work) => Ok(work_response(&request, &work, source)),
        Coded::Provisional(demand) => {
            let work = ProvisionalWork::from(demand);
            Ok(versioned(&request, &work, DEMAND_TAG.to_owned(), source))
        }
    }
}

pub(super) async fn events(api: web::Data<Api>, id: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let events = api.ask(api.works.store().events(parse_id(&id)?)).await?;
    Ok(HttpResponse::Ok().json(events.ok_or_else(no_such_work)?))
}
