//! PostgreSQL away for a whole minute, ended without a shutdown: nothing is dropped or given up, and everything goes on
//! by itself.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pp_chaos::demands::Demands;
use pp_testkit::ports;
use pp_testkit::servers::{Kind, PrivateServers};

use super::place::{Place, server, until};
use pp_testkit::client::Api;

const OUTAGE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_the_database_costs_a_minute() {
    const DEMANDS: i64 = 30_000;
    let servers = PrivateServers::temporary(&[Kind::Postgres]).unwrap();
    let place = Place::on(servers.url(Kind::Postgres).unwrap(), server(Kind::RabbitMq)).await;
    let [api_port, worker_port] = ports::free().unwrap();
    let (api, health) = (Api::at(api_port), Api::at(worker_port));
    let start = |name: &str, port: u16| place.service(name).answers_at(port).start();
    let mut service = start("pp_backend_api", api_port);
    service.gets_ready(&api);
    let posted: Vec<i64> = (1..=50)
        .map(|number| {
            api.post(&format!(r#"{{"add_up_to":{number}}}"#))["id"]
                .as_i64()
                .unwrap()
        })
        .collect();
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    let ids = queue.publish(usize::try_from(DEMANDS).unwrap()).await.unwrap();
    let mut worker = start("task_consumer", worker_port);
    until("the worker is in the middle of it", LIMIT, async || {
        (1..DEMANDS / 2).contains(&place.ledger.done().await.unwrap())
    })
    .await;

    // What `pg_ctl stop -m immediate` sends.
    let postgres = servers.process(Kind::Postgres).unwrap();
    postgres.signal(Signal::SIGQUIT).unwrap();
    assert!(postgres.ends_within(LIMIT));
    let begun = Instant::now();
    while begun.elapsed() < OUTAGE {
        let answer = api.try_post("/work", "").unwrap();
        assert_eq!(answer.status, 503, "after {:?}", begun.elapsed());
        assert!(service.is_running() && worker.is_running());
    }
    // The API still takes demands in, which need no database.
    assert!(api.is_ready() && !health.is_ready());

    servers.start(&[Kind::Postgres]).unwrap();
    let place = place.again().await;
    let total = DEMANDS + 50;
    until("everything is done", LIMIT, async || {
        place.ledger.done().await.is_ok_and(|done| done >= total)
    })
    .await;
    service.gets_ready(&api);
    worker.gets_ready(&health);
    for process in [service, worker] {
        assert_eq!(process.terminate().code, Some(0));
    }
    let account = place.ledger.account().await.unwrap();
    assert_eq!(
        (account.unfinished, account.wrong_history, account.orphans),
        (0, 0, 0),
        "{account:?}"
    );
    assert_eq!(place.ledger.lost(&ids).await.unwrap(), Vec::<String>::new());
    assert_eq!(place.ledger.dead_letters().await.unwrap(), 0);
    assert_eq!(queue.dead().await.unwrap(), 0);
    // A POST that was answered with 503 may have been committed in the moment the server ended.
    assert!((total..=total + 8).contains(&account.done), "{account:?}");
    assert!(posted.iter().all(|id| *id <= account.done));
    place.leave().await;
}
