//! `/deadletter`: what was given up - looked at in pages, run again or dropped by number or all together.

use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::DeadLetterId;
use pp_lib::store::Selection;
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::query::{self, number};
use crate::wanted::{Nothing, Object};
use crate::{Api, answer, body, idempotent};

/// How many letters a page has where nothing else is asked for.
const USUAL_PAGE: u16 = 50;
/// How many letters may be named in one request.
const MOST_IDS: usize = 1000;

/// Which page of the letters.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Page {
    limit: Option<String>,
    before: Option<String>,
}

/// Which letters.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    ids: Option<String>,
    all: Option<String>,
}

pub(super) async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let page: Page = query::parse(&request)?;
    let limit = query::limit(page.limit.as_deref(), USUAL_PAGE)?;
    let before = page.before.map(|text| number("before", &text)).transpose()?;
    // One more than asked for tells whether there is a next page.
    let letters = api.works.dead_letters(before.map(DeadLetterId), limit + 1);
    let letters = api.ask(letters).await?;
    answer::send_page(&api.answers, &letters, limit, |last| {
        format!("{}?limit={limit}&before={}", request.path(), last.id)
    })
}

pub(super) async fn redrive(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let body = match body::read(&api, &request, payload).await {
        Ok(body) => body,
        Err(unread) => return Ok(unread.into()),
    };
    let which = selection(&request)?;
    if !body.bytes.is_empty() {
        body::parse::<Object<Nothing>>(&request, &body.bytes)?;
    }
    let store = api.works.clone();
    idempotent::answer_once(&api, &request, &body.bytes, move |_| async move {
        // Repeated, it finds fewer letters: what was redriven is no letter any more.
        idempotent::ok_json(&json!({"redriven": store.redrive(which).await?}), Vec::new())
    })
    .await
}

pub(super) async fn drop_letters(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let dropped = api.ask(api.works.drop_letters(selection(&request)?)).await?;
    Ok(HttpResponse::Ok().json(json!({"dropped": dropped})))
}

/// All letters are meant only by whoever says so.
fn selection(request: &HttpRequest) -> Result<Selection, ApiError> {
    let Which { ids, all } = query::parse(request)?;
    match (ids, all.as_deref()) {
        (Some(ids), None) => parse_ids(&ids).map(Selection::Ids).ok_or_else(|| {
            ApiError::bad_request(format!(
                "ids must be 1 to {MOST_IDS} numbers of letters, as in ids=1,2,3"
            ))
        }),
        (None, Some("true")) => Ok(Selection::All),
        (None, Some(_)) => Err(ApiError::bad_request("all can only be true, as in all=true")),
        (Some(_), Some(_)) => Err(ApiError::bad_request(
            "ids and all contradict each other; give one of them",
        )),
        (None, None) => Err(ApiError::bad_request("which letters? ids=1,2,3 or all=true is needed")),
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
