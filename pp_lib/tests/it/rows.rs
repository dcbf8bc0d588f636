//! A system without a broker: consumers claim due works from the store, and several share them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pp_conformance::store::{everything, new_works};
use pp_lib::broker::AnyBroker;
use pp_lib::broker::rows::Rows;
use pp_lib::claims::Claims;
use pp_lib::domain::{AddUpTo, Json, KindName, Principal, Status, Work, WorkId};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Context, Handler, Handling, Policy, Registry};
use pp_lib::maintenance::keep_rows;
use pp_lib::runtime::{Health, new_consumer_name, new_message_id};
use pp_lib::store::{AnyStore, DeadMessage, LetterFilter, Place, Selection};
use pp_lib::worker::{ConsumeSettings, Consumer};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::handlers::{FailingSums, Sums};

const LIMIT: Duration = Duration::from_secs(30);
const DONE: [&str; 4] = ["work/created", "compute/start", "compute/stop", "compute/result"];

/// What is there without any consumer.
struct System {
    store: AnyStore,
    broker: AnyBroker,
    feed: AnyFeed,
    registry: Registry,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// A consumer with its own claims, as a process of its own has.
struct Running {
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl System {
    async fn new(store: AnyStore) -> Self {
        let (broker, feed): (AnyBroker, AnyFeed) = (Arc::new(Rows), Arc::new(MemoryFeed::new()));
        let (shutdown, registry) = (CancellationToken::new(), Registry::new(store.clone(), broker.clone()));
        let part = Health::new().part("dispatcher", true);
        let tasks = vec![
            tokio::spawn(registry.clone().run(shutdown.clone())),
            tokio::spawn(keep_rows(
                store.clone(),
                feed.clone(),
                Duration::MAX,
                part,
                shutdown.clone(),
            )),
        ];
        Self {
            store,
            broker,
            feed,
            registry,
            shutdown,
            tasks,
        }
    }

    fn consume(&self, handler: impl Handler, grace: Duration) -> Running {
        let shutdown = CancellationToken::new();
        let settings = ConsumeSettings {
            prefetch: 100,
            prefetch_bytes: 64 << 20,
            batch_wait: Duration::from_millis(5),
            args_limit: Json::USUAL_LIMIT,
            policy: Policy {
                places: 50,
                max_attempts: 3,
                lease: Duration::from_millis(600),
                ..Policy::DEFAULT
            },
            grace,
        };
        let (claims, claiming) = Claims::new(&self.store, &self.feed, &self.registry, shutdown.clone());
        let consumer = Consumer::new(
            self.store.clone(),
            self.broker.clone(),
            self.feed.clone(),
            KindName::default(),
            Arc::new(handler),
            settings,
        )
        .named(new_consumer_name())
        .claiming(claims);
        let part = Health::new().part("consumer", true);
        Running {
            tasks: vec![
                tokio::spawn(claiming),
                tokio::spawn(consumer.run(part, shutdown.clone())),
            ],
            shutdown,
        }
    }

    async fn create(&self, bounds: impl IntoIterator<Item = i64>) -> Vec<WorkId> {
        let created = self.store.create(&new_works(bounds)).await.unwrap();
        self.feed.poke();
        created.into_iter().map(|work| work.unwrap().work.id).collect()
    }

    async fn works(&self) -> HashMap<WorkId, Work> {
        let works = self.store.search(&everything()).await.unwrap();
        works.into_iter().map(|work| (work.id, work)).collect()
    }

    async fn finished(&self, ids: &[WorkId]) -> HashMap<WorkId, Work> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let works = self.works().await;
            let is_finished = |id| matches!(works[id].status, Status::Done | Status::Failed);
            if ids.iter().all(is_finished) {
                return works;
            }
            assert!(Instant::now() < deadline, "not within {LIMIT:?}: {works:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn history(&self, id: WorkId) -> Vec<String> {
        let events = self.store.events(id).await.unwrap().unwrap();
        events.into_iter().map(|event| event.variable.to_string()).collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Takes as long as its argument says, in milliseconds, and counts its calls.
struct Slow(Arc<AtomicUsize>);

impl Handler for Slow {
    fn handle(&self, args: Json, _: Context) -> Handling {
        let (calls, millis) = (Arc::clone(&self.0), AddUpTo::of_args(&args).unwrap().get());
        Box::pin(async move {
            calls.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(u64::try_from(millis).unwrap())).await;
            Ok(i64::from(millis).into())
        })
    }
}

async fn consumers_share_works_and_do_each_once(store: AnyStore) {
    let system = System::new(store).await;
    let consumers = [0; 3].map(|_| system.consume(Sums, LIMIT));
    let ids = system.create(1..=400).await;
    let works = system.finished(&ids).await;
    for (id, number) in ids.iter().zip(1_i64..) {
        assert_eq!(works[id].result, Some((number * (number + 1) / 2).into()));
        assert_eq!(system.history(*id).await, DONE, "{number}");
    }
    for consumer in consumers {
        consumer.stop().await;
    }
    system.stop().await;
}

async fn failures_and_panics_are_tried_again_or_given_up(store: AnyStore) {
    let system = System::new(store).await;
    let consumer = system.consume(FailingSums, LIMIT);
    let ids = system.create([2, 3, 7, 9]).await;
    let works = system.finished(&ids).await;
    let status = |place: usize| (works[&ids[place]].status, works[&ids[place]].attempt);
    assert_eq!((status(0), status(1)), ((Status::Done, 1), (Status::Failed, 1)));
    assert_eq!((status(2), status(3)), ((Status::Done, 3), (Status::Failed, 3)));
    let letters = system.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    consumer.stop().await;
    system.stop().await;
}

async fn long_works_keep_their_leases(store: AnyStore) {
    let system = System::new(store).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let consumers = [0; 2].map(|_| system.consume(Slow(Arc::clone(&calls)), LIMIT));
    let ids = system.create([2_000]).await;
    let works = system.finished(&ids).await;
    assert_eq!(
        (works[&ids[0]].attempt, calls.load(Ordering::SeqCst)),
        (1, 1),
        "longer than three leases"
    );
    for consumer in consumers {
        consumer.stop().await;
    }
    system.stop().await;
}

async fn works_of_a_consumer_that_died_are_done_by_another_one(store: AnyStore) {
    let system = System::new(store).await;
    let ids = system.create(1..=30).await;
    // It died right after its claim.
    let places: Vec<Place> = (0..30)
        .map(|_| Place {
            worker: new_consumer_name(),
            lease: Duration::from_millis(300),
            claim: rand::random(),
        })
        .collect();
    assert_eq!(
        system
            .store
            .claim_runs(&[KindName::default()], &places)
            .await
            .unwrap()
            .len(),
        30
    );
    let consumer = system.consume(Sums, LIMIT);
    let works = system.finished(&ids).await;
    assert!(
        works
            .values()
            .all(|work| (work.status, work.attempt) == (Status::Done, 2)),
        "{works:?}"
    );
    consumer.stop().await;
    system.stop().await;
}

async fn a_stop_hands_works_back(store: AnyStore) {
    let system = System::new(store).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let consumer = system.consume(Slow(Arc::clone(&calls)), Duration::from_millis(100));
    let ids = system.create([60_000]).await;
    while calls.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    consumer.stop().await;
    let began = Instant::now();
    let next = system.consume(Sums, LIMIT);
    let works = system.finished(&ids).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(works[&ids[0]].attempt, 2);
    let lost = system.history(ids[0]).await;
    assert_eq!(lost.iter().filter(|variable| *variable == "compute/error").count(), 1);
    next.stop().await;
    system.stop().await;
}

async fn what_was_sent_to_a_broker_before_is_done(store: AnyStore) {
    let ids: Vec<WorkId> = {
        let created = store.create(&new_works(1..=5)).await.unwrap();
        let claims = store.claim(&[], None, LIMIT, 10).await.unwrap();
        store.mark_sent(&claims).await.unwrap();
        created.into_iter().map(|work| work.unwrap().work.id).collect()
    };
    // A dead message of that time, which has no row.
    let dead = |body: &'static [u8]| DeadMessage {
        kind: KindName::default(),
        message_id: new_message_id(),
        properties: None,
        body: Bytes::from_static(body),
        reason: "of the time before".to_owned(),
    };
    let letters = [dead(br#"{"add_up_to":9}"#), dead(b"no JSON")];
    store.add_dead_letters(&letters).await.unwrap();
    let system = System::new(store).await;
    let consumer = system.consume(Sums, LIMIT);
    system.finished(&ids).await;
    assert_eq!(
        system.store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(),
        2
    );
    let deadline = Instant::now() + LIMIT;
    loop {
        let letters = system.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap();
        let works = system.works().await;
        if works.len() == 6 && works.values().all(Work::done) && letters.len() == 1 {
            assert!(letters[0].reason.starts_with("malformed"), "{letters:?}");
            break;
        }
        assert!(Instant::now() < deadline, "{works:?} {letters:?}");
        sleep(Duration::from_millis(20)).await;
    }
    consumer.stop().await;
    system.stop().await;
}

on_both! {
    consumers_share_works_and_do_each_once
    failures_and_panics_are_tried_again_or_given_up
    long_works_keep_their_leases
    works_of_a_consumer_that_died_are_done_by_another_one
    a_stop_hands_works_back
    what_was_sent_to_a_broker_before_is_done
}
