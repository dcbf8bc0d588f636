//! `/work/demand`: accepts works that a worker writes later, without the database.

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::serving::ProvisionalWork;
use serde_json::json;

use crate::access::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::etag::DEMAND_TAG;
use crate::openapi::{Operation, Tag, examples};
use crate::request_json::{Demanded, DemandedFields, Object};
use crate::{Api, answer, idempotent};

/// The answer contains the code of the work. If another work already has it, the worker picks a new code, and this one
/// leads nowhere. The chance is one in 10^17.
pub(super) async fn demand(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let demanded = body
        .parse_if_any(&request)?
        .map_or_else(Demanded::default, |Object(demanded)| demanded);
    let caller = Caller::of(&request);
    caller.may_create(&demanded.kind)?;
    api.check_args(&demanded.kind, demanded.args.as_ref(), "").await?;
    let identity = idempotent::demand_identity(&request)?;
    api.ask(api.works.count(caller.bounded_key(), 1)).await?;
    let Demanded { kind, args, unique } = demanded;
    let demand = api.ask(api.demands.demand(kind, args, unique, identity)).await?;
    let mut response = HttpResponse::Accepted();
    response
        .insert_header((
            LOCATION,
            format!("{}/work/code/{}", api.config.prefix, demand.work_code.as_str()),
        ))
        .insert_header((ETAG, DEMAND_TAG));
    answer::send_json(&api.answers, response, &ProvisionalWork::from(demand))
}

/// Describes `POST /work/demand`.
pub(super) fn demand_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("demand_work", Tag::Works)
        .text(
            "The demand is accepted when the broker has it, also while the database is away. A worker writes the work.",
        )
        .optional_body::<DemandedFields>(&[json!({ "add_up_to": 5 }), json!({})])
        .json::<ProvisionalWork>(202, "The work to be.", examples::demanded_work())
        .header("Location")
        .header("ETag")
        .idempotent()
        .problem(429, &["too_many_works"], "The key has created its works of the day.")
}
