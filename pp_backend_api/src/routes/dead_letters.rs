//! `/deadletter`: lists dead letters in pages, and runs or drops them by number or all together.

use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::DeadLetterId;
use pp_lib::store::Selection;
use serde::Deserialize;
use serde_json::json;

use crate::body::Body;
use crate::error::ApiError;
use crate::query::{self, number};
use crate::request_json::{Empty, Object};
use crate::{Api, answer, idempotent};

/// The default number of letters on a page.
const USUAL_PAGE: u16 = 50;
/// The maximum number of letters in one request.
const MOST_IDS: usize = 1000;

/// The query parameters of a page.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Page {
    limit: Option<String>,
    before: Option<String>,
}

/// The query parameters that select letters.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SelectionParams {
    ids: Option<String>,
    all: Option<String>,
}

pub(super) async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let page: Page = query::parse(&request)?;
    let limit = query::limit(page.limit.as_deref(), USUAL_PAGE)?;
    let before = page.before.map(|text| number("before", &text)).transpose()?;
    // One more letter than requested shows if there is a next page.
    let letters = api.works.dead_letters(before.map(DeadLetterId), limit + 1);
    let letters = api.ask(letters).await?;
    answer::send_page(&api.answers, &letters, limit, |last| {
        format!("{}?limit={limit}&before={}", request.path(), last.id)
    })
}

pub(super) async fn redrive(api: web::Data<Api>, request: HttpRequest, body: Body) -> Result<HttpResponse, ApiError> {
    let which = selection(&request)?;
    body.parse_if_any::<Object<Empty>>(&request)?;
    let store = api.works.clone();
    idempotent::answer_once(&api, &request, &body.bytes, move |_| async move {
        // A repeated request finds fewer letters, because redriven ones are gone.
        idempotent::ok_json(&json!({"redriven": store.redrive(which).await?}), Vec::new())
    })
    .await
}

pub(super) async fn drop_letters(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let dropped = api.ask(api.works.drop_letters(selection(&request)?)).await?;
    Ok(HttpResponse::Ok().json(json!({"dropped": dropped})))
}

/// The selected letters. All letters are selected only on explicit request.
fn selection(request: &HttpRequest) -> Result<Selection, ApiError> {
    let SelectionParams { ids, all } = query::parse(request)?;
    match (ids, all.as_deref()) {
        (Some(ids), None) => parse_ids(&ids).map(Selection::Ids).ok_or_else(|| {
            ApiError::bad_request(format!(
                "ids must be 1 to {MOST_IDS} numbers of letters, as in ids=1,2,3"
            ))
        }),
        (None, Some("true")) => Ok(Selection::All),
        (None, Some(_)) => Err(ApiError::bad_request("all must be true, as in all=true")),
        (Some(_), Some(_)) => Err(ApiError::bad_request(
            "ids and all contradict each other; give one of them",
        )),
        (None, None) => Err(ApiError::bad_request("select letters with ids=1,2,3 or all=true")),
    }
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
