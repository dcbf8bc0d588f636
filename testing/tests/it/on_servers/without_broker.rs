//! PostgreSQL alone: the services run with `PP_BROKER_URL=database:`, and workers are killed meanwhile.

use std::time::Duration;

use serde_json::json;

use super::place::{Place, until};
use crate::program::Program;

const LIMIT: Duration = Duration::from_secs(60);

/// A service of this place without a broker.
fn service(place: &Place, name: &str) -> Program {
    place.service(name).set("PP_BROKER_URL", "database:")
}

async fn done(place: &Place) -> i64 {
    place.ledger.done().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn works_of_every_way_are_done_while_workers_are_killed() {
    const POSTED: i64 = 3_000;
    let place = Place::new().await;
    let (api, serving) = service(&place, "pp_backend_api").start_ready();
    // One work of each way in, before there is a worker.
    api.post(r#"{"add_up_to":3}"#);
    api.demand(r#"{"add_up_to":4}"#, None);
    let produced = service(&place, "task_producer").args("--once").run();
    assert_eq!(produced.code, Some(0), "{produced:?}");
    let client = place.client().await;
    let enqueue = "SELECT pp_enqueue('add_up_to', '{\"add_up_to\":5}')";
    client.execute(enqueue, &[]).await.unwrap();

    let other = service(&place, "task_consumer").start();
    until("the first works are done", LIMIT, async || done(&place).await == 4).await;
    let first = place.ledger.highest_id().await.unwrap();
    for kill in 1..=5 {
        let many: Vec<_> = (0..POSTED / 5)
            .map(|number| json!({"add_up_to": number % 90 + 1}))
            .collect();
        let victim = service(&place, "task_consumer").start();
        let posted = api.try_json("POST", "/work/bulk", &json!(many).to_string(), None);
        assert_eq!(posted.unwrap().status, 200);
        let aim = 4 + POSTED / 5 * (kill - 1) + 50;
        until("works are done", LIMIT, async || done(&place).await >= aim).await;
        victim.kill();
    }
    until("everything is done", LIMIT, async || done(&place).await == POSTED + 4).await;
    for ended in [other.terminate(), serving.terminate()] {
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let account = place.ledger.account_above(first).await.unwrap();
    let told = (account.done, account.unfinished, account.wrong_history, account.orphans);
    assert_eq!(told, (POSTED, 0, 0, 0), "{account:?}");
    place.leave().await;
}
