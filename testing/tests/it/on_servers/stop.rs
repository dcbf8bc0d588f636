//! Every service stops on SIGTERM: at once when idle, and without loss when busy.

use std::time::{Duration, Instant};

use pp_chaos::demands::Demands;
use pp_lib::domain::{AddUpTo, KindName, Origin};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{NewWork, WorkRows as _};
use pp_testkit::ports;

use super::place::{Place, until};
use crate::load::Told;
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_stops_at_once() {
    let place = Place::new().await;
    let mut processes = Vec::new();
    for name in ["pp_backend_api", "task_consumer", "task_producer"] {
        // A tick that hardly ever comes.
        let program = place.service(name).set("PP_SCHEDULE", "0 0 0 29 2 *");
        let (_, process) = program.start_ready();
        processes.push((name, process));
    }
    for (name, process) in processes {
        let begun = Instant::now();
        let ended = process.terminate();
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_finishes_what_it_has_and_leaves_the_rest() {
    const DEMANDS: usize = 2_000;
    let place = Place::new().await;
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    let ids = queue.publish(DEMANDS).await.unwrap();
    let worker = || {
        place
            .service("task_consumer")
            .set("PP_BATCH", "20")
            .set("PP_PREFETCH", "100")
            .start()
    };
    let first = worker();
    until("some are done", LIMIT, async || {
        place.ledger.done().await.unwrap() > 100
    })
    .await;
    let ended = first.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let total = i64::try_from(DEMANDS).unwrap();
    assert!(place.ledger.done().await.unwrap() < total, "it was not busy any more");

    let second = worker();
    until("all are done", LIMIT, async || {
        place.ledger.done().await.unwrap() == total
    })
    .await;
    assert_eq!(second.terminate().code, Some(0));
    let account = place.ledger.account().await.unwrap();
    assert_eq!(
        (account.done, account.wrong_history, account.events),
        (total, 0, 3 * total),
        "{account:?}"
    );
    assert_eq!(place.ledger.lost(&ids).await.unwrap(), Vec::<String>::new());
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_that_takes_long_survives_25_sigterms() {
    const STOPS: usize = 25;
    let place = Place::new().await;
    let (api, service) = place.service("pp_backend_api").start_ready();
    let id = api.post(r#"{"add_up_to":3000}"#)["id"].as_i64().unwrap();
    let worker = |pace: &str| {
        let worker = place.service("task_consumer").set("PP_PACE", pace);
        worker.set("PP_GRACE", "100ms").set("PP_LEASE", "60s").start()
    };
    let status = || api.see(id).work["status"].clone();
    for _ in 0..STOPS {
        let slow = worker("1s");
        until("it is running", LIMIT, async || status() == "running").await;
        let ended = slow.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        // At once, although its lease is long.
        until("it is handed back", LIMIT, async || status() == "pending").await;
    }
    let quick = worker("0ms");
    until("it is done", LIMIT, async || status() == "done").await;
    let (told, result) = api.history(id);
    let stopped = ["compute/start", "compute/error"].repeat(STOPS);
    let done = ["compute/start", "compute/stop", "compute/result"];
    assert_eq!(told, [&["work/created"][..], &stopped, &done].concat());
    assert_eq!(result.as_deref(), Some("4501500"));
    assert_eq!(place.ledger.dead_letters().await.unwrap(), 0);
    for process in [quick, service] {
        assert_eq!(process.terminate().code, Some(0));
    }
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_api_answers_what_it_has_taken() {
    let place = Place::new().await;
    let [port] = ports::free().unwrap();
    let api = Api::at(port);
    let service = || {
        let program = place
            .service("pp_backend_api")
            .set("PP_API_BIND", format!("127.0.0.1:{port}"));
        let mut process = program.start();
        process.gets_ready(&api);
        process
    };
    let (told, first) = (Told::default(), service());
    told.post_during(&api, || {
        told.await_more(100);
        let begun = Instant::now();
        let ended = first.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
    let second = service();
    let works = api.all();
    let ids: Vec<i64> = works.iter().map(|work| work["id"].as_i64().unwrap()).collect();
    assert!(told.ids().iter().all(|id| ids.contains(id)), "acknowledged and lost");
    drop(second);
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_dispatcher_leaves_nothing_half_sent() {
    const WORKS: usize = 5_000;
    let place = Place::new().await;
    let store = place.store().await;
    let work = |number: usize| NewWork {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        kind: KindName::default(),
        args: AddUpTo::try_from(1 + (number % 99) as i64).unwrap().args(),
        run_at: None,
        unique: None,
        notify: None,
    };
    let works: Vec<NewWork> = (0..WORKS).map(work).collect();
    store.create(&works).await.unwrap();
    let dispatcher = place.service("task_consumer").set("PP_DISPATCH", "only").start();
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    until("some are sent", LIMIT, async || queue.waiting().await.unwrap() > 0).await;
    let ended = dispatcher.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Each row is either sent or due at once: nothing waits for a claim to run out.
    let sent = queue.waiting().await.unwrap();
    assert_eq!(place.ledger.held().await.unwrap(), 0);

    let begun = Instant::now();
    let worker = place.service("task_consumer").start();
    let total = i64::try_from(WORKS).unwrap();
    until("all are done", LIMIT, async || {
        place.ledger.done().await.unwrap() == total
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{sent} were sent, then {:?}",
        begun.elapsed()
    );
    assert_eq!(worker.terminate().code, Some(0));
    let account = place.ledger.account().await.unwrap();
    assert_eq!((account.done, account.wrong_history), (total, 0), "{account:?}");
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_producer_waits_for_what_it_has_offered() {
    let place = Place::new().await;
    let queue = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    let producer = place.service("task_producer").args("--rate 3000").start();
    until("some are sent", LIMIT, async || queue.waiting().await.unwrap() > 500).await;
    let ended = producer.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let confirmed = ended.stderr.lines().filter_map(|line| {
        let (_, told) = line.split_once("rate: ")?;
        told.split_once(" confirmed in")?.0.parse::<u64>().ok()
    });
    let confirmed: u64 = confirmed.sum();
    assert!(confirmed > 500, "{ended:?}");
    assert_eq!(queue.waiting().await.unwrap(), confirmed);
    place.leave().await;
}
