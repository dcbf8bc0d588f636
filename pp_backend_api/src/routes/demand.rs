//! `/work/demand`: accepts works that a worker writes later, without the database.

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::serving::ProvisionalWork;

use crate::error::ApiError;
use crate::etag::DEMAND_TAG;
use crate::request_json::{Demanded, Object};
use crate::{Api, body, idempotent};

/// The answer contains the code of the work. If another work already has it, the worker picks a new code, and this one
/// leads nowhere. The chance is one in 10^17.
pub(super) async fn demand(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: web::Payload,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let body = match body::read(&api, &request, payload).await {
        Ok(body) => body,
        Err(unread) => return Ok(unread.into()),
    };
    let demanded = if body.bytes.is_empty() {
        Demanded::default()
    } else {
        body::parse::<Object<Demanded>>(&request, &body.bytes)?.0
    };
    let identity = idempotent::demand_identity(&request)?;
    let demand = api.ask(api.demands.demand(demanded.add_up_to, identity)).await?;
    Ok(HttpResponse::Accepted()
        .insert_header((LOCATION, format!("/work/code/{}", demand.work_code.as_str())))
        .insert_header((ETAG, DEMAND_TAG))
        .json(ProvisionalWork::from(demand)))
}
