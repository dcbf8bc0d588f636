//! `/metrics`, and the metrics of HTTP: requests, connections and budgets of bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::http::{Method, StatusCode};
use pp_lib::runtime::{Counter, Gauge, Histogram, Metric, Metrics, OTHER};

/// The format of the page, with its version.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const REQUESTS: Metric = Metric::counting(
    "pp_http_requests_total",
    &["route", "method", "code"],
    "Answered requests of the API by the pattern of their route; `other` where there is none.",
);
const SECONDS: Metric = Metric::distributing(
    "pp_http_request_seconds",
    Metric::SECONDS,
    &["route", "method"],
    "Time from the head of a request to the head of its answer.",
);
const REFUSED: Metric = Metric::counting(
    "pp_http_refused_total",
    &["code"],
    "Requests that were refused before they reached a route, because their head was malformed, large or slow.",
);
const CONNECTIONS: Metric = Metric::gauging(
    "pp_http_connections",
    &["listener"],
    "Open connections of a listener: api or probe.",
);
const CONNECTIONS_LIMIT: Metric = Metric::gauging(
    "pp_http_connections_limit",
    &["listener"],
    "The most connections of a listener.",
);
const BUDGET: Metric = Metric::gauging(
    "pp_http_budget_bytes",
    &["budget"],
    "Bytes in memory of what a budget bounds: body or answer.",
);
const BUDGET_LIMIT: Metric = Metric::gauging(
    "pp_http_budget_limit_bytes",
    &["budget"],
    "The most bytes of a budget, PP_BODY_BUDGET.",
);

/// Every metric that this crate records.
pub const METRICS: [Metric; 7] = [
    REQUESTS,
    SECONDS,
    REFUSED,
    CONNECTIONS,
    CONNECTIONS_LIMIT,
    BUDGET,
    BUDGET_LIMIT,
];

/// The page of all metrics of the process.
pub fn metrics_page(metrics: &Metrics) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, FORMAT))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(metrics.page())
}

/// The route, method and code of an answer.
type Answer = (&'static str, &'static str, u16);

/// Notes an answer. `route` is the pattern of the route, never a path.
pub fn answered(route: &'static str, method: &Method, code: StatusCode, after: Duration) {
    thread_local! {
        /// A server has few routes, methods and codes.
        static HANDLES: RefCell<HashMap<Answer, (Counter, Histogram)>> = RefCell::default();
    }
    let method = method_label(method);
    HANDLES.with_borrow_mut(|handles| {
        let (counter, seconds) = handles.entry((route, method, code.as_u16())).or_insert_with(|| {
            let counter = REQUESTS.counter(&[route, method, code.as_str()]);
            (counter, SECONDS.histogram(&[route, method]))
        });
        counter.increment(1);
        seconds.record(after);
    });
}

/// A client may send any word as a method.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

pub(crate) fn refused(code: StatusCode) {
    REFUSED.counter(&[code.as_str()]).increment(1);
}

pub(crate) fn show_budget(budget: &'static str, used: usize, limit: usize) {
    BUDGET.gauge(&[budget]).set(used as f64);
    BUDGET_LIMIT.gauge(&[budget]).set(limit as f64);
}

/// The open connections of a listener.
#[derive(Clone)]
pub(crate) struct Connections(Gauge);

impl Connections {
    pub(crate) fn new(listener: &'static str, limit: usize) -> Self {
        CONNECTIONS_LIMIT.gauge(&[listener]).set(limit as f64);
        Self(CONNECTIONS.gauge(&[listener]))
    }

    /// Counts a connection until the result is dropped.
    pub(crate) fn opened(&self) -> OpenConnection {
        self.0.increment(1.0);
        OpenConnection(self.0.clone())
    }
}

pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_has_no_label_of_its_own() {
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        for word in ["PURGE", "get", "X-1"] {
            assert_eq!(method_label(&Method::from_bytes(word.as_bytes()).unwrap()), OTHER);
        }
    }
}
