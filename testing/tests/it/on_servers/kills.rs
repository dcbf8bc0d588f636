//! A worker killed in the middle, again and again: every demand with an identity is exactly one work, with one of each
//! event.

use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_chaos::ledger::Account;
use pp_lib::broker::Broker as _;
use pp_lib::broker::Queue;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};

use super::place::{Place, until};
use crate::dice::Dice;

const LIMIT: Duration = Duration::from_secs(60);

/// Puts `demands` into the queue and kills workers `kills` times while they are worked off; what it came to.
async fn killed_while_draining(place: &Place, demands: usize, kills: usize, settings: &[(&str, &str)]) -> Account {
    let mut dice = Dice::new();
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    let ids = queue.publish(demands).await.unwrap();
    let worker = || {
        let program = place.service("task_consumer").set("PP_DISPATCH", "on");
        let program = settings
            .iter()
            .fold(program, |program, (name, value)| program.set(name, value));
        program.start()
    };
    let done = async || usize::try_from(place.ledger.done().await.unwrap()).unwrap();
    for kill in 0..kills {
        let victim = worker();
        let have = done().await;
        // Leaves enough for the kills to come.
        let aim = have
            + dice.roll(
                &format!("works until the next kill, after {have}"),
                1..=(demands - have) / (kills - kill + 3),
            );
        until("works are done", LIMIT, async || done().await >= aim).await;
        victim.kill();
    }
    assert!(done().await < demands, "the last kill came when all was done");

    let last = worker();
    let total = i64::try_from(demands).unwrap();
    until("everything is done", LIMIT, async || {
        place.ledger.done().await.unwrap() == total
    })
    .await;
    // What was redelivered after its commit is acknowledged, too.
    let broker = RabbitMq::connect(&place.rabbitmq, place.queues(), RabbitMqConfig::default())
        .await
        .unwrap();
    until("the queue is empty", LIMIT, async || {
        broker.ready_messages(&Queue::sums()).await.unwrap() == 0
    })
    .await;
    let ended = last.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        broker.ready_messages(&Queue::sums()).await.unwrap(),
        0,
        "messages came back"
    );
    assert_eq!(
        broker.ready_messages(&Queue::DeadLetter).await.unwrap(),
        0,
        "dead letters"
    );

    assert_eq!(place.ledger.lost(&ids).await.unwrap(), Vec::<String>::new());
    place.all_done(total).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_again_and_again_loses_nothing_and_repeats_nothing() {
    let place = Place::new().await;
    // Small batches make many moments to be killed at.
    let account = killed_while_draining(&place, 50_000, 12, &[("PP_BATCH", "100"), ("PP_PREFETCH", "200")]).await;
    assert_eq!(
        (account.events, account.failed_attempts),
        (3 * 50_000, 0),
        "{account:?}"
    );
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_works_of_a_killed_worker_start_anew_when_their_leases_end() {
    let place = Place::new().await;
    // Bounds from 1 to 99: some end within their batch, most are running with a lease when the worker is killed.
    let settings = [
        ("PP_PACE", "1ms"),
        ("PP_LEASE", "500ms"),
        ("PP_BATCH", "40"),
        ("PP_DISPATCH_POLL", "50ms"),
    ];
    let account = killed_while_draining(&place, 300, 6, &settings).await;
    assert!(account.failed_attempts > 0, "nothing was running at any of the kills");
    place.leave().await;
}
