//! Works that are demanded: accepted now, written by a worker. No database is needed for it.

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::serving::ProvisionalWork;

use crate::error::ApiError;
use crate::etag::DEMAND_TAG;
use crate::wanted::{Demanded, Object};
use crate::{Api, body, idempotent};

/// The code in the answer is that of the work. Where another work has it, the worker takes another one, and this one
/// leads nowhere: a chance of one in 10^17.
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
