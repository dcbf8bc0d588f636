//! A broker that is short of memory: it takes no messages, says so, and gives out what it has.

use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_testkit::ports;
use pp_testkit::servers::{Kind, PrivateServers};

use super::place::{Place, until};
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn who_publishes_waits_and_says_so_while_the_others_go_on() {
    let servers = PrivateServers::temporary(&[Kind::RabbitMq]).unwrap();
    let place = Place::with_broker(servers.url(Kind::RabbitMq).unwrap()).await;
    let [api_port, dispatcher_port, worker_port] = ports::free().unwrap();
    let start = |name: &str, variables: &[(&str, &str)], port: u16| {
        let bind = format!("127.0.0.1:{port}");
        let program = place
            .service(name)
            .set("PP_API_BIND", &bind)
            .set("PP_PROBE_BIND", &bind);
        let program = variables
            .iter()
            .fold(program, |program, (name, value)| program.set(name, value));
        let mut process = program.start();
        process.gets_ready(&Api::at(port));
        process
    };
    let (api, dispatcher) = (Api::at(api_port), Api::at(dispatcher_port));
    let service = start("pp_backend_api", &[], api_port);
    let mut sender = start("task_consumer", &[("PP_DISPATCH", "only")], dispatcher_port);
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
    let worker = start("task_consumer", &[("PP_DISPATCH", "off")], worker_port);
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
    let account = place.ledger.account().await.unwrap();
    assert_eq!(
        (account.done, account.unfinished, account.wrong_history),
        (520, 0, 0),
        "{account:?}"
    );
    place.leave().await;
}
