//! `run_at`: works with a start time.

use std::time::SystemTime;

use super::server::Server;
use pp_testkit::client::send;

on_both! {
    a_work_waits_for_its_time
    a_work_that_waits_can_be_cancelled
    an_updated_work_keeps_its_time
    a_time_within_366_days_is_accepted_and_no_other
}

pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

fn scheduled(server: &Server, run_at: i64) -> serde_json::Value {
    let answer = server.post(&format!(r#"{{"add_up_to":4,"run_at":{run_at}}}"#));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn a_work_waits_for_its_time(server: &Server) {
    let run_at = now() + 2;
    let (at_once, later) = (server.created(5), scheduled(server, run_at));
    assert_eq!(
        (&later["run_at"], &later["status"]),
        (&run_at.into(), &"pending".into())
    );
    assert_eq!(at_once.get("run_at"), None);
    assert_eq!(server.work(&later), later);
    server.claim_of(&at_once);
    server.compute(&later);
    assert!(now() >= run_at, "it ran too early");
    let done = server.work(&later);
    assert_eq!((&done["result"], &done["run_at"]), (&10.into(), &run_at.into()));
}

fn a_work_that_waits_can_be_cancelled(server: &Server) {
    let run_at = now() + 1;
    let path = format!("/work/{}", scheduled(server, run_at)["id"]);
    assert_eq!(send(server.address, "DELETE", &path, &[], None).status, 204);
    server.get(&path).problem(404);
    // The cancelled work is not due when a later one is.
    let next = scheduled(server, run_at + 1);
    assert_eq!(server.claimed_until(&next).len(), 1);
}

fn an_updated_work_keeps_its_time(server: &Server) {
    let run_at = now() + 1000;
    let work = scheduled(server, run_at);
    let path = format!("/work/{}", work["id"]);
    let headers = [("content-type", "application/json")];
    let updated = send(server.address, "PATCH", &path, &headers, Some(br#"{"add_up_to":5}"#)).json();
    assert_eq!((&updated["add_up_to"], &updated["run_at"]), (&5.into(), &run_at.into()));
    // The updated work is not due when a later one is.
    let other = server.created(1);
    let path = format!("/work/{}", other["id"]);
    assert_eq!(
        send(server.address, "PATCH", &path, &headers, Some(br#"{"add_up_to":5}"#)).status,
        200
    );
    assert_eq!(server.claimed_until(&other).len(), 1);
}

fn a_time_within_366_days_is_accepted_and_no_other(server: &Server) {
    let latest = now() + 366 * 24 * 3600;
    for good in [0, 1, now() - 5, now(), latest - 100, latest] {
        assert_eq!(scheduled(server, good)["run_at"], good);
    }
    let over = (latest + 100).to_string();
    for wrong in [
        "-1",
        &over,
        "9223372036854775808",
        "1e3",
        "1.5",
        "\"5\"",
        "null",
        "true",
        "[1]",
    ] {
        let detail = server.post(&format!(r#"{{"run_at":{wrong}}}"#)).problem(422);
        assert!(
            detail.contains("run_at as Unix seconds, a whole number from 0 to"),
            "{wrong}: {detail}"
        );
    }
    assert_eq!(server.count(), 6);
}
