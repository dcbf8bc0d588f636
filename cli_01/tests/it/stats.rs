//! `stats`, with a database and over HTTP.

use pp_lib::domain::{ByOrigin, ByStatus, Stats};

use crate::embedded::{db, json, prepared};
use crate::http::Server;

const STATS: &str = r#"{"works":{"api":{"pending":1,"running":2,"done":12345,"failed":0,"cancelled":0},"consumer":{"pending":0,"running":0,"done":7,"failed":3,"cancelled":0},"app":{"pending":0,"running":0,"done":2,"failed":0,"cancelled":0}},"works_per_second":{"over_1s":12.0,"over_60s":3.5},"latency_ms":{"p50":11.32,"p99":null},"backlog":3,"scheduled":14,"newest":[{"id":21,"work_code":"api-bjq8euwsEA","add_up_to":4,"done":true,"created_on":1634115736,"updated_on":1634115737,"status":"done","result":10,"version":2,"kind":"add_up_to"}]}"#;

/// The counters of the test database.
fn truth() -> ByOrigin {
    let api = ByStatus {
        done: 1,
        ..ByStatus::default()
    };
    let consumer = ByStatus {
        pending: 1,
        ..ByStatus::default()
    };
    let app = ByStatus::default();
    ByOrigin { api, consumer, app }
}

#[test]
fn the_counters_match_the_database() {
    let folder = prepared();
    let stats: Stats = json(db(folder.path(), &["stats", "--output", "json"]));
    assert_eq!((stats.works, stats.backlog, stats.newest.len()), (truth(), 1, 2));
    let rebuilt: Stats = json(db(folder.path(), &["stats", "--rebuild", "--output", "json"]));
    assert_eq!(rebuilt.works, truth());
    let table = db(folder.path(), &["stats"]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[1].starts_with("api ") && lines[2].starts_with("consumer ") && lines[3].starts_with("app "),
        "{table}"
    );
    assert_eq!(lines.len(), 4 + 1 + 2 + 1 + 3, "{table}");
}

#[test]
fn stats_works_over_http() {
    let server = Server::json(STATS);
    let table = server.call(&["stats"]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines,
        [
            "ORIGIN    PENDING  RUNNING   DONE  FAILED  CANCELLED",
            "api             1        2  12345       0          0",
            "consumer        0        0      7       3          0",
            "app             0        0      2       0          0",
            "",
            "BACKLOG  SCHEDULED  DONE/S OVER 1 S  OVER 60 S  P50 MS  P99 MS",
            "      3         14             12.0        3.5    11.3       -",
            "",
            "ID  WORK CODE       ADD UP TO  STATUS  RESULT  CREATED (UTC)        UPDATED (UTC)        VERSION",
            "21  api-bjq8euwsEA          4  done        10  2021-10-13 09:02:16  2021-10-13 09:02:17        2",
        ]
    );
    assert_eq!(server.request().0, "GET /stats HTTP/1.1");
    let document = Server::json(STATS).call(&["stats", "--output", "json"]).done();
    assert_eq!(document, format!("{STATS}\n"));
    Server::problem("503 Service Unavailable", "later")
        .call(&["stats"])
        .failed(3, "later");
}

#[test]
fn a_rebuild_needs_the_database() {
    let folder = prepared();
    crate::call(folder.path(), &["stats", "--rebuild"], &[]).failed(2, "--rebuild needs --call-type db");
}
