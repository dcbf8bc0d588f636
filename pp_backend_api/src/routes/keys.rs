//! `/key`, `/audit` and `/session`: API keys, who changed what, and the cookie of a browser.

use actix_web::http::StatusCode;
use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::access::ApiKey;
use pp_lib::domain::{ApiKeyId, KeyInfo, KeyLabel, Scopes, WorksPerDay};
use pp_lib::store::{AuditFilter, KeyCreated, MOST_KEYS, NewKey};
use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;

use crate::access::{COOKIE_NAME, Caller, find, unauthorized};
use crate::body::Body;
use crate::error::ApiError;
use crate::query::{self, number};
use crate::request_json::Object;
use crate::{Api, answer, body};

/// The default number of rows on a page of the audit.
const USUAL_PAGE: u16 = 50;
/// The longest principal or action to look for.
const LONGEST: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: KeyLabel,
    scopes: Scopes,
    works_per_day: Option<WorksPerDay>,
}

/// A key in the one answer that has its secret.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    info: &'a KeyInfo,
    key: &'a str,
}

/// The body of a sign-in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    key: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Page {
    limit: Option<String>,
    before: Option<String>,
    principal: Option<String>,
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
