//! Kinds whose works are claimed by workers: with demands, leases that run out, changes of the way, and many workers.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pp_conformance::store::everything;
use pp_lib::broker::memory::Memory;
use pp_lib::broker::{AnyBroker, Outgoing, Queue};
use pp_lib::cache::CacheOptions;
use pp_lib::cache::memory::MemoryCache;
use pp_lib::claims::{ClaimRuns, RunToken};
use pp_lib::domain::{DemandedRow, Json, KindName, MessageId, Principal, Status, Variable, Work, WorkId};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Declaration, Delivery, Failure, Policy, Registry};
use pp_lib::maintenance::upkeep;
use pp_lib::runtime::{Health, new_message_id};
use pp_lib::serving::{
    Caches, ClaimError, CreateWork, DemandIdentity, DemandService, DemandServing, Heartbeat, Over, RunLimits,
    RunService, RunServing, Serving, Works,
};
use pp_lib::store::{AnyStore, ClaimedRun, LetterFilter};
use pp_lib::worker::QueueKeeper;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

/// A system of an API alone.
struct System {
    store: AnyStore,
    broker: AnyBroker,
    registry: Registry,
    works: Works,
    runs: RunService,
    demands: DemandService,
    serving: (Serving, RunServing, DemandServing),
    shutdown: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

fn resize() -> KindName {
    "resize".parse().unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), Json::USUAL_LIMIT).unwrap()
}

fn declaration(delivery: Delivery, policy: Policy) -> Declaration {
    Declaration {
        delivery,
        ..Declaration::of_policy(policy)
    }
}

impl System {
    async fn new(store: AnyStore) -> Self {
        let (broker, feed): (AnyBroker, AnyFeed) = (Arc::new(Memory::default()), Arc::new(MemoryFeed::new()));
        let (shutdown, registry) = (CancellationToken::new(), Registry::new(store.clone(), broker.clone()));
        let staleness = Duration::from_secs(1);
        let options = CacheOptions {
            ttl: Duration::from_secs(300),
            staleness,
        };
        let caches = Caches {
            cache: Arc::new(MemoryCache::new(options)),
            near: None,
            staleness,
        };
        let (serving, works) = Serving::start(&store, &feed, &caches, Default::default(), &Health::new());
        let (demanding, demands) =
            DemandServing::start(&store, &feed, &broker, works.clone(), &registry, &caches.cache, 100).await;
        let limits = RunLimits {
            mailbox: 1_000,
            args_limit: Json::USUAL_LIMIT,
        };
        let (running, runs) = RunServing::start(&store, &feed, &registry, works.clone(), limits, shutdown.clone());
        let keeper = QueueKeeper {
            store: store.clone(),
            broker: broker.clone(),
            feed: feed.clone(),
            kinds: registry.clone(),
            args_limit: Json::USUAL_LIMIT,
            bytes: 1 << 20,
        };
        let tasks = vec![
            tokio::spawn(registry.clone().run(shutdown.clone())),
            tokio::spawn(upkeep(store.clone(), feed.clone(), shutdown.clone())),
            tokio::spawn(keeper.run(shutdown.clone())),
        ];
        let system = Self {
            store,
            broker,
            registry,
            works,
            runs,
            demands,
            serving: (serving, running, demanding),
            shutdown,
            tasks,
        };
        system.declare(Delivery::Pull, Policy::DEFAULT).await;
        system
    }

    async fn declare(&self, delivery: Delivery, policy: Policy) {
        let declaration = declaration(delivery, policy);
        let declared = self.registry.declare(&Principal::Open, &resize(), &declaration).await;
        declared.unwrap().unwrap();
    }

    async fn create(&self, args: &str) -> Work {
        let wanted = CreateWork {
            kind: resize(),
            args: Some(json(args)),
            ..CreateWork::default()
        };
        self.works.create(wanted, new_message_id()).await.unwrap().work
    }

    async fn claim(&self, worker: &str, max: u16, lease: Duration) -> Result<Vec<(RunToken, ClaimedRun)>, ClaimError> {
        let wanted = ClaimRuns {
            kinds: vec![resize()],
            worker: worker.parse().unwrap(),
            max,
            wait: Duration::from_secs(5),
            lease,
        };
        self.runs.claim(wanted, pending()).await
    }

    async fn one(&self, lease: Duration) -> (RunToken, ClaimedRun) {
        self.claim("py-1", 1, lease).await.unwrap().remove(0)
    }

    async fn work(&self, id: WorkId) -> Work {
        self.store.by_ids(&[id]).await.unwrap().remove(0)
    }

    async fn history(&self, id: WorkId) -> Vec<Variable> {
        let events = self.store.events(id).await.unwrap().unwrap();
        events.into_iter().map(|event| event.variable).collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        let (serving, running, demanding) = self.serving;
        demanding.stop(LIMIT).await;
        running.stop(LIMIT).await;
        serving.stop(LIMIT).await;
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn a_silent_worker_loses_its_work_to_another_one(store: AnyStore) {
    let system = System::new(store).await;
    let work = system.create("1").await;
    let (frozen, _) = system.one(Duration::from_secs(1)).await;
    let (second, run) = system.one(Duration::from_secs(30)).await;
    assert_eq!((run.id, run.run.attempt), (work.id, 2));
    let ends = vec![(frozen.clone(), Ok(json("\"late\""))), (second, Ok(json("\"mine\"")))];
    let answers = system.runs.end(ends).await.unwrap();
    assert_eq!(answers[0], Err(Over::Expired));
    assert_eq!(answers[1].as_ref().unwrap().result, Some(json("\"mine\"")));
    let late = system
        .runs
        .end(vec![(frozen.clone(), Err(Failure::retry("late")))])
        .await;
    assert_eq!(late.unwrap(), [Err(Over::Expired)]);
    let beat = Heartbeat {
        run: frozen,
        lease: None,
        progress: None,
    };
    assert_eq!(system.runs.beat(vec![beat]).await.unwrap(), [Err(Over::Expired)]);
    let results = system
        .history(work.id)
        .await
        .into_iter()
        .filter(|variable| *variable == Variable::ComputeResult);
    assert_eq!(results.count(), 1);
    system.stop().await;
}

async fn a_run_ends_at_the_time_limit_of_its_kind(store: AnyStore) {
    let system = System::new(store).await;
    let policy = Policy {
        timeout: Duration::from_secs(1),
        ..Policy::DEFAULT
    };
    system.declare(Delivery::Pull, policy).await;
    system.create("1").await;
    let (token, run) = system.one(Duration::from_secs(60)).await;
    assert!(run.lease_until <= run.began_on + 2, "{run:?}");
    let beat = Heartbeat {
        run: token.clone(),
        lease: Some(Duration::from_secs(60)),
        progress: None,
    };
    eventually("the worker is told to stop, or has lost its run", async || match system
        .runs
        .beat(vec![beat.clone()])
        .await
        .unwrap()
        .remove(0)
    {
        Ok(beat) => beat.cancel_requested,
        Err(over) => over == Over::Expired,
    })
    .await;
    assert_eq!(system.one(Duration::from_secs(60)).await.1.run.attempt, 2);
    system.stop().await;
}

async fn demands_for_a_pulled_kind_are_rows(store: AnyStore) {
    let system = System::new(store).await;
    let (id, twice) = (new_message_id(), MessageId::try_from("twice".to_owned()).unwrap());
    let message = |message_id: &MessageId, body: &str| Outgoing {
        message_id: message_id.clone(),
        row: None,
        new_work_code: None,
        unique: None,
        body: Bytes::from(body.to_owned()),
    };
    let messages = [message(&id, r#"{"width":1}"#), message(&twice, "2")];
    system.broker.publish(&resize(), &messages).await.unwrap();
    let again = [message(&twice, "2"), message(&new_message_id(), "not JSON")];
    system.broker.publish(&resize(), &again).await.unwrap();
    let demanded = system
        .demands
        .demand(resize(), Some(json("3")), None, DemandIdentity::fresh())
        .await
        .unwrap();
    eventually("the demands are rows", async || {
        system.store.search(&everything()).await.unwrap().len() == 3
    })
    .await;
    assert!(system.store.by_codes(&[demanded.work_code]).await.unwrap().len() == 1);
    assert_eq!(system.claim("py-1", 10, LIMIT).await.unwrap().len(), 3);
    eventually("what is no JSON is a dead letter", async || {
        system.broker.ready_messages(&Queue::DeadLetter).await.unwrap() == 1
    })
    .await;
    assert_eq!(system.broker.ready_messages(&Queue::Demand(resize())).await.unwrap(), 0);
    system.stop().await;
}

async fn a_kind_that_changes_its_way_leaves_nothing_behind(store: AnyStore) {
    let system = System::new(store).await;
    system.declare(Delivery::Queue, Policy::DEFAULT).await;
    let sent = system.create("1").await;
    let claims = system.store.claim(&[], None, LIMIT, 10).await.unwrap();
    let messages: Vec<Outgoing> = claims
        .iter()
        .map(|claim| Outgoing {
            message_id: claim.message_id.clone(),
            row: Some(DemandedRow {
                work_code: claim.work_code.clone(),
                run: claim.run,
                failures: 0,
                lost_leases: 0,
            }),
            new_work_code: None,
            unique: None,
            body: Bytes::from_static(b"1"),
        })
        .chain([Outgoing {
            message_id: new_message_id(),
            row: None,
            new_work_code: None,
            unique: None,
            body: Bytes::from_static(b"2"),
        }])
        .collect();
    system.broker.publish(&resize(), &messages).await.unwrap();
    system.store.mark_sent(&claims).await.unwrap();

    system.declare(Delivery::Pull, Policy::DEFAULT).await;
    let mut runs = Vec::new();
    eventually("both works are claimed", async || {
        runs.extend(system.claim("py-1", 10, LIMIT).await.unwrap());
        runs.len() == 2
    })
    .await;
    assert!(runs.iter().any(|(_, run)| run.id == sent.id && run.run.attempt == 1));
    eventually("the queue is empty", async || {
        system.broker.ready_messages(&Queue::Demand(resize())).await.unwrap() == 0
    })
    .await;
    let ends = runs.into_iter().map(|(token, _)| (token, Ok(json("0")))).collect();
    assert!(system.runs.end(ends).await.unwrap().iter().all(Result::is_ok));
    for work in system.store.search(&everything()).await.unwrap() {
        assert_eq!(work.status, Status::Done);
    }
    assert_eq!(
        system.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap(),
        []
    );
    system.stop().await;
}

async fn fifty_workers_do_each_of_many_works_once(store: AnyStore) {
    const WORKS: usize = 1_000;
    let system = Arc::new(System::new(store).await);
    let wanted: Vec<CreateWork> = (0..WORKS)
        .map(|number| CreateWork {
            kind: resize(),
            args: Some(json(&number.to_string())),
            ..CreateWork::default()
        })
        .collect();
    system.works.create_all(wanted, new_message_id()).await.unwrap();
    let workers = (0..50).map(|number| {
        let system = Arc::clone(&system);
        tokio::spawn(async move {
            let mut own = Vec::new();
            loop {
                let wanted = ClaimRuns {
                    kinds: vec![resize()],
                    worker: format!("py-{number}").parse().unwrap(),
                    max: 7,
                    wait: Duration::from_millis(300),
                    lease: Duration::from_secs(30),
                };
                let runs = system.runs.claim(wanted, pending()).await.unwrap();
                if runs.is_empty() {
                    return own;
                }
                own.extend(runs.iter().map(|(_, run)| run.id));
                let ends = runs.into_iter().map(|(token, run)| (token, Ok(run.args))).collect();
                let answers = system.runs.end(ends).await.unwrap();
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            }
        })
    });
    let mut times: HashMap<WorkId, usize> = HashMap::new();
    for worker in workers.collect::<Vec<_>>() {
        for id in worker.await.unwrap() {
            *times.entry(id).or_default() += 1;
        }
    }
    assert_eq!(times.len(), WORKS);
    assert!(times.values().all(|times| *times == 1));
    for id in times.keys().take(20) {
        let work = system.work(*id).await;
        assert_eq!((work.status, work.result), (Status::Done, Some(work.args.clone())));
        let all = [
            Variable::WorkCreated,
            Variable::ComputeStart,
            Variable::ComputeStop,
            Variable::ComputeResult,
        ];
        assert_eq!(system.history(*id).await, all);
    }
    Arc::into_inner(system).unwrap().stop().await;
}

on_both! {
    a_silent_worker_loses_its_work_to_another_one
    a_run_ends_at_the_time_limit_of_its_kind
    demands_for_a_pulled_kind_are_rows
    a_kind_that_changes_its_way_leaves_nothing_behind
    fifty_workers_do_each_of_many_works_once
}
