//! What is worth a line, where the services are processes of their own.

use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_lib::domain::{AddUpTo, KindName, Origin};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{NewWork, WorkRows as _};

use super::place::{Place, until};
use crate::quiet_log::{told, warnings};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_messages_is_one_line_and_then_counts() {
    const BAD: usize = 3_000;
    let place = Place::new().await;
    let _queues = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    place.publish_as_a_stranger(&vec![b"no demand".to_vec(); BAD]).await;
    let consumer = place.service("task_consumer").start();
    let client = place.client().await;
    until("all are dead letters", LIMIT, async || {
        let row = client
            .query_one("SELECT count(*) FROM dead_letters", &[])
            .await
            .unwrap();
        row.get::<_, i64>(0) == BAD as i64
    })
    .await;
    let ended = consumer.terminate();
    assert_eq!(
        told(&ended.stderr, "a message is a dead letter"),
        BAD,
        "{}",
        ended.stderr
    );
    assert!(warnings(&ended.stderr).len() <= 4, "{}", ended.stderr);
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_that_lost_its_workers_too_often_is_one_line_with_its_code() {
    let place = Place::new().await;
    let work = NewWork {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        kind: KindName::default(),
        args: AddUpTo::try_from(7).unwrap().args(),
        run_at: None,
        unique: None,
        notify: None,
    };
    place.store().await.create(std::slice::from_ref(&work)).await.unwrap();
    let worker = || {
        place
            .service("task_consumer")
            .set("PP_PACE", "60s")
            .set("PP_LEASE", "1s")
            .start()
    };
    let (client, first) = (place.client().await, worker());
    until("it is running", LIMIT, async || {
        let sql = "UPDATE works SET lost_leases = 20 WHERE status = 'running'";
        client.execute(sql, &[]).await.unwrap() == 1
    })
    .await;
    first.kill();
    let second = worker();
    until("it is given up", LIMIT, async || {
        let row = client
            .query_one("SELECT count(*) FROM works WHERE status = 'failed'", &[])
            .await;
        row.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let ended = second.terminate();
    let given_up: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("is given up"))
        .collect();
    assert_eq!(given_up.len(), 1, "{}", ended.stderr);
    let line = format!("work {} is given up: ", work.work_code);
    assert!(given_up[0].contains(&line), "{}", given_up[0]);
    place.leave().await;
}
