//! `/run` and `/worker`: workers in any language claim works, say that they are at work, and report how it ended.
//!
//! A report is an object or an array of them. An array is answered with an array: for each report what it would have been
//! answered alone, a problem included. Tokens of runs stand in bodies, never in a URL, which logs would keep.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::{Client, NoQuery};
use pp_lib::claims::{RunToken, SeenWorker, ShownRun};
use pp_lib::domain::{Json, KindName, Problem, Work};
use pp_lib::kinds::{Delivery, Failure};
use pp_lib::serving::{Beat, ClaimError, Heartbeat, Over, RunEnd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::kinds::unknown;
use super::run_bodies::{BeatFields, Beaten, Beating, Claim, ClaimFields, Claims, Completed, Failed, Snoozed, delay};
use crate::access::Caller;
use crate::body::Body;
use crate::error::ApiError;
use crate::openapi::{Operation, Tag, examples};
use crate::query;
use crate::request_json::{Item, Items, Object};
use crate::{Api, answer, body};

/// The default number of workers, and of running works.
const USUAL_PAGE: u16 = 100;

/// The reports of a request, and whether they came in an array.
struct Reports<T> {
    items: Vec<T>,
    is_array: bool,
}

fn reports<T: Item>(request: &HttpRequest, bytes: &[u8]) -> Result<Reports<T>, ApiError> {
    let is_array = bytes.trim_ascii_start().starts_with(b"[");
    let items = match is_array {
        true => body::parse::<Items<T>>(request, bytes)?.0,
        false => vec![body::parse::<Object<T>>(request, bytes)?.0],
    };
    Ok(Reports { items, is_array })
}

/// Claims works, or waits for the first one. A claim that finds none answers an empty list.
pub(super) async fn claim(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let Object(Claim(wanted)): Object<Claim> = body::parse(&request, &body.bytes)?;
    let caller = Caller::of(&request);
    wanted.kinds.iter().try_for_each(|kind| caller.may_work(kind))?;
    // A wait holds no room for its body.
    drop(body);
    let client = request.conn_data::<Client>().cloned();
    let left = async {
        match client {
            Some(client) => client.left().await,
            None => std::future::pending().await,
        }
    };
    let runs = api.runs.claim(wanted, left).await.map_err(refused)?;
    let answer = Claims {
        runs: runs.iter().map(ShownRun::of).collect(),
    };
    let sent = answer::send_json(&api.answers, HttpResponse::Ok(), &answer);
    if sent.is_err() {
        api.runs.give_back(runs.into_iter().map(|(_, run)| run).collect()).await;
    }
    sent
}

fn refused(error: ClaimError) -> ApiError {
    match error {
        ClaimError::Actor(error) => error.into(),
        ClaimError::Unknown(kind, why) => unknown(&kind, why, "/kinds"),
        ClaimError::OtherDelivery(kind, delivery) => other_delivery(&kind, delivery),
    }
}

/// The error for a kind whose works no worker can claim.
pub(super) fn other_delivery(kind: &KindName, delivery: Delivery) -> ApiError {
    let way = match delivery {
        Delivery::Queue => "handlers in a consumer, by way of its queue",
        Delivery::Pull => "workers that claim it",
        Delivery::Push => "its URL, which is called",
    };
    ApiError::unprocessable(format!(
        "kind {kind} is done by {way}; PUT /kind/{kind} with {{\"delivery\":\"pull\"}} changes that"
    ))
    .code("other_delivery")
}

/// Extends leases. Tells workers whose works were cancelled to stop.
pub(super) async fn heartbeat(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let Reports { items, is_array } = reports::<Beaten>(&request, &body.bytes)?;
    let beats: Vec<Heartbeat> = items.into_iter().map(|item| item.0).collect();
    let caller = Caller::of(&request);
    beats.iter().try_for_each(|beat| caller.may_work(beat.run.kind()))?;
    let answers = api.ask(api.runs.beat(beats)).await?;
    let shown = answers.into_iter().map(|answer| {
        let shown = |Beat {
                         lease_until,
                         cancel_requested,
                     }| Beating {
            lease_until,
            cancel_requested,
        };
        answer.map(shown)
    });
    send(&api, shown.collect(), is_array)
}

/// Ends runs with their results. The same end again has the same answer.
pub(super) async fn complete(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let reports = reports::<Completed>(&request, &body.bytes)?;
    let limit = api.config.args_limit;
    end(&api, &request, reports, |Completed { run, result }| {
        let text = result.as_ref().map_or("null", |result| result.get());
        let result = Json::parse(text.as_bytes(), limit)
            .map_err(|error| format!("/result{}: {}", error.pointer, error.fault))?;
        Ok((run.0, Ok(result)))
    })
    .await
}

/// Ends runs with failures.
pub(super) async fn fail(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let reports = reports::<Failed>(&request, &body.bytes)?;
    end(&api, &request, reports, |failed| {
        let failure = match (failed.permanent, failed.retry_after) {
            (true, Some(_)) => return Err("permanent and retry_after contradict each other".to_owned()),
            (true, None) => Failure::permanent(failed.error),
            (false, Some(after)) => Failure::retry_after(delay("retry_after", &after)?, failed.error),
            (false, None) => Failure::retry(failed.error),
        };
        Ok((failed.run.0, Err(failure)))
    })
    .await
}

/// Puts works off. That is no failure.
pub(super) async fn snooze(
    api: web::Data<Api>,
    request: HttpRequest,
    _: NoQuery,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let reports = reports::<Snoozed>(&request, &body.bytes)?;
    end(&api, &request, reports, |snoozed| {
        let wait = delay("for", &snoozed.r#for)?;
        Ok((snoozed.run.0, Err(Failure::snooze(wait))))
    })
    .await
}

/// Ends runs. `read` makes an end of an item, or says what is wrong with it.
async fn end<T>(
    api: &Api,
    request: &HttpRequest,
    Reports { items, is_array }: Reports<T>,
    read: impl Fn(T) -> Result<(RunToken, RunEnd), String>,
) -> Result<HttpResponse, ApiError> {
    let mut ends = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let end = read(item).map_err(|why| match is_array {
            true => format!("item {place}: {why}"),
            false => why,
        });
        ends.push(end.map_err(ApiError::unprocessable)?);
    }
    let caller = Caller::of(request);
    ends.iter().try_for_each(|(run, _)| caller.may_work(run.kind()))?;
    let answers: Vec<Result<Work, Over>> = api.ask(api.runs.end(ends)).await?;
    send(api, answers, is_array)
}

/// Answers the one report, or all of an array.
fn send<T: Serialize>(api: &Api, mut answers: Vec<Result<T, Over>>, is_array: bool) -> Result<HttpResponse, ApiError> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Answer<T> {
        Taken(T),
        Refused(Problem),
    }
    if is_array {
        let answers: Vec<Answer<T>> = answers
            .into_iter()
            .map(|answer| answer.map_or_else(|over| Answer::Refused(is_over(over).problem()), Answer::Taken))
            .collect();
        return answer::send_json(&api.answers, HttpResponse::Ok(), &answers);
    }
    match answers.pop() {
        Some(Ok(answer)) => answer::send_json(&api.answers, HttpResponse::Ok(), &answer),
        Some(Err(over)) => Err(is_over(over)),
        None => Err(ApiError::internal()),
    }
}

fn is_over(over: Over) -> ApiError {
    let detail = match over {
        Over::Expired => "this run is over: its lease ran out, and another attempt has the work",
        Over::Cancelled => "this run is over: the work was cancelled or deleted",
        Over::Updated => "this run is over: the work got other arguments and is done anew",
        Over::Redriven => "this run is over: the work was started over",
        Over::Finished => "this run is over: it ended in another way before",
    };
    ApiError::new(StatusCode::CONFLICT, detail)
        .code("lease-lost")
        .why(over.as_str())
}

/// The query parameters of `GET /worker`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Page {
    /// The most workers, and the most running works.
    #[schemars(with = "u16", range(min = 1, max = query::MAX_PAGE), extend("default" = USUAL_PAGE))]
    limit: Option<String>,
}

/// The workers, the one that was heard of last first, each with its running works.
pub(super) async fn workers(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let Page { limit } = query::parse(&request)?;
    let limit = query::limit(limit.as_deref(), USUAL_PAGE)?;
    let workers = api.ask(api.runs.workers(limit)).await?;
    answer::send_json(&api.answers, HttpResponse::Ok(), &workers)
}

/// Describes `POST /run/claim`.
pub(super) fn claim_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("claim_runs", Tag::Workers)
        .text("Answers as soon as works are due, or with none after `wait`.")
        .body::<ClaimFields>(
            json!({ "kinds": ["text.count"], "worker": "py-1", "max": 10, "wait": "0s", "lease": "60s" }),
        )
        .json::<Claims<'_>>(
            200,
            "The runs that were claimed, with what proves them.",
            examples::claims(),
        )
        .problem(422, &["other_delivery"], "Works of a kind are not claimed by workers.")
}

/// Describes `POST /run/heartbeat`.
pub(super) fn heartbeat_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("extend_runs", Tag::Workers)
        .reports::<BeatFields>(json!({ "run": examples::RUN, "progress": 40, "note": "resizing" }))
        .reported::<Beating>(
            "The run goes on.",
            json!({ "lease_until": 1_795_199_608, "cancel_requested": false }),
        )
        .problem(
            409,
            &["lease-lost"],
            "The run is over; `why` says what came between. In an array it is the answer to this report alone.",
        )
}

/// Describes `POST /run/complete`.
pub(super) fn complete_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("complete_runs", Tag::Workers)
        .reports::<Completed>(json!({ "run": examples::RUN, "result": { "words": 6 } }))
        .reported::<Work>("The work.", examples::done_work())
        .problem(
            409,
            &["lease-lost"],
            "The run is over; `why` says what came between. In an array it is the answer to this report alone.",
        )
}

/// Describes `POST /run/fail`.
pub(super) fn fail_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("fail_runs", Tag::Workers)
        .reports::<Failed>(json!({ "run": examples::RUN, "error": "no such address", "permanent": true }))
        .reported::<Work>("The work.", examples::work())
        .problem(
            409,
            &["lease-lost"],
            "The run is over; `why` says what came between. In an array it is the answer to this report alone.",
        )
}

/// Describes `POST /run/snooze`.
pub(super) fn snooze_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("snooze_runs", Tag::Workers)
        .reports::<Snoozed>(json!({ "run": examples::RUN, "for": "5m" }))
        .reported::<Work>("The work.", examples::work())
        .problem(
            409,
            &["lease-lost"],
            "The run is over; `why` says what came between. In an array it is the answer to this report alone.",
        )
}

/// Describes `GET /worker`.
pub(super) fn workers_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("list_workers", Tag::Workers)
        .query::<Page>()
        .array::<SeenWorker>("The workers, the one heard of last first.", false, [examples::worker()])
}
