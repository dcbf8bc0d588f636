//! Policies at work: what an operator sets reaches dispatchers and workers that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pp_conformance::scripted::{Call, ScriptedStore};
use pp_lib::broker::memory::Memory;
use pp_lib::broker::{AnyBroker, Broker as _, Queue};
use pp_lib::domain::{AddUpTo, Fault, Json, KindName, Origin, Status, Work};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Backoff, Context, Declaration, Failure, HandledKind, Handler, Handling, Kinds, Policy, Registry, UnknownKind};
use pp_lib::maintenance::{DispatchSettings, Dispatcher};
use pp_lib::runtime::{Health, new_message_id, new_work_code};
use pp_lib::store::{AnyStore, NewWork, StoreError};
use crate::handlers::Sums;
use pp_lib::worker::{ConsumeSettings, Consumer, announce};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::embedded::fresh;

const LIMIT: Duration = Duration::from_secs(30);

/// A computation that counts its calls and always fails.
#[derive(Clone, Default)]
struct Failing(Arc<AtomicUsize>);

impl Handler for Failing {
    fn handle(&self, _: Json, _: Context) -> Handling {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Err(Failure::retry("no luck".to_owned()))))
    }
}

/// A dispatcher, and a worker for each handler.
struct System {
    store: AnyStore,
    broker: AnyBroker,
    registry: Registry,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

fn mail() -> KindName {
    "user.mail".parse().unwrap()
}

fn json(text: &str) -> Json {
    Json::accepted(text)
}

/// A policy with short waits.
fn quick() -> Policy {
    Policy {
        backoff: Backoff {
            base: Duration::from_millis(10),
            ..Backoff::DEFAULT
        },
        ..Policy::DEFAULT
    }
}

impl System {
    async fn new(mails: impl Handler) -> Self {
        let (store, folder) = fresh().await;
        let broker: AnyBroker = Arc::new(Memory::default());
        let feed: AnyFeed = Arc::new(MemoryFeed::new());
        let registry = Registry::new(store.clone(), broker.clone());
        let shutdown = CancellationToken::new();
        let settings = DispatchSettings {
            within: Duration::from_secs(3600),
            poll: Duration::from_millis(20),
            max_lost_leases: 20,
            retain: Duration::MAX,
        };
        let kind = |name: KindName, handler: Arc<dyn Handler>| HandledKind {
            name,
            declaration: Declaration::of_policy(quick()),
            handler,
        };
        let kinds = Kinds::new()
            .with_handler(kind(mail(), Arc::new(mails)))
            .with_handler(kind(KindName::default(), Arc::new(Sums)));
        let dispatcher = Dispatcher::new(store.clone(), broker.clone(), feed.clone(), settings);
        let part = Health::new().part("dispatcher", true);
        let mut tasks = vec![
            tokio::spawn(registry.clone().run(shutdown.clone())),
            tokio::spawn(announce(store.clone(), kinds.clone(), shutdown.clone())),
            tokio::spawn(dispatcher.run(part, shutdown.clone())),
        ];
        for kind in kinds {
            let HandledKind {
                name,
                declaration,
                handler,
            } = kind;
            let settings = ConsumeSettings {
                prefetch: 20,
                prefetch_bytes: 64 << 20,
                batch_wait: Duration::from_millis(5),
                args_limit: Json::USUAL_LIMIT,
                policy: declaration.policy.clone(),
                grace: Duration::from_secs(5),
            };
            let policy = registry.follow(name.clone(), declaration.policy);
            let (store, broker, feed) = (store.clone(), broker.clone(), feed.clone());
            let consumer = Consumer::new(store, broker, feed, name, handler, settings).following(policy);
            let part = Health::new().part("consumer", true);
            tasks.push(tokio::spawn(consumer.run(part, shutdown.clone())));
        }
        let system = Self {
            store,
            broker,
            registry,
            shutdown,
            tasks,
            _folder: folder,
        };
        system.until(async || system.is_served(&mail()).await).await;
        system
    }

    async fn is_served(&self, kind: &KindName) -> bool {
        let kinds = self.store.kinds().await.unwrap();
        kinds.iter().any(|row| row.name == *kind && row.has_worker)
    }

    async fn until(&self, condition: impl AsyncFn() -> bool) {
        let waiting = async {
            while !condition().await {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, waiting).await.unwrap();
    }

    async fn set(&self, kind: &KindName, change: &str) {
        self.registry.set(kind, &json(change), None).await.unwrap().unwrap();
    }

    async fn create(&self, kind: &KindName) -> Work {
        let new = NewWork {
            kind: kind.clone(),
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Api),
            args: AddUpTo::try_from(3).unwrap().args(),
            run_at: None,
            unique: None,
        };
        self.store.create(&[new]).await.unwrap().remove(0).unwrap().work
    }

    async fn work(&self, work: &Work) -> Work {
        self.store.by_ids(&[work.id]).await.unwrap().remove(0)
    }

    async fn becomes(&self, work: &Work, status: Status) {
        self.until(async || self.work(work).await.status == status).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            timeout(LIMIT, task).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_kind_is_neither_sent_nor_taken_until_it_is_resumed() {
    let mails = Failing::default();
    let system = System::new(mails.clone()).await;
    let first = system.create(&mail()).await;
    system.becomes(&first, Status::Failed).await;
    let calls = mails.0.load(Ordering::SeqCst);
    assert_eq!(calls, 5, "the attempts of the declared policy");

    system.set(&mail(), r#"{"paused":true}"#).await;
    let waiting = system.create(&mail()).await;
    for _ in 0..3 {
        let sum = system.create(&KindName::default()).await;
        system.becomes(&sum, Status::Done).await;
    }
    assert_eq!(system.work(&waiting).await.status, Status::Pending);
    assert_eq!(system.broker.ready_messages(&Queue::Demand(mail())).await.unwrap(), 0);
    assert_eq!(mails.0.load(Ordering::SeqCst), calls);

    system.set(&mail(), r#"{"paused":null}"#).await;
    system.becomes(&waiting, Status::Failed).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_a_running_worker_other_limits() {
    let mails = Failing::default();
    let system = System::new(mails.clone()).await;
    system.set(&mail(), r#"{"max_attempts":2,"places":1}"#).await;
    let work = system.create(&mail()).await;
    system.becomes(&work, Status::Failed).await;
    assert_eq!(mails.0.load(Ordering::SeqCst), 2);
    assert_eq!(system.work(&work).await.attempt, 2);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_another_process_declares_is_known_with_its_first_work() {
    let (store, _folder) = fresh().await;
    let registry = Registry::new(store.clone(), Arc::new(Memory::default()));
    assert_eq!(
        registry.check(&KindName::default(), &json("{}")).await,
        Ok(()),
        "the sum is built in"
    );
    let undeclared = registry.check(&mail(), &json("{}")).await;
    assert_eq!(undeclared, Err(UnknownKind::Undeclared(vec![])));

    let declaration = r#"{"policy":{},"args_schema":{"required":["to"]}}"#;
    store.declare(&mail(), &json(declaration)).await.unwrap().unwrap();
    let faults = registry.check(&mail(), &json("{}")).await;
    assert!(
        matches!(&faults, Err(UnknownKind::Invalid(faults)) if matches!(&faults[..], [Fault { .. }])),
        "{faults:?}"
    );
    assert_eq!(registry.check(&mail(), &json(r#"{"to":1}"#)).await, Ok(()));
    let alike = registry.check(&"user.mails".parse().unwrap(), &json("{}")).await;
    assert_eq!(alike, Err(UnknownKind::Undeclared(vec![mail()])));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_a_kind_wait_for_one_look_and_are_not_refused_while_the_store_is_away() {
    let (store, _folder) = fresh().await;
    let scripted = ScriptedStore::new(store.clone());
    let registry = Registry::new(scripted.clone(), Arc::new(Memory::default()));
    registry.refresh().await.unwrap();
    store.declare(&mail(), &json(r#"{"policy":{}}"#)).await.unwrap();
    let looks = || scripted.answered(Call::KindsRevision).len();
    let before = looks();
    let (kind, args) = (mail(), json("{}"));
    let checked = futures_util::future::join_all((0..50).map(|_| registry.check(&kind, &args))).await;
    assert!(checked.iter().all(Result::is_ok), "{checked:?}");
    assert!(looks() - before <= 2, "{} looks", looks() - before);

    scripted.fail(&[Call::KindsRevision], StoreError::Unavailable("away".to_owned()));
    let unknown: KindName = "unknown".parse().unwrap();
    assert_eq!(registry.check(&unknown, &args).await, Err(UnknownKind::Unloaded));
    scripted.pass_on(&[Call::KindsRevision]);
    let answered = registry.check(&unknown, &args).await;
    assert!(matches!(answered, Err(UnknownKind::Undeclared(_))), "{answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_program_has_declared_is_shown_as_a_fault() {
    let (store, _folder) = fresh().await;
    let registry = Registry::new(store.clone(), Arc::new(Memory::default()));
    store
        .declare(&mail(), &json(r#"{"policy":{"colour":"blue"}}"#))
        .await
        .unwrap();
    let kinds = registry.list().await.unwrap();
    let kind = kinds.iter().find(|kind| *kind.name() == mail()).unwrap();
    assert!(
        kind.fault.as_ref().is_some_and(|fault| fault.contains("colour")),
        "{kind:?}"
    );
    assert_eq!(kind.policy, Policy::DEFAULT);
}
