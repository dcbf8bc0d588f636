//! A database that takes no writes when the services start, such as one that was restored or failed over a moment ago.

use std::time::Duration;

use pp_chaos::demands::Demands;
use pp_testkit::ports;
use pp_testkit::servers::{Kind, PrivateServers};
use tokio_postgres::Client;

use super::place::{Place, server, until};
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(60);

/// Whether all sessions of the server are read-only from now on, those that are open included.
async fn read_only(client: &Client, on: bool) {
    let change = format!("ALTER SYSTEM SET default_transaction_read_only = {on}");
    client.execute(&change, &[]).await.unwrap();
    client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    until("the server has heard of it", LIMIT, async || {
        let row = client
            .query_one("SHOW default_transaction_read_only", &[])
            .await
            .unwrap();
        row.get::<_, String>(0) == if on { "on" } else { "off" }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_started_on_a_read_only_database_go_on_without_a_restart_when_it_takes_writes() {
    let servers = PrivateServers::temporary(&[Kind::Postgres]).unwrap();
    let place = Place::on(servers.url(Kind::Postgres).unwrap(), server(Kind::RabbitMq)).await;
    let demands = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    let ids = demands.publish(20).await.unwrap();
    let client = place.client().await;
    read_only(&client, true).await;

    let service = |name: &str| place.service(name).set("PP_DATABASE_TIMEOUT", "1s");
    let [port] = ports::free().unwrap();
    let api = Api::at(port);
    let mut serving = service("pp_backend_api")
        .set("PP_API_BIND", format!("127.0.0.1:{port}"))
        .start();
    let mut worker = service("task_consumer").start();
    serving.is_seen_to("refuse what it cannot write", |_| {
        api.try_post("/work", "{}").is_ok_and(|answer| answer.status == 503)
    });
    serving.is_seen_to("serve reads", |_| {
        api.try_get("/work/1").is_ok_and(|answer| answer.status == 404)
    });
    assert!(worker.is_running());

    read_only(&client, false).await;
    until("a work is accepted", LIMIT, async || {
        api.try_post("/work", "{}").is_ok_and(|answer| answer.status == 200)
    })
    .await;
    until("everything is done", LIMIT, async || {
        place.ledger.account().await.unwrap().unfinished == 0 && place.ledger.done().await.unwrap() >= 21
    })
    .await;
    assert_eq!(place.ledger.lost(&ids).await.unwrap(), Vec::<String>::new());
    assert_eq!(place.ledger.dead_messages().await.unwrap(), []);
    for process in [serving, worker] {
        assert_eq!(process.terminate().code, Some(0));
    }
    drop(client);
    place.leave().await;
}
