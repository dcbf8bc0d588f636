//! Queues with names by the policy of a kind: they are there before a worker comes, and it uses no others.

use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use pp_chaos::asks::{Ask, MOODY, Mood};
use pp_chaos::{handlers, queues};
use pp_lib::broker::Queue;
use pp_lib::domain::{Json, KindName, Principal};
use pp_lib::kinds::set_policy;
use pp_lib::store::AnyStore;

use super::place::{Place, until};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn queues_of_a_policy_are_set_up_worked_off_and_emptied() {
    let place = Place::new().await;
    let calls = tempfile::tempdir().unwrap();
    let own = place.prefix.replacen("pp.", "user.", 1);
    let (demands, dead_letters) = (format!("{own}.moody"), format!("{own}.deadletter"));
    let kind: KindName = MOODY.parse().unwrap();
    let store: AnyStore = Arc::new(place.store().await);
    store
        .declare(&Principal::Open, &kind, &Json::accepted(r#"{"policy":{}}"#))
        .await
        .unwrap()
        .unwrap();
    let names = format!(r#"{{"queue":"{demands}","dead_letter_queue":"{dead_letters}"}}"#);
    set_policy(&store, &Principal::Open, &kind, &Json::accepted(names), None)
        .await
        .unwrap()
        .unwrap();

    let worker = || {
        let program = place.service("pp_chaos_worker").set(handlers::KINDS, MOODY);
        program.set(handlers::CALLS, calls.path().join("calls"))
    };
    let set_up = worker().args("--setup").run();
    assert_eq!(set_up.code, Some(0), "{}", set_up.stderr);
    for queue in [&demands, &dead_letters] {
        assert_eq!(place.waiting_in(queue).await, Some(0), "{queue}");
    }

    // It fails twice and is sent again by the dispatcher, to the same queue.
    let ask = Ask::Moody(Mood::FailsTwice, 7).args();
    let messages = [&b"no demand"[..], ask.as_bytes()];
    let messages = messages.map(|body| (BasicProperties::default(), body));
    place.publish(&demands, messages.into_iter()).await;
    let process = worker().start();
    let client = place.client().await;
    let count = async |sql: &str| -> i64 { client.query_one(sql, &[&MOODY]).await.unwrap().get(0) };
    until("the work is done", LIMIT, async || {
        count("SELECT count(*) FROM works WHERE kind = $1 AND status = 'done'").await == 1
    })
    .await;
    until("the other message is a letter", LIMIT, async || {
        count("SELECT count(*) FROM dead_letters WHERE kind = $1").await == 1
    })
    .await;
    assert_eq!(process.terminate().code, Some(0));
    for queue in [&demands, &dead_letters] {
        assert_eq!(place.waiting_in(queue).await, Some(0), "{queue}");
        queues::delete(&place.rabbitmq, queue).await.unwrap();
    }
    assert_eq!(place.waiting_in(&place.queues().get(&Queue::Demand(kind))).await, None);
    place.leave().await;
}
