//! Policies at work: what an operator sets reaches dispatchers and workers that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::handlers::Sums;
use pp_conformance::scripted::{Call, ScriptedStore};
use pp_lib::broker::memory::Memory;
use pp_lib::broker::{AnyBroker, Outgoing, Queue};
use pp_lib::domain::{AddUpTo, Fault, Json, KindName, Origin, Principal, Status, Work};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{
    Backoff, Context, Declaration, Failure, HandledKind, Handler, Handling, Kinds, Policy, Registry, Unchanged,
    UnknownKind,
};
use pp_lib::maintenance::{DeadLetterDrainer, DispatchSettings, Dispatcher};
use pp_lib::runtime::{Health, new_consumer_name, new_message_id, new_work_code};
use pp_lib::store::{AnyStore, LetterFilter, NewWork, StoreError};
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
        let drainer = DeadLetterDrainer::new(store.clone(), broker.clone(), 64 << 20);
        let part = Health::new().part("dispatcher", true);
        let mut tasks = vec![
            tokio::spawn(registry.clone().run(shutdown.clone())),
            tokio::spawn(announce(
                store.clone(),
                new_consumer_name(),
                kinds.clone(),
                None,
                shutdown.clone(),
            )),
            tokio::spawn(dispatcher.run(part, shutdown.clone())),
            tokio::spawn(drainer.run(Health::new().part("dead letters", true), shutdown.clone())),
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
        self.registry
            .set(&Principal::Open, kind, &json(change), None)
            .await
            .unwrap()
            .unwrap();
    }

    async fn create(&self, kind: &KindName) -> Work {
        let new = NewWork {
            kind: kind.clone(),
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Api),
            args: AddUpTo::try_from(3).unwrap().args(),
            run_at: None,
            unique: None,
            notify: None,
        };
        self.store.create(&[new]).await.unwrap().remove(0).unwrap().work
    }

    /// Sends a message that is no demand, and waits until it is the next letter.
    async fn is_a_letter(&self, kind: &KindName, letters: usize) {
        let message = Outgoing {
            message_id: new_message_id(),
            row: None,
            new_work_code: None,
            unique: None,
            body: "{".into(),
        };
        let id = message.message_id.to_string();
        self.broker.publish(kind, &[message]).await.unwrap();
        let stored = async || self.store.dead_letters(&LetterFilter::ALL, None, 100).await.unwrap();
        self.until(async || stored().await.len() == letters).await;
        let letter = stored().await.remove(0);
        assert_eq!((letter.kind, letter.message_id), (kind.clone(), Some(id)));
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
async fn a_kind_gets_a_queue_for_its_dead_letters_and_gives_it_back() {
    let system = System::new(Failing::default()).await;
    system.is_a_letter(&mail(), 1).await;
    system.set(&mail(), r#"{"dead_letter_queue":"user.deadletter"}"#).await;
    let named = Queue::NamedDeadLetter("user.deadletter".to_owned());
    let queues = [(Queue::DeadLetter, KindName::default()), (named.clone(), mail())];
    assert_eq!(system.broker.dead_letter_queues(), queues);
    system.is_a_letter(&mail(), 2).await;
    system.is_a_letter(&KindName::default(), 3).await;
    assert_eq!(system.broker.ready_messages(&named).await.unwrap(), 0);

    system.set(&mail(), r#"{"dead_letter_queue":null}"#).await;
    assert_eq!(system.broker.dead_letter_queues(), queues[..1]);
    system.is_a_letter(&mail(), 4).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_no_queue_two_uses() {
    let (store, _folder) = fresh().await;
    let registry = Registry::new(store.clone(), Arc::new(Memory::default()));
    let [sms, report] = ["sms", "report"].map(|name| name.parse::<KindName>().unwrap());
    for (kind, policy) in [
        (mail(), r#"{"queue":"user.mail","dead_letter_queue":"user.deadletter"}"#),
        (sms.clone(), "{}"),
    ] {
        let declaration = json(&format!(r#"{{"policy":{policy}}}"#));
        store
            .declare(&Principal::Open, &kind, &declaration)
            .await
            .unwrap()
            .unwrap();
    }
    for (change, fault) in [
        (
            r#"{"queue":"user.mail"}"#,
            "queue must not be `user.mail`, the queue of kind user.mail",
        ),
        (
            r#"{"queue":"user.deadletter"}"#,
            "queue must not be `user.deadletter`, the dead_letter_queue of kind user.mail",
        ),
        (
            r#"{"dead_letter_queue":"user.mail"}"#,
            "dead_letter_queue must not be `user.mail`, the queue of kind user.mail",
        ),
        (
            r#"{"queue":"a","dead_letter_queue":"a"}"#,
            "dead_letter_queue must differ from queue",
        ),
    ] {
        let refused = registry.set(&Principal::Open, &sms, &json(change), None).await.unwrap();
        assert_eq!(refused.err(), Some(Unchanged::Invalid(fault.to_owned())), "{change}");
    }
    let shared = r#"{"queue":"user.sms","dead_letter_queue":"user.deadletter"}"#;
    let shared = registry
        .set(&Principal::Open, &sms, &json(shared), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shared.fault, None);

    // What a program declares is shown as a fault, and other settings can be changed.
    let declaration = json(r#"{"policy":{"dead_letter_queue":"user.mail"}}"#);
    store
        .declare(&Principal::Open, &report, &declaration)
        .await
        .unwrap()
        .unwrap();
    let paused = registry
        .set(&Principal::Open, &report, &json(r#"{"paused":true}"#), None)
        .await
        .unwrap()
        .unwrap();
    let fault = "dead_letter_queue must not be `user.mail`, the queue of kind user.mail";
    assert_eq!(paused.fault.as_deref(), Some(fault));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_from_the_queue_in_force() {
    let (store, _folder) = fresh().await;
    let registry = Registry::new(store.clone(), Arc::new(Memory::default()));
    let declare = async |queue: &str| {
        let declaration = json(&format!(r#"{{"policy":{{"queue":"{queue}"}}}}"#));
        store
            .declare(&Principal::Open, &mail(), &declaration)
            .await
            .unwrap()
            .unwrap();
        registry.refresh().await.unwrap();
    };
    let shutdown = CancellationToken::new();
    let knowing = tokio::spawn({
        let (registry, shutdown) = (registry.clone(), shutdown.clone());
        async move { registry.knows(&mail(), &shutdown).await }
    });
    declare("first").await;
    assert!(timeout(LIMIT, knowing).await.unwrap().unwrap());
    let declared = Policy {
        queue: Some("first".into()),
        ..Policy::DEFAULT
    };
    let mut policy = registry.follow(mail(), declared);
    declare("second").await;
    let second = policy.wait_for(|policy| policy.queue.as_deref() == Some("second"));
    timeout(LIMIT, second).await.unwrap().unwrap();

    shutdown.cancel();
    let unknown = "unknown".parse().unwrap();
    assert!(!timeout(LIMIT, registry.knows(&unknown, &shutdown)).await.unwrap());
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
    store
        .declare(&Principal::Open, &mail(), &json(declaration))
        .await
        .unwrap()
        .unwrap();
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
    store
        .declare(&Principal::Open, &mail(), &json(r#"{"policy":{}}"#))
        .await
        .unwrap();
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
        .declare(&Principal::Open, &mail(), &json(r#"{"policy":{"colour":"blue"}}"#))
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
