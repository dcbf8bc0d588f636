//! `/kind`: which kinds there are, what they declare, and what an operator sets over it.

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::domain::{Fault, Json, JsonFault, KindName};
use pp_lib::kinds::{Declaration, KnownKind, Unchanged, UnknownKind};
use pp_lib::store::MOST_KINDS;

use crate::access::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::etag::Preconditions;
use crate::request_json::{Object, Settings};
use crate::{Api, answer, body};

pub(super) async fn list(api: web::Data<Api>, _: NoQuery) -> Result<HttpResponse, ApiError> {
    let kinds = api.ask(api.kinds.list()).await?;
    let body = serde_json::to_vec(&kinds).map_err(|_| ApiError::internal())?;
    let mut response = HttpResponse::Ok();
    response.content_type(answer::JSON);
    answer::send(&api.answers, response, body)
}

pub(super) async fn get(api: web::Data<Api>, name: web::Path<String>, _: NoQuery) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&name)?;
    let kinds = api.ask(api.kinds.list()).await?;
    let kind = kinds.into_iter().find(|kind| *kind.name() == name);
    Ok(shown(&kind.ok_or_else(no_such_kind)?))
}

/// Declares a kind, as a program with a handler for it does when it starts.
pub(super) async fn declare(
    api: web::Data<Api>,
    request: HttpRequest,
    name: web::Path<String>,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&name)?;
    let Object(declaration): Object<Declaration> = body::parse(&request, &body.bytes)?;
    if name.is_add_up_to() {
        return Err(ApiError::conflict(
            "add_up_to is built in, and declared by its workers; PATCH changes its settings",
        ));
    }
    let kind = api
        .ask(api.kinds.declare(&Caller::of(&request).principal, &name, &declaration))
        .await?;
    let full = || ApiError::new(StatusCode::CONFLICT, format!("there are {MOST_KINDS} kinds already"));
    Ok(shown(&kind.ok_or_else(full)?))
}

/// Changes an operator's settings.
pub(super) async fn set(
    api: web::Data<Api>,
    request: HttpRequest,
    name: web::Path<String>,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&name)?;
    let Object(Settings { policy }) = body::parse(&request, &body.bytes)?;
    let wanted = Preconditions::of(&request)?;
    let version = match wanted.version() {
        Some(version) => version,
        None => {
            let kinds = api.ask(api.kinds.list()).await?;
            let kind = kinds.into_iter().find(|kind| *kind.name() == name);
            let version = kind.ok_or_else(no_such_kind)?.row.version;
            wanted.check(version)?;
            Some(version)
        }
    };
    match api
        .ask(api.kinds.set(&Caller::of(&request).principal, &name, &policy, version))
        .await?
    {
        Ok(kind) => Ok(shown(&kind)),
        Err(Unchanged::Invalid(why)) => Err(ApiError::unprocessable(format!("/policy: {why}"))),
        Err(Unchanged::OtherVersion) => Err(ApiError::precondition_failed()),
        Err(Unchanged::Missing) => Err(no_such_kind()),
    }
}

impl Api {
    /// Fails unless the arguments are within the limit and the kind is declared and takes them. They stand at this place of the request.
    pub(crate) async fn check_args(&self, kind: &KindName, args: Option<&Json>, place: &str) -> Result<(), ApiError> {
        let Some(args) = args else { return Ok(()) };
        let limit = self.config.args_limit;
        if args.bytes() > limit {
            let fault = JsonFault::TooLong(limit);
            return Err(ApiError::unprocessable(format!("{place}/args: {fault}")));
        }
        let checked = self.kinds.check(kind, args).await;
        checked.map_err(|why| unknown(kind, why, &format!("{place}/args")))
    }
}

/// The error for a kind that is not known, or for arguments at this place that are not its own.
pub(super) fn unknown(kind: &KindName, why: UnknownKind, place: &str) -> ApiError {
    match why {
        UnknownKind::Unloaded => ApiError::unavailable("it is not known which kinds there are; try again in a moment"),
        UnknownKind::Undeclared(alike) => ApiError::unprocessable(undeclared(kind, &alike)),
        UnknownKind::Invalid(faults) => {
            let faults = faults.into_iter().map(|fault| Fault {
                pointer: format!("{place}{}", fault.pointer),
                ..fault
            });
            ApiError::faulty(format!("the arguments are not those of kind {kind}"), faults.collect())
        }
    }
}

fn undeclared(kind: &KindName, alike: &[KindName]) -> String {
    let names: Vec<String> = alike.iter().map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => format!("nobody has declared a kind `{kind}`; GET /kind lists those there are"),
        false => format!(
            "nobody has declared a kind `{kind}`; similar ones are {}",
            names.join(", ")
        ),
    }
}

fn shown(kind: &KnownKind) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((ETAG, format!("\"{}\"", kind.row.version)))
        .json(kind)
}

pub(super) fn parse_name(text: &str) -> Result<KindName, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request(format!("{error}")))
}

pub(super) fn no_such_kind() -> ApiError {
    ApiError::not_found("there is no such kind")
}
