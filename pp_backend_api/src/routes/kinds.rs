//! `/kind`: which kinds there are, what they declare, and what an operator sets over it.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::domain::{Fault, Json, JsonFault, KindName, SigningSecret, WebUrl};
use pp_lib::kinds::{Declaration, KnownKind, Unchanged, UnknownKind, bounded_duration, duration_schema};
use pp_lib::runtime::new_signing_secret;
use pp_lib::serving::CreateWork;
use pp_lib::store::{Changed, MOST_KINDS};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::access::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::etag::Preconditions;
use crate::openapi::{Operation, Tag, examples};
use crate::request_json::{Object, Settings, given};
use crate::{Api, answer, body};

/// The time for which the secret before signs too: usually, and at most.
const USUALLY_KEPT: Duration = Duration::from_secs(24 * 3600);
const LONGEST_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

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
    if name.is_add_up_to() || name.is_own() {
        return Err(ApiError::conflict(format!(
            "{name} is built in, and declared by its workers; PATCH changes its settings"
        )));
    }
    declaration.check().map_err(ApiError::unprocessable)?;
    let caller = Caller::of(&request);
    if declaration.push_url.is_some() || declaration.policy.notify.is_some() {
        caller.may_administer()?;
    }
    let kind = api
        .ask(api.kinds.declare(&caller.principal, &name, &declaration))
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
    if policy.read::<Told>().is_ok_and(|told| told.notify.is_some()) {
        Caller::of(&request).may_administer()?;
    }
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

/// The part of a policy that names a URL.
#[derive(Deserialize)]
struct Told {
    notify: Option<IgnoredAny>,
}

/// The body of `PUT /kind/{name}/secret`. Without a secret, one is made.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct NewSecret {
    /// `whsec_` and 24 to 64 bytes in Base64; a random one by default.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "SigningSecret")]
    secret: Option<String>,
    /// The time for which the secret before signs too: `24h` by default.
    #[serde(deserialize_with = "given")]
    #[schemars(schema_with = "kept_schema")]
    keep_previous: Option<String>,
}

fn kept_schema(_: &mut SchemaGenerator) -> Schema {
    duration_schema(Duration::ZERO..=LONGEST_KEPT)
}

/// The answer to it. A secret that was made is shown this once.
#[derive(Serialize, JsonSchema)]
struct SecretSet<'a> {
    /// The secret that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    /// Unix second until which the secret before signs too.
    previous_until: Option<i64>,
}

/// Gives a kind the secret that signs what is sent for it. The one before signs too for a while.
pub(super) async fn set_secret(
    api: web::Data<Api>,
    request: HttpRequest,
    name: web::Path<String>,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&name)?;
    let NewSecret { secret, keep_previous } = body
        .parse_if_any(&request)?
        .map_or_else(NewSecret::default, |Object(wanted)| wanted);
    let keep = match keep_previous {
        Some(text) => bounded_duration("keep_previous", &text, Duration::ZERO..=LONGEST_KEPT),
        None => Ok(USUALLY_KEPT),
    };
    let keep = keep.map_err(ApiError::unprocessable)?;
    let is_made = secret.is_none();
    let secret = match secret {
        Some(text) => {
            SigningSecret::try_from(text).map_err(|error| ApiError::unprocessable(format!("/secret: {error}")))?
        }
        None => new_signing_secret(),
    };
    let by = Caller::of(&request).principal;
    let store = api.keys.store();
    match api.ask(store.set_secret(&by, &name, &secret, keep)).await? {
        Changed::Applied(previous_until) => {
            // Others find it within a second.
            let _ = api.kinds.refresh().await;
            Ok(HttpResponse::Ok().json(SecretSet {
                secret: is_made.then(|| secret.expose()),
                previous_until,
            }))
        }
        _ => Err(no_such_kind()),
    }
}

impl Api {
    /// Fails unless the caller may have this URL told of the work: with the scope `admin` any, otherwise those of the origin
    /// that the kind itself tells.
    pub(crate) fn check_notify(&self, caller: &Caller, wanted: &CreateWork) -> Result<(), ApiError> {
        let Some(url) = &wanted.notify else { return Ok(()) };
        let of_kind = self.kinds.get(&wanted.kind).and_then(|kind| kind.policy.notify.clone());
        let of_kind = of_kind.and_then(|url| WebUrl::try_from(url.into_owned()).ok());
        match of_kind.is_some_and(|of_kind| of_kind.origin() == url.origin()) {
            true => Ok(()),
            false => caller.may_administer(),
        }
    }

    /// Fails unless the arguments are within the limit and the kind is declared and takes them. They stand at this place of the request.
    pub(crate) async fn check_args(&self, kind: &KindName, args: Option<&Json>, place: &str) -> Result<(), ApiError> {
        if kind.is_own() {
            let why = format!("works of kind {kind} are made by PP alone");
            return Err(ApiError::unprocessable(why));
        }
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

/// Describes `GET /kind`.
pub(super) fn list_operation(operation: Operation<'_>) -> Operation<'_> {
    operation.named("list_kinds", Tag::Kinds).array::<KnownKind>(
        "The kinds in the order of their names.",
        false,
        [examples::kind()],
    )
}

/// Describes `GET /kind/{name}`.
pub(super) fn get_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_kind", Tag::Kinds)
        .json::<KnownKind>(200, "The kind.", examples::kind())
        .header("ETag")
        .missing()
}

/// Describes `PUT /kind/{name}`.
pub(super) fn declare_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("declare_kind", Tag::Kinds)
        .text("A program with a handler declares its kinds when it starts. An operator's settings stay.")
        .body::<Declaration>(examples::declaration())
        .json::<KnownKind>(200, "The kind.", examples::kind())
        .header("ETag")
        .problem(409, &["conflict"], "The kind is built in, or there are too many kinds.")
}

/// Describes `PUT /kind/{name}/secret`.
pub(super) fn set_secret_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("set_kind_secret", Tag::Kinds)
        .text("Signs what is sent for the kind, by the Standard Webhooks specification. The secret before signs too for 24 hours, or as long as `keep_previous` says.")
        .optional_body::<NewSecret>(&[json!({}), json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "keep_previous": "1h" })])
        .json::<SecretSet<'_>>(200, "It is set.", json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "previous_until": null }))
        .missing()
}

/// Describes `PATCH /kind/{name}`.
pub(super) fn set_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("set_kind", Tag::Kinds)
        .text("A JSON merge patch (RFC 7396) of an operator's settings: `null` takes one back.")
        .body::<Settings>(json!({ "policy": { "paused": true, "timeout": "30s" } }))
        .json::<KnownKind>(200, "The kind.", examples::kind())
        .header("ETag")
        .conditional()
        .missing()
}
