//! A log that nobody reads, where the services are processes of their own.

use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_testkit::ports;

use super::place::{Place, until};
use crate::unread_log::{is_alive, stops};
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_log_nobody_reads_works_and_stops() {
    const EACH: usize = 500;
    let place = Place::new().await;
    let [port] = ports::free().unwrap();
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    let program = place.service("task_consumer").set("PP_LOG", "trace");
    let (process, _unread) = program.set("PP_PROBE_BIND", format!("127.0.0.1:{port}")).start_unread();
    place.publish_as_a_stranger(&vec![b"no demand".to_vec(); EACH]).await;
    queue.publish(EACH).await.unwrap();
    let (client, each) = (place.client().await, i64::try_from(EACH).unwrap());
    until("everything is done or buried", LIMIT, async || {
        let row = client
            .query_one("SELECT count(*) FROM dead_letters", &[])
            .await
            .unwrap();
        row.get::<_, i64>(0) == each && place.ledger.done().await.unwrap() == each
    })
    .await;
    assert!(is_alive(&Api::at(port)));
    stops(process);
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_and_a_producer_whose_logs_nobody_reads_work_and_stop() {
    let place = Place::new().await;
    let [port, pages] = ports::free().unwrap();
    let program = place.service("pp_backend_api").set("PP_LOG", "trace");
    let (mut api, _unread) = program.set("PP_API_BIND", format!("127.0.0.1:{port}")).start_unread();
    let program = place.service("task_producer").set("PP_LOG", "trace").args("--rate 500");
    let (mut producer, _unread_too) = program
        .set("PP_PROBE_BIND", format!("127.0.0.1:{pages}"))
        .start_unread();
    let (client, producers) = (Api::at(port), Api::at(pages));
    api.gets_ready(&client);
    producer.gets_ready(&producers);
    for _ in 0..300 {
        client.post("{}");
    }
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    until("demands come", LIMIT, async || queue.waiting().await.unwrap() > 1_000).await;
    assert!(is_alive(&client) && is_alive(&producers));
    stops(producer);
    stops(api);
    place.leave().await;
}
