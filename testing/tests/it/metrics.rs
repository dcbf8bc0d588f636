//! `/metrics` as a program shows it: the format, what moves when works are done, labels that stay few.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use pp_testkit::client::Api;
use pp_testkit::{ports, wait};

use crate::standalone::Home;

const LIMIT: Duration = Duration::from_secs(30);
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
pub(crate) struct Page(BTreeMap<String, f64>);

impl Page {
    /// Reads a page, which must be as the format asks.
    pub(crate) fn of(api: &Api) -> Self {
        let answer = api.try_get("/metrics").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), FORMAT);
        assert_eq!(answer.header("cache-control"), "no-store");
        Self::parsed(&answer.body)
    }

    fn parsed(text: &str) -> Self {
        let (mut types, mut helps, mut samples) = (BTreeMap::new(), HashSet::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(types.insert(name, kind).is_none(), "twice: {line}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                helps.insert(rest.split_once(' ').unwrap().0);
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        for series in samples.keys() {
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|base| types.get(base) == Some(&"histogram"));
            let base = base.unwrap_or(name);
            assert!(base.starts_with("pp_") && types.contains_key(base), "no type: {series}");
            assert!(helps.contains(base), "no help: {series}");
        }
        Self(samples)
    }

    /// The sum of the series of this name that have all of these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter(|(series, _)| {
                labels
                    .iter()
                    .all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// The number of series.
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[test]
fn counters_move_with_the_works() {
    let home = Home::new();
    let _process = home.start();
    let before = Page::of(&home.api);
    let sums = ("kind", "add_up_to");
    assert_eq!(before.sum("pp_works_finished_total", &[sums]), 0.0);
    assert_eq!(before.sum("pp_worker_places", &[sums]), 1000.0);
    for _ in 0..20 {
        home.api.post("");
    }
    home.all_done(LIMIT);
    let id = home.api.post("")["id"].as_i64().unwrap();
    home.all_done(LIMIT);
    home.api.see(id);
    let shows = || {
        let page = Page::of(&home.api);
        page.sum("pp_works", &[sums, ("status", "done")]) == 21.0 && page.sum("pp_claims_total", &[sums]) >= 21.0
    };
    assert!(wait::holds_within(LIMIT, shows), "{:?}", Page::of(&home.api).0);
    let page = Page::of(&home.api);
    let done = ("outcome", "done");
    for (name, labels, least) in [
        ("pp_works_finished_total", &[sums, done][..], 21.0),
        ("pp_attempts_total", &[sums, done], 21.0),
        ("pp_work_due_to_done_seconds_count", &[sums], 21.0),
        ("pp_published_total", &[sums, ("outcome", "confirmed")], 21.0),
        ("pp_batch_works_sum", &[sums], 21.0),
        ("pp_commit_seconds_count", &[sums], 1.0),
        ("pp_serving_batch_seconds_count", &[("actor", "store: create")], 1.0),
        ("pp_reads_total", &[], 1.0),
        ("pp_cache_staleness_seconds_count", &[("cache", "cache")], 1.0),
        ("pp_feed_caught_up_timestamp_seconds", &[("cache", "cache")], 1.7e9),
        (
            "pp_http_requests_total",
            &[("route", "/work"), ("method", "POST"), ("code", "200")],
            21.0,
        ),
        (
            "pp_http_requests_total",
            &[("route", "/work/{id}"), ("method", "GET"), ("code", "200")],
            1.0,
        ),
        (
            "pp_http_request_seconds_count",
            &[("route", "/work"), ("method", "POST")],
            21.0,
        ),
        ("pp_http_connections", &[("listener", "api")], 1.0),
        ("pp_http_budget_limit_bytes", &[("budget", "answer")], 64e6),
        ("pp_stream_clients_limit", &[], 10_000.0),
        ("pp_database_connections", &[], 1.0),
        ("pp_part_up", &[("part", "store")], 1.0),
        ("pp_ready", &[], 1.0),
        ("pp_build_info", &[], 1.0),
        ("pp_process_resident_memory_bytes", &[], 1e6),
    ] {
        let value = page.sum(name, labels);
        assert!(value >= least, "{name}{labels:?} is {value}: {:?}", page.0);
    }
    for (name, labels) in [
        ("pp_works", &[sums, ("status", "pending")][..]),
        ("pp_dead_letters_total", &[("of", "work")]),
        ("pp_dead_letters_total", &[("of", "message")]),
        ("pp_lost_leases_total", &[]),
        ("pp_backlog_works", &[]),
        ("pp_broker_held_messages", &[sums]),
    ] {
        assert_eq!(page.sum(name, labels), 0.0, "{name}: {:?}", page.0);
        assert!(
            page.0.keys().any(|series| series.starts_with(name)),
            "{name} is shown as zero"
        );
    }
    // Buckets are cumulative.
    let (few, all) = (
        page.sum("pp_work_due_to_done_seconds_bucket", &[("le", "86400")]),
        page.sum("pp_work_due_to_done_seconds_bucket", &[("le", "+Inf")]),
    );
    assert_eq!([few, all], [page.sum("pp_work_due_to_done_seconds_count", &[]); 2]);
}

#[test]
fn unknown_routes_and_methods_share_a_label() {
    let home = Home::new();
    let _process = home.start();
    home.api.try_get("/nothing").unwrap();
    home.api.try_send("PURGE", "/nothing", &[], None).unwrap();
    // The series of its last consumer begin a moment after the start.
    let last = r#"pp_worker_places{kind="pp.notice"}"#;
    let has_all = || Page::of(&home.api).0.contains_key(last);
    assert!(wait::holds_within(LIMIT, has_all));
    let before = Page::of(&home.api);
    for number in 0..200 {
        assert_eq!(home.api.try_get(&format!("/unknown/{number}")).unwrap().status, 404);
        home.api
            .try_send(&format!("PURGE{number}"), "/nothing", &[], None)
            .unwrap();
    }
    let after = Page::of(&home.api);
    let unknown = |page: &Page, method| {
        page.sum(
            "pp_http_requests_total",
            &[("route", "other"), ("method", method), ("code", "404")],
        )
    };
    assert!(unknown(&after, "GET") >= unknown(&before, "GET") + 200.0);
    assert!(unknown(&after, "other") >= unknown(&before, "other") + 200.0);
    let names = |page: &Page| page.0.keys().cloned().collect::<BTreeSet<String>>();
    let new: Vec<String> = names(&after).difference(&names(&before)).cloned().collect();
    assert!(after.len() < before.len() + 50, "{new:?}");
    assert!(
        !after
            .0
            .keys()
            .any(|series| series.contains("unknown") || series.contains("PURGE"))
    );
}

#[test]
fn a_listener_of_its_own_shows_health_and_metrics_without_a_key() {
    let home = Home::new();
    let [port] = ports::free().unwrap();
    let probe = Api::at(port);
    let file = tempfile::tempdir().unwrap();
    let _process = home.start_with(&[
        ("PP_PROBE_BIND", &format!("127.0.0.1:{port}")),
        ("PP_ADMIN_KEY_FILE", file.path().join("key").to_str().unwrap()),
    ]);
    assert!(probe.is_ready());
    let page = Page::of(&probe);
    assert_eq!(page.sum("pp_ready", &[]), 1.0);
    assert!(page.sum("pp_http_connections", &[("listener", "probe")]) >= 1.0);
    probe.try_get("/work").unwrap().problem(404);
    home.api.try_get("/metrics").unwrap().problem(401);
}
