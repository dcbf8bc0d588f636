//! `/deadletter`: lists dead letters in pages or by kind and error, and runs or drops them by number, by kind and error, or all together.

use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::{DeadLetter, DeadLetterId, KindName, LetterGroup};
use pp_lib::store::{LetterFilter, Selection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::form_urlencoded::Serializer;

use crate::access::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::openapi::{Operation, Tag, examples};
use crate::query::{self, number};
use crate::request_json::{Empty, Object};
use crate::{Api, answer, idempotent};

/// The default number of letters on a page.
const USUAL_PAGE: u16 = 50;
/// The default number of groups.
const USUAL_GROUPS: u16 = 100;
/// The maximum number of letters in one request.
const MOST_IDS: usize = 1000;

/// The query parameters of a page.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Page {
    /// The most letters of the page.
    #[schemars(with = "u16", range(min = 1, max = query::MAX_PAGE), extend("default" = USUAL_PAGE))]
    limit: Option<String>,
    /// Those before the one with this id: the next page.
    #[schemars(with = "i64")]
    before: Option<String>,
    /// Their kind.
    #[schemars(with = "KindName")]
    kind: Option<String>,
    /// The beginning of their reason.
    #[schemars(with = "String", length(min = 1), regex(pattern = r"^[^\x00]+$"))]
    error: Option<String>,
}

/// The query parameters of the groups.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Groups {
    /// Their kind.
    #[schemars(with = "KindName")]
    kind: Option<String>,
    /// The most groups.
    #[schemars(with = "u16", range(min = 1, max = query::MAX_PAGE), extend("default" = USUAL_GROUPS))]
    limit: Option<String>,
}

/// The query parameters that select letters.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct SelectionParams {
    /// 1 to 1,000 numbers of letters, as in `1,2,3`.
    #[schemars(with = "String", regex(pattern = "^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17}){0,999}$"))]
    ids: Option<String>,
    /// `true` for all letters.
    #[schemars(with = "bool", extend("const" = true))]
    all: Option<String>,
    /// Their kind.
    #[schemars(with = "KindName")]
    kind: Option<String>,
    /// The beginning of their reason.
    #[schemars(with = "String", length(min = 1), regex(pattern = r"^[^\x00]+$"))]
    error: Option<String>,
    /// True to count them only.
    #[schemars(with = "bool")]
    dry_run: Option<String>,
}

/// The answer to a redrive.
#[derive(Serialize, JsonSchema)]
struct Redriven {
    /// The number of letters.
    redriven: u64,
    /// True if the letters were only counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// The answer to a removal.
#[derive(Serialize, JsonSchema)]
struct Dropped {
    /// The number of letters.
    dropped: u64,
    /// True if the letters were only counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

pub(super) async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let page: Page = query::parse(&request)?;
    let filter = filter(page.kind, page.error)?;
    let limit = query::limit(page.limit.as_deref(), USUAL_PAGE)?;
    let before = page.before.map(|text| number("before", &text)).transpose()?;
    // One more letter than requested shows if there is a next page.
    let letters = api
        .works
        .dead_letters(filter.clone(), before.map(DeadLetterId), limit + 1);
    let letters = api.ask(letters).await?;
    // Letters are short: the store cuts bodies.
    answer::send_page(
        &api,
        &letters,
        limit,
        |_| 0,
        |last| format!("{}?{}", request.path(), next_query(&filter, limit, last.id)),
    )
}

/// The letters by kind and beginning of their error, the largest groups first.
pub(super) async fn groups(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let Groups { kind, limit } = query::parse(&request)?;
    let kind = kind.as_deref().map(query::kind).transpose()?;
    let limit = query::limit(limit.as_deref(), USUAL_GROUPS)?;
    let groups = api.ask(api.works.letter_groups(kind, limit)).await?;
    answer::send_json(&api.answers, HttpResponse::Ok(), &groups)
}

/// The same query, continuing after this page.
fn next_query(filter: &LetterFilter, limit: u16, last: DeadLetterId) -> String {
    let mut query = Serializer::new(String::new());
    if let Some(kind) = &filter.kind {
        query.append_pair("kind", kind.as_str());
    }
    if let Some(error) = &filter.error {
        query.append_pair("error", error);
    }
    query.append_pair("limit", &limit.to_string());
    query.append_pair("before", &last.to_string()).finish()
}

pub(super) async fn redrive(api: web::Data<Api>, request: HttpRequest, body: Body) -> Result<HttpResponse, ApiError> {
    let (which, dry_run) = selection(&request)?;
    body.parse_if_any::<Object<Empty>>(&request)?;
    let (store, by) = (api.works.clone(), Caller::of(&request).principal);
    idempotent::answer_once(&api, &request, &body.bytes, move |_| async move {
        // A repeated request finds fewer letters, because redriven ones are gone.
        let redriven = store.redrive(&by, which, dry_run).await?;
        idempotent::ok_json(&Redriven { redriven, dry_run }, Vec::new())
    })
    .await
}

pub(super) async fn drop_letters(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (which, dry_run) = selection(&request)?;
    let by = Caller::of(&request).principal;
    let dropped = api.ask(api.works.drop_letters(&by, which, dry_run)).await?;
    Ok(HttpResponse::Ok().json(Dropped { dropped, dry_run }))
}

/// The selected letters, and true if they are only to be counted. All letters are selected only on explicit request.
fn selection(request: &HttpRequest) -> Result<(Selection, bool), ApiError> {
    let SelectionParams {
        ids,
        all,
        kind,
        error,
        dry_run,
    } = query::parse(request)?;
    let dry_run = match dry_run.as_deref() {
        None => false,
        Some(text) => parse_dry_run(text)?,
    };
    let contradiction = |one: &str, other: &str| {
        let detail = format!("{one} and {other} contradict each other; give one of them");
        Err(ApiError::bad_request(detail))
    };
    let narrowed = kind.as_ref().map(|_| "kind").or(error.as_ref().map(|_| "error"));
    let which = match (ids, all.as_deref(), narrowed) {
        (Some(_), Some(_), _) => return contradiction("ids", "all"),
        (Some(_), None, Some(narrowed)) => return contradiction("ids", narrowed),
        (None, Some(_), Some(narrowed)) => return contradiction("all", narrowed),
        (Some(ids), None, None) => parse_ids(&ids).map(Selection::Ids).ok_or_else(|| {
            ApiError::bad_request(format!(
                "ids must be 1 to {MOST_IDS} numbers of letters, as in ids=1,2,3"
            ))
        })?,
        (None, Some("true"), None) => Selection::ALL,
        (None, Some(_), None) => return Err(ApiError::bad_request("all must be true, as in all=true")),
        (None, None, Some(_)) => Selection::Matching(filter(kind, error)?),
        (None, None, None) => {
            let detail = "select letters with ids=1,2,3, with kind and error, or with all=true";
            return Err(ApiError::bad_request(detail));
        }
    };
    Ok((which, dry_run))
}

fn parse_dry_run(text: &str) -> Result<bool, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request("dry_run must be true or false"))
}

/// The letters of a kind and with a beginning of their reason. An empty beginning would select all of them.
fn filter(kind: Option<String>, error: Option<String>) -> Result<LetterFilter, ApiError> {
    if error
        .as_ref()
        .is_some_and(|error| error.is_empty() || error.contains('\0'))
    {
        let detail = "error must be the beginning of a reason: at least one character, and no zero bytes";
        return Err(ApiError::bad_request(detail));
    }
    Ok(LetterFilter {
        kind: kind.as_deref().map(query::kind).transpose()?,
        error,
    })
}

fn parse_ids(text: &str) -> Option<Vec<DeadLetterId>> {
    let parse = |text: &str| text.parse().ok().filter(|id| *id >= 1).map(DeadLetterId);
    let mut ids = text.split(',').map(parse).collect::<Option<Vec<_>>>()?;
    if ids.len() > MOST_IDS {
        return None;
    }
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

/// Describes `GET /deadletter`.
pub(super) fn list_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("list_dead_letters", Tag::DeadLetters)
        .query::<Page>()
        .array::<DeadLetter>("The letters, newest first.", true, [examples::letter()])
}

/// Describes `GET /deadletter/group`.
pub(super) fn groups_operation(operation: Operation<'_>) -> Operation<'_> {
    let group = json!({
        "kind": "user.mail", "error": "no such address", "letters": 3, "messages": 0,
        "oldest_on": 1_795_199_000, "newest_on": 1_795_199_608,
    });
    operation
        .named("group_dead_letters", Tag::DeadLetters)
        .query::<Groups>()
        .array::<LetterGroup>("The groups, the largest first.", false, [group])
}

/// Describes `POST /deadletter/redrive`.
pub(super) fn redrive_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("redrive_dead_letters", Tag::DeadLetters)
        .text("Letters are selected by `ids`, by `kind` and `error`, or by `all`.")
        .query::<SelectionParams>()
        .optional_body::<Empty>(&[json!({})])
        .json::<Redriven>(200, "The number of letters.", json!({ "redriven": 3 }))
        .idempotent()
}

/// Describes `DELETE /deadletter`.
pub(super) fn drop_letters_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("drop_dead_letters", Tag::DeadLetters)
        .text("Letters are selected by `ids`, by `kind` and `error`, or by `all`.")
        .query::<SelectionParams>()
        .json::<Dropped>(200, "The number of letters.", json!({ "dropped": 3 }))
}
