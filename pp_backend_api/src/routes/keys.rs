//! `/key`, `/audit` and `/session`: API keys, who changed what, and the cookie of a browser.

use actix_web::http::StatusCode;
use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::access::ApiKey;
use pp_lib::domain::{ApiKeyId, AuditEntry, KeyInfo, KeyLabel, Scopes, WorksPerDay};
use pp_lib::store::{AuditFilter, KeyCreated, MOST_KEYS, NewKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::form_urlencoded::Serializer;

use crate::access::{COOKIE_NAME, Caller, find, unauthorized};
use crate::body::Body;
use crate::error::ApiError;
use crate::openapi::{Operation, Tag, examples};
use crate::query::{self, number};
use crate::request_json::Object;
use crate::{Api, answer, body};

/// The default number of rows on a page of the audit.
const USUAL_PAGE: u16 = 50;
/// The longest principal or action to look for.
const LONGEST: usize = 300;

/// A key to make.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewKey")]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// 1 to 100 bytes of printable text. No other valid key has it.
    name: KeyLabel,
    /// What it allows: at most 50 scopes with commas between them.
    scopes: Scopes,
    /// The most works that it may create in a day; any number unless it is given.
    works_per_day: Option<WorksPerDay>,
}

/// A key in the one answer that has its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedKey")]
struct Shown<'a> {
    #[serde(flatten)]
    info: &'a KeyInfo,
    /// The key itself.
    key: &'a str,
}

/// The body of a sign-in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// An API key.
    key: String,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Page {
    /// The most rows of the page.
    #[schemars(with = "u16", range(min = 1, max = query::MAX_PAGE), extend("default" = USUAL_PAGE))]
    limit: Option<String>,
    /// Those before the one with this id: the next page.
    #[schemars(with = "i64")]
    before: Option<String>,
    /// Who made the change, as in `key:3 deploy`.
    #[schemars(with = "String", length(max = LONGEST), regex(pattern = r"^[^\x00]*$"))]
    principal: Option<String>,
    /// What was done, as in `work.cancel`.
    #[schemars(with = "String", length(max = LONGEST), regex(pattern = r"^[^\x00]*$"))]
    action: Option<String>,
}

/// Makes a key. The answer has it once, and is kept by nobody.
pub(super) async fn create(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let Object(wanted): Object<Wanted> = body::parse(&request, &body.bytes)?;
    let key = ApiKey::random();
    let new = NewKey {
        name: wanted.name,
        scopes: wanted.scopes,
        works_per_day: wanted.works_per_day,
        digest: key.digest(),
    };
    let by = Caller::of(&request).principal;
    match api.ask(api.keys.store().create_key(&by, &new)).await? {
        KeyCreated::Created(info) => {
            // Others find it when it is first used, or within a second.
            let _ = api.keys.refresh().await;
            Ok(HttpResponse::Ok().json(Shown {
                info: &info,
                key: key.secret(),
            }))
        }
        KeyCreated::NameTaken => Err(ApiError::conflict(
            "a valid key has this name; choose another or revoke it",
        )),
        KeyCreated::TooMany => Err(ApiError::conflict(format!(
            "there are {MOST_KEYS} valid keys already; revoke one"
        ))),
    }
}

pub(super) async fn list(api: web::Data<Api>, _: NoQuery) -> Result<HttpResponse, ApiError> {
    let keys = api.ask(api.keys.store().keys()).await?;
    answer::send_json(&api.answers, HttpResponse::Ok(), &keys)
}

pub(super) async fn revoke(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let id = id
        .parse()
        .map_err(|_| ApiError::bad_request("the id of a key must be a number, as in /key/1"))?;
    let by = Caller::of(&request).principal;
    let revoked = api.ask(api.keys.store().revoke_key(&by, ApiKeyId(id))).await?;
    revoked.ok_or_else(|| ApiError::not_found("there is no such key"))?;
    let _ = api.keys.refresh().await;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn audit(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let page: Page = query::parse(&request)?;
    let filter = AuditFilter {
        principal: page.principal,
        action: page.action,
    };
    for (name, text) in [("principal", &filter.principal), ("action", &filter.action)] {
        if text
            .as_ref()
            .is_some_and(|text| text.len() > LONGEST || text.contains('\0'))
        {
            let detail = format!("{name} may have at most {LONGEST} bytes, and no zero bytes");
            return Err(ApiError::bad_request(detail));
        }
    }
    let limit = query::limit(page.limit.as_deref(), USUAL_PAGE)?;
    let before = page.before.map(|text| number("before", &text)).transpose()?;
    let rows = api.ask(api.keys.store().audit(&filter, before, limit + 1)).await?;
    answer::send_page(
        &api,
        &rows,
        limit,
        |_| 0,
        |last| format!("{}?{}", request.path(), next_query(&filter, limit, last.id)),
    )
}

/// The same query, continuing after this page.
fn next_query(filter: &AuditFilter, limit: u16, last: i64) -> String {
    let mut query = Serializer::new(String::new());
    for (name, text) in [("principal", &filter.principal), ("action", &filter.action)] {
        if let Some(text) = text {
            query.append_pair(name, text);
        }
    }
    query.append_pair("limit", &limit.to_string());
    query.append_pair("before", &last.to_string()).finish()
}

/// Gives a browser the cookie for a key.
pub(super) async fn sign_in(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let Object(SignIn { key }): Object<SignIn> = body::parse(&request, &body.bytes)?;
    let key = key.trim();
    find(&api.keys, key)
        .await
        .ok_or_else(|| unauthorized("this API key is not valid: it is mistyped or was revoked"))?;
    Ok(with_cookie(&api, &request, key, ""))
}

pub(super) async fn sign_out(api: web::Data<Api>, request: HttpRequest, _: NoQuery) -> HttpResponse {
    with_cookie(&api, &request, "", "; Max-Age=0")
}

fn with_cookie(api: &Api, request: &HttpRequest, value: &str, end: &str) -> HttpResponse {
    let prefix = &api.config.prefix;
    let secure = if is_secure(request) { "; Secure" } else { "" };
    HttpResponse::build(StatusCode::NO_CONTENT)
        .insert_header((
            SET_COOKIE,
            format!("{COOKIE_NAME}={value}; HttpOnly; SameSite=Strict; Path={prefix}/{secure}{end}"),
        ))
        .finish()
}

/// True if the request came over TLS.
fn is_secure(request: &HttpRequest) -> bool {
    request.app_config().secure()
}

/// Describes `POST /key`.
pub(super) fn create_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("create_key", Tag::Keys)
        .text("The answer has the key once; the database keeps its SHA-256.")
        .body::<Wanted>(json!({ "name": "deploy", "scopes": "read,create:user.mail", "works_per_day": 1000 }))
        .json::<Shown<'_>>(200, "The key.", examples::new_key())
        .problem(
            409,
            &["conflict"],
            "A valid key has this name, or there are too many keys.",
        )
}

/// Describes `GET /key`.
pub(super) fn list_operation(operation: Operation<'_>) -> Operation<'_> {
    operation.named("list_keys", Tag::Keys).array::<KeyInfo>(
        "The keys, without what proves them.",
        false,
        [examples::key()],
    )
}

/// Describes `DELETE /key/{id}`.
pub(super) fn revoke_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("revoke_key", Tag::Keys)
        .empty(204, "The key is not valid any more.")
        .missing()
}

/// Describes `GET /audit`.
pub(super) fn audit_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("list_audit", Tag::Keys)
        .query::<Page>()
        .array::<AuditEntry>("The changes, newest first.", true, [examples::audit()])
}

/// Describes `POST /session`.
pub(super) fn sign_in_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("sign_in", Tag::Keys)
        .text("Gives a browser a cookie for a key. Changes with the cookie need the header `Origin`.")
        .body::<SignIn>(json!({ "key": "pp_…" }))
        .empty(204, "The cookie is in `Set-Cookie`.")
        .header("Set-Cookie")
        .unauthorized()
}

/// Describes `DELETE /session`.
pub(super) fn sign_out_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("sign_out", Tag::Keys)
        .empty(204, "`Set-Cookie` removes the cookie.")
        .header("Set-Cookie")
}
