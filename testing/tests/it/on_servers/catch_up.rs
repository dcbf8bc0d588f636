//! Two producers on one schedule, one of which comes late and catches up: each slot is one work.

use std::collections::BTreeSet;
use std::time::Duration;

use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Queue};

use super::place::{Place, until};

const LIMIT: Duration = Duration::from_secs(30);

/// How many slots the second producer makes up for.
const MISSED: usize = 60;

/// The slots that a producer says it made when they were due, as it writes them: by UTC, so that they sort by time.
fn slots(log: &str) -> BTreeSet<&str> {
    let made = log.lines().filter(|line| line.contains(": 1 confirmed"));
    let slots = made.filter_map(|line| line.split_once("slot ")?.1.split_inclusive('Z').next());
    slots.collect()
}

/// The last of the slots that a producer says it catches up on.
fn caught_up_to(log: &str) -> &str {
    let said = format!("catching up on {MISSED} slots, ");
    let (_, range) = log.split_once(&said).unwrap();
    range.lines().next().unwrap().split_once(" to ").unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_catches_up_beside_another_makes_each_slot_once() {
    let place = Place::new().await;
    let producer = |catch_up: usize| {
        let program = place.service("task_producer").set("PP_SCHEDULE", "* * * * * *");
        program.set("PP_CATCH_UP", catch_up.to_string()).start()
    };
    let done = async || usize::try_from(place.ledger.done().await.unwrap()).unwrap();
    let worker = place.service("task_consumer").start();
    let first = producer(0);
    until("the first producer's slots are done", LIMIT, async || done().await >= 3).await;
    let second = producer(MISSED);
    until("the past is done, and more", LIMIT, async || done().await >= MISSED + 3).await;
    let logs = [first, second].map(|producer| {
        let ended = producer.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stderr
    });

    let (both, late) = (slots(&logs[0]), slots(&logs[1]));
    let until_start = caught_up_to(&logs[1]);
    let made_twice = both.iter().filter(|slot| **slot <= until_start).count();
    assert!(made_twice >= 3, "the past was nobody else's: {logs:?}");
    let since = both.union(&late).filter(|slot| **slot > until_start).count();
    let expected = MISSED + since;
    until("every slot is done", LIMIT, async || done().await >= expected).await;
    let broker = RabbitMq::connect(&place.rabbitmq, place.queues(), RabbitMqConfig::default())
        .await
        .unwrap();
    until("the queue is empty", LIMIT, async || {
        broker.ready_messages(&Queue::sums()).await.unwrap() == 0
    })
    .await;
    // It ends when everything it took is acknowledged, so no copy is still on its way.
    assert_eq!(worker.terminate().code, Some(0));
    assert_eq!(broker.ready_messages(&Queue::sums()).await.unwrap(), 0);
    let account = place.ledger.account().await.unwrap();
    let expected = i64::try_from(expected).unwrap();
    assert_eq!(
        (account.done, account.unfinished, account.wrong_history, account.events),
        (expected, 0, 0, 3 * expected),
        "{account:?}"
    );
    place.leave().await;
}
