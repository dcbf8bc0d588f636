//! `POST /work/demand` on servers: what was accepted is found at once and done in the end, whoever is away meanwhile.

use std::thread;
use std::time::Duration;

use pp_testkit::proxy::{Flow, Proxy};
use pp_testkit::servers::Kind;
use serde_json::Value;
use tokio::runtime::Handle;

use super::place::{Place, server, until};
use crate::program::{Process, Program};
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(60);

/// An API whose cache is shared with others of this place.
fn sharing(place: &Place) -> Program {
    let program = place.service("pp_backend_api");
    program
        .set("PP_CACHE_URL", server(Kind::Redis))
        .set("PP_CACHE_PREFIX", &place.prefix)
}

fn path(demand: &Value) -> String {
    format!("/work/code/{}", demand["work_code"].as_str().unwrap())
}

async fn until_done(api: &Api, demand: &Value) -> Value {
    let path = path(demand);
    until("the demand is done", LIMIT, async || {
        api.try_get(&path)
            .is_ok_and(|answer| answer.status == 200 && answer.body.contains(r#""done":true"#))
    })
    .await;
    let work = api.get(&path);
    for field in ["work_code", "add_up_to"] {
        assert_eq!(work[field], demand[field], "{work}");
    }
    work
}

/// Ends everything; there is so much that is done, and nothing else.
async fn leave(place: Place, processes: impl IntoIterator<Item = Process>, works: i64) {
    for process in processes {
        assert_eq!(process.terminate().code, Some(0));
    }
    place.all_done(works).await;
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demands_are_accepted_and_found_without_the_database() {
    let place = Place::new().await;
    let (database, url) = Proxy::to_url(&Handle::current(), place.database()).unwrap();
    let through = |name| {
        place
            .service(name)
            .set("PP_DATABASE_URL", &url)
            .set("PP_DATABASE_TIMEOUT", "1s")
    };
    let (api, service) = through("pp_backend_api").start_ready();
    let mut worker = through("task_consumer").start();
    let before = api.demand(r#"{"add_up_to":4}"#, None);
    until_done(&api, &before).await;

    // What is said to the database is not answered any more.
    database.set(Flow::Frozen);
    let demands: Vec<Value> = (1..=20)
        .map(|bound| api.demand(&format!(r#"{{"add_up_to":{bound}}}"#), None))
        .collect();
    for demand in [&demands[0], &demands[19]] {
        assert_eq!(&api.get(&path(demand)), demand);
    }
    assert_eq!(api.try_get("/work/code/consumer-0000000000").unwrap().status, 503);
    assert_eq!(api.try_post("/work", "").unwrap().status, 503);
    assert!(worker.is_running());

    database.set(Flow::Open);
    for demand in &demands {
        until_done(&api, demand).await;
    }
    assert_eq!(api.try_get("/work/code/consumer-0000000000").unwrap().status, 404);
    leave(place, [service, worker], 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_work_whoever_is_asked_and_however_often() {
    let place = Place::new().await;
    let (one, first) = sharing(&place).start_ready();
    let (two, second) = sharing(&place).start_ready();
    let demand = one.demand("{}", Some("k"));
    assert_eq!(two.get(&path(&demand)), demand, "found by the others at once");
    let accepted = thread::scope(|scope| {
        let ask = |number: usize| {
            let api = if number.is_multiple_of(2) { &one } else { &two };
            scope.spawn(move || api.demand("{}", Some("k")))
        };
        let clients: Vec<_> = (0..100).map(ask).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(accepted.iter().all(|again| *again == demand), "{accepted:?}");
    let other = two.try_demand(r#"{"add_up_to":100}"#, Some("k")).unwrap();
    assert_eq!(other.status, 422, "{}", other.body);

    // Who did not hear the answer, since the process was killed, asks again, of another.
    first.kill();
    let (three, third) = sharing(&place).start_ready();
    assert_eq!(three.demand("{}", Some("k")), demand);
    let worker = place.service("task_consumer").start();
    let done = until_done(&three, &demand).await;
    let again = two.demand("{}", Some("k"));
    assert_eq!(again["work_code"], done["work_code"]);
    let other = two.try_demand(r#"{"add_up_to":100}"#, Some("k")).unwrap();
    assert_eq!(other.status, 422, "{}", other.body);
    until("the queue is empty", LIMIT, async || place.waiting().await == 0).await;
    leave(place, [second, third, worker], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_that_was_demanded_and_deleted_is_not_taken_for_one_to_come() {
    let place = Place::new().await;
    let (api, service) = sharing(&place).start_ready();
    let (other, second) = sharing(&place).start_ready();
    let demand = api.demand("{}", Some("k"));
    assert_eq!(api.get(&path(&demand)), demand);
    let worker = place.service("task_consumer").start();
    until("it is done", LIMIT, async || place.ledger.done().await.unwrap() == 1).await;
    // Found by a search, so that nobody has looked at its code since.
    let code = demand["work_code"].as_str().unwrap();
    let found = api.get(&format!("/work?work_code={code}"));
    other.delete(&found[0]["id"]);
    for api in [&api, &other] {
        assert_eq!(api.try_get(&path(&demand)).unwrap().status, 404);
    }
    assert_eq!(api.demand("{}", Some("k"))["work_code"], code);
    until("the queue is empty", LIMIT, async || place.waiting().await == 0).await;
    for api in [&api, &other] {
        assert_eq!(api.try_get(&path(&demand)).unwrap().status, 404);
    }
    for process in [service, second, worker] {
        assert_eq!(process.terminate().code, Some(0));
    }
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_that_the_database_refused_is_found_at_its_location_after_it_is_redriven() {
    let place = Place::new().await;
    let (api, service) = sharing(&place).start_ready();
    let worker = place.service("task_consumer").start();
    let refuse = "ALTER TABLE works ADD CONSTRAINT no_sevens CHECK (args ->> 'add_up_to' <> '7')";
    let client = place.client().await;
    client.batch_execute(refuse).await.unwrap();
    let demands = [(); 2].map(|()| api.demand(r#"{"add_up_to":7}"#, None));
    until("they are dead letters", LIMIT, async || {
        place.ledger.dead_letters().await.unwrap() == 2
    })
    .await;
    client
        .batch_execute("ALTER TABLE works DROP CONSTRAINT no_sevens")
        .await
        .unwrap();

    // One by the command line on the database, the other one over the API.
    let letter = api.get("/deadletter")[0]["id"].clone();
    let redrive = format!("deadletter redrive --id {letter} --call-type db");
    let by_hand = Program::new("cli_01").set("PP_DATABASE_URL", place.database());
    let ended = by_hand.args(&redrive).run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    until("the first one is done", LIMIT, async || {
        place.ledger.done().await.unwrap() == 1
    })
    .await;
    assert_eq!(api.redrive_all(), 1);
    for demand in &demands {
        assert_eq!(until_done(&api, demand).await["result"], 28);
    }
    assert_eq!(place.ledger.dead_letters().await.unwrap(), 0);
    leave(place, [service, worker], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_broker_the_rest_of_the_api_is_served() {
    let place = Place::new().await;
    let (broker, url) = Proxy::to_url(&Handle::current(), &place.rabbitmq).unwrap();
    broker.set(Flow::Frozen);
    let (api, mut service) = place.service("pp_backend_api").set("PP_BROKER_URL", &url).start_ready();
    service.is_seen_to("name the broker", |_| {
        let ready = api.try_get("/health/ready").unwrap();
        assert_eq!(ready.status, 200, "{ready:?}");
        ready.body.contains(r#""status":"degraded""#) && ready.body.contains("the broker")
    });
    api.post(r#"{"add_up_to":4}"#);
    let problem = api.try_demand("{}", Some("k")).unwrap().problem(503);
    assert!(problem.contains("broker"), "{problem}");

    broker.set(Flow::Open);
    broker.cut();
    until("the demand is accepted", LIMIT, async || {
        api.try_demand("{}", Some("k")).is_ok_and(|answer| answer.status == 202)
    })
    .await;
    service.is_seen_to("be well", |_| {
        api.try_get("/health/ready")
            .is_ok_and(|answer| answer.body.contains(r#""status":"ready""#))
    });
    let worker = place.service("task_consumer").start();
    until_done(&api, &api.demand("{}", Some("k"))).await;
    until("the other work is done", LIMIT, async || {
        place.ledger.done().await.unwrap() == 2
    })
    .await;
    leave(place, [service, worker], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_share_no_cache_accept_no_demands() {
    let place = Place::new().await;
    let (one, first) = place.service("pp_backend_api").start_ready();
    let demand = one.demand("{}", None);
    let (two, second) = place.service("pp_backend_api").start_ready();
    for api in [&two, &one] {
        until("the demand is refused", LIMIT, async || {
            api.try_demand("{}", Some("k"))
                .is_ok_and(|answer| answer.status == 503 && answer.body.contains("PP_CACHE_URL"))
        })
        .await;
    }
    assert_eq!(one.post("{}")["status"], "pending");
    assert_eq!(second.terminate().code, Some(0));
    until("the demand is accepted again", LIMIT, async || {
        one.try_demand("{}", None).is_ok_and(|answer| answer.status == 202)
    })
    .await;
    let worker = place.service("task_consumer").start();
    until_done(&one, &demand).await;
    until("everything is done", LIMIT, async || {
        place.waiting().await == 0 && place.ledger.account().await.unwrap().unfinished == 0
    })
    .await;
    for process in [first, worker] {
        assert_eq!(process.terminate().code, Some(0));
    }
    place.leave().await;
}
