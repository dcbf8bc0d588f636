//! Each demand is computed once, is retried or becomes a dead letter, and its neighbours finish.

use super::*;
use pp_lib::broker::Queue;
use pp_lib::domain::{AddUpTo, Principal};

#[tokio::test(flavor = "multi_thread")]
async fn every_created_work_is_computed_with_its_events_once() {
    let system = System::computing(Sums).await;
    let ids = system.create(1..=500).await;
    for (id, work) in system.finished(&ids).await {
        assert_eq!((work.status, &work.result), (Status::Done, &sum(&work)));
        assert_eq!(system.history(id).await, DONE);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_retried_and_given_up_and_their_neighbours_finish() {
    let system = System::computing(FailingSums).await;
    let ids = system.create([4, 13, 17, 19, 100]).await;
    let works = system.finished(&ids).await;
    let told = [
        (4, Status::Done, vec!["start", "stop", "result"]),
        (13, Status::Failed, vec!["start", "error"]),
        (
            17,
            Status::Done,
            vec!["start", "error", "start", "error", "start", "stop", "result"],
        ),
        (
            19,
            Status::Failed,
            vec!["start", "error", "start", "error", "start", "error"],
        ),
        (100, Status::Done, vec!["start", "stop", "result"]),
    ];
    for ((bound, status, events), id) in told.into_iter().zip(ids) {
        let work = &works[&id];
        assert_eq!((work.add_up_to().unwrap().get(), work.status), (bound, status));
        let history: Vec<String> = system.history(id).await.split_off(1);
        let expected: Vec<String> = events.into_iter().map(|name| format!("compute/{name}")).collect();
        assert_eq!(history, expected, "of {bound}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_demand_without_a_row_become_one_consumer_work() {
    let mut system = System::idle().await;
    let id = new_message_id();
    let other = message(new_message_id(), None, br#"{"add_up_to":3}"#);
    system
        .send(&[message(id.clone(), None, br#"{"add_up_to":2,"done":false}"#), other])
        .await;
    system
        .send(&[message(id.clone(), None, br#"{"add_up_to":2,"done":false}"#)])
        .await;
    system.consume(Sums, Duration::from_secs(10));
    system
        .until(|works| works.len() == 2 && works.values().all(Work::done))
        .await;
    // Deliver it once more after it is done.
    system
        .send(&[message(id, None, br#"{"add_up_to":2,"done":false}"#)])
        .await;
    let last = message(new_message_id(), None, br#"{"add_up_to":9}"#);
    system.send(&[last]).await;
    let works = system
        .until(|works| {
            works
                .values()
                .any(|work| work.add_up_to().unwrap().get() == 9 && work.done())
        })
        .await;
    assert_eq!(works.len(), 3);
    for (id, work) in works {
        assert_eq!((work.work_code.origin(), &work.result), (Origin::Consumer, &sum(&work)));
        assert_eq!(
            system.history(id).await,
            ["compute/start", "compute/stop", "compute/result"]
        );
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_message_is_a_dead_letter_and_its_neighbours_finish() {
    let mut system = System::idle().await;
    let bodies: [&[u8]; 6] = [
        b"{",
        b"\xff\xfe",
        br#"{"add_up_to":"2"}"#,
        br#"{"add_up_to":0}"#,
        br#"{"add_up_to":2,"done":true}"#,
        b"",
    ];
    for body in bodies {
        system
            .send(&[message(new_message_id(), None, br#"{"add_up_to":2}"#)])
            .await;
        system.send(&[message(new_message_id(), None, body)]).await;
    }
    system.consume(Sums, Duration::from_secs(10));
    system
        .until(|works| works.len() == 6 && works.values().all(Work::done))
        .await;
    let mut dead = system
        .broker
        .subscribe(&Queue::DeadLetter, Prefetch::messages(100))
        .await
        .unwrap();
    let mut letters = Vec::new();
    while letters.len() < bodies.len() {
        letters.extend(dead.next_batch(100, Duration::ZERO).await.unwrap());
    }
    for (letter, body) in letters.iter().zip(bodies) {
        assert_eq!(letter.body, body);
        assert!(!letter.properties.reason.as_deref().unwrap_or_default().is_empty());
    }
    assert_eq!(system.works().await.len(), 6);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_that_names_a_row_is_computed_with_the_rows_own_bound() {
    let mut system = System::idle().await;
    let ids = system.create([5]).await;
    let work = system.store.by_ids(&ids).await.unwrap().remove(0);
    let forged = DemandedRow {
        work_code: work.work_code.clone(),
        run: Run::FIRST,
        failures: 0,
        lost_leases: 0,
    };
    let unknown = DemandedRow {
        work_code: new_work_code(Origin::Api),
        ..forged.clone()
    };
    // A bound that differs from the row's, and a missing row: both are acknowledged without effect.
    system
        .send(&[message(new_message_id(), Some(unknown), br#"{"add_up_to":7}"#)])
        .await;
    system
        .send(&[message(new_message_id(), Some(forged), br#"{"add_up_to":7}"#)])
        .await;
    system.consume(Sums, Duration::from_secs(10));
    system.dispatch();
    let works = system.finished(&ids).await;
    assert_eq!((works.len(), &works[&ids[0]].result), (1, &Some(Json::from(15))));
    assert_eq!(system.history(ids[0]).await, DONE);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demand_with_the_rows_state_wins_over_one_without() {
    let mut system = System::idle().await;
    let ids = system.create([5]).await;
    let first = system.store.claim(&[], None, LEASE, 1).await.unwrap().remove(0);
    let retry = Completion {
        message_id: first.message_id.clone(),
        work_code: first.work_code.clone(),
        args: Some(first.args.clone()),
        guard: Guard::Pending(Run::FIRST),
        outcome: Outcome::Retry {
            reason: "not now".to_owned(),
            delay: Duration::from_secs(600),
        },
    };
    system.store.complete(KindName::add_up_to(), &[retry]).await.unwrap();
    let demand = |attempt| {
        let work_code = first.work_code.clone();
        let row = DemandedRow {
            work_code,
            run: Run { generation: 1, attempt },
            failures: attempt - 1,
            lost_leases: 0,
        };
        message(first.message_id.clone(), Some(row), br#"{"add_up_to":5}"#)
    };
    for attempt in [1, 2, 1] {
        system.send(&[demand(attempt)]).await;
    }
    system.consume(Sums, Duration::from_secs(10));
    assert_eq!(system.finished(&ids).await[&ids[0]].result, Some(Json::from(15)));
    system.stop().await;
}

/// Sums up, but a bound of 666 kills the whole worker.
struct Deadly(Arc<Notify>);

impl Handler for Deadly {
    fn handle(&self, args: Json, _: Context) -> Handling {
        let add_up_to = AddUpTo::of_args(&args).unwrap();
        let deadly = add_up_to.get() == 666;
        let killed = self.0.clone();
        Box::pin(async move {
            if deadly {
                killed.notify_one();
                // Blocks the thread until the worker ends: its lanes share it, so they do nothing more.
                std::thread::sleep(Duration::from_millis(200));
                std::future::pending::<()>().await;
            }
            Ok(add_up_to.sum().into())
        })
    }

    fn is_pure(&self) -> bool {
        true
    }
}

/// A worker on its own runtime ends like a killed process: nothing of it continues, its messages are redelivered,
/// and its leases run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_demand_that_kills_its_workers_becomes_a_dead_letter_and_its_neighbours_finish() {
    let mut system = System::idle().await;
    let demands: Vec<Outgoing> = (0..300)
        .map(|number| match number {
            150 => message(new_message_id(), None, br#"{"add_up_to":666}"#),
            _ => message(new_message_id(), None, br#"{"add_up_to":100}"#),
        })
        .collect();
    system.send(&demands).await;
    system.dispatch();
    let given_up =
        |works: &[Work]| works.len() == 300 && works.iter().all(|work| work.done() || work.status == Status::Failed);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut kills = 0;
    while !given_up(&system.works().await) {
        assert!(
            Instant::now() < deadline,
            "after {kills} kills: {:?}",
            system.works().await.len()
        );
        let worker = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let killed = Arc::new(Notify::new());
        let (consumer, part) = (
            system.consumer(Deadly(killed.clone()), LEASE),
            Health::new().part("consumer", true),
        );
        worker.spawn(consumer.run(part, system.shutdown.clone()));
        let finished = async {
            while !given_up(&system.works().await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = killed.notified() => kills += 1,
            () = finished => {}
        }
        worker.shutdown_background();
    }
    let works = system.works().await;
    let failed: Vec<&Work> = works.iter().filter(|work| work.status == Status::Failed).collect();
    assert_eq!((failed.len(), failed[0].add_up_to().unwrap().get()), (1, 666));
    // It runs with all others, then in smaller groups, then alone until it has lost too many leases.
    assert!((5..=i64::from(MAX_LOST) + 5).contains(&kills), "{kills} kills");
    let told = system.history(failed[0].id).await;
    assert_eq!(
        told.len() % 2,
        0,
        "each attempt that was told of began and failed: {told:?}"
    );
    for work in works.iter().filter(|work| work.done()) {
        let history = system.history(work.id).await;
        assert_eq!(history, ["compute/start", "compute/stop", "compute/result"]);
    }
    let letters = system.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].work_id, letters[0].reason.as_str()),
        (Some(failed[0].id), "lease lost")
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_works_do_not_wait_for_the_poll() {
    let mut system = System::idle().await;
    system.dispatch_every(Duration::from_secs(600));
    system.consume(Sums, Duration::from_secs(10));
    let ids = system.create([17]).await;
    system.finished(&ids).await;
    let pause = Duration::from_millis(300);
    let changed = system
        .store
        .update(&Principal::Open, ids[0], &AddUpTo::MIN.args(), None, pause)
        .await
        .unwrap();
    assert!(matches!(changed, Changed::Applied(_)));
    system.feed.poke();
    let works = system.until(|works| works[&ids[0]].done()).await;
    assert_eq!(works[&ids[0]].result, Some(Json::from(1)));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demands_lost_by_the_broker_are_sent_again_at_start() {
    let mut system = System::idle().await;
    let ids = system.create(1..=20).await;
    let claims = system
        .store
        .claim(&[], None, Duration::from_secs(30), 100)
        .await
        .unwrap();
    system.store.mark_sent(&claims).await.unwrap();
    // The broker has lost the demands, as after the end of its process.
    system.consume(Sums, Duration::from_secs(10));
    system.dispatch();
    let works = system.finished(&ids).await;
    assert!(works.values().all(Work::done));
    system.stop().await;
}
