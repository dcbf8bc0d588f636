//! A broker that is short of memory: it takes no messages, says so, and gives out what it has.

use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_testkit::servers::{Kind, PrivateServers};

use super::place::{Place, until};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn who_publishes_waits_and_says_so_while_the_others_go_on() {
    let servers = PrivateServers::temporary(&[Kind::RabbitMq]).unwrap();
    let place = Place::with_broker(servers.url(Kind::RabbitMq).unwrap()).await;
    let (api, service) = place.service("pp_backend_api").start_ready();
    let consumer = |dispatch: &str| place.service("task_consumer").set("PP_DISPATCH", dispatch);
    let (dispatcher, mut sender) = consumer("only").start_ready();
    let waiting = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    waiting.publish(500).await.unwrap();

    servers.block_publishers(true).unwrap();
    for number in 1..=20 {
        api.post(&format!(r#"{{"add_up_to":{number}}}"#));
    }
    sender.is_seen_to("say why it waits", |_| {
        dispatcher
            .try_get("/health/ready")
            .is_ok_and(|answer| answer.status == 503 && answer.body.contains("takes no messages for now"))
    });
    // What is in the queue is worked off meanwhile: acknowledgements are not held back.
    let (_, worker) = consumer("off").start_ready();
    until("what was in the queue is done", LIMIT, async || {
        place.ledger.done().await.unwrap() == 500
    })
    .await;

    servers.block_publishers(false).unwrap();
    until("what was posted is done", LIMIT, async || {
        place.ledger.done().await.unwrap() == 520
    })
    .await;
    sender.gets_ready(&dispatcher);
    for process in [service, sender, worker] {
        assert_eq!(process.terminate().code, Some(0));
    }
    place.all_done(520).await;
    place.leave().await;
}
