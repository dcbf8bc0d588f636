//! Several kinds of work in one system, on the embedded adapters: each has its own handler, queue and places, and the
//! trouble of one is not that of another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::handlers::Sums;
use async_trait::async_trait;
use pp_conformance::scripted::{Call, ScriptedStore};
use pp_lib::broker::memory::Memory;
use pp_lib::broker::queues::NamesOfKind;
use pp_lib::broker::{
    self, AnyBroker, Broker, BrokerError, DeadLetter, Outgoing, Prefetch, Published, Queue, Resent, Subscription,
};
use pp_lib::domain::{AddUpTo, DemandedRow, Json, KindName, MessageId, Origin, Principal, Run, Status, Work, WorkId};
use pp_lib::feed::Feed as _;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Context, Failure, Handler, Handling, Policy};
use pp_lib::maintenance::{DispatchSettings, Dispatcher};
use pp_lib::runtime::{Health, new_message_id, new_work_code};
use pp_lib::store::{AnyStore, Changed, LetterFilter, NewWork};
use pp_lib::worker::{ConsumeSettings, Consumer};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::embedded::fresh;

const LIMIT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_millis(50);

/// The calls of a handler: its work's message id, the run and the arguments.
type Calls = Arc<Mutex<Vec<(MessageId, Run, Json)>>>;

/// A handler with an effect: it notes each call, then does as its arguments say.
struct Mailer(Calls);

impl Handler for Mailer {
    fn handle(&self, args: Json, context: Context) -> Handling {
        self.0
            .lock()
            .unwrap()
            .push((context.message_id().clone(), context.run(), args.clone()));
        let (does, attempt) = (args.as_str().to_owned(), context.run().attempt);
        Box::pin(async move {
            match does.as_str() {
                r#""hang""# => std::future::pending().await,
                r#""panic""# => panic!("it panics"),
                r#""fail once""# if attempt == 1 => Err(Failure::retry("not now".to_owned())),
                r#""fail""# => Err(Failure::permanent("never".to_owned())),
                _ => Ok(Json::accepted(r#"{"sent":1.10}"#)),
            }
        })
    }
}

/// A broker that takes no demands of one kind while it is told so.
struct Refusing {
    inner: Memory,
    refused: KindName,
    refuses: Mutex<bool>,
}

#[async_trait]
impl Broker for Refusing {
    async fn publish(&self, kind: &KindName, messages: &[Outgoing]) -> broker::Result<Vec<Published>> {
        if *kind == self.refused && *self.refuses.lock().unwrap() {
            return Err(BrokerError::Rejected("its queue has other arguments".to_owned()));
        }
        self.inner.publish(kind, messages).await
    }

    async fn resend(&self, kind: &KindName, messages: &[Resent]) -> broker::Result<Vec<Published>> {
        self.inner.resend(kind, messages).await
    }

    async fn dead_letter(&self, letters: &[DeadLetter]) -> broker::Result<()> {
        self.inner.dead_letter(letters).await
    }

    async fn subscribe(&self, queue: &Queue, prefetch: Prefetch) -> broker::Result<Box<dyn Subscription>> {
        self.inner.subscribe(queue, prefetch).await
    }

    async fn ready_messages(&self, queue: &Queue) -> broker::Result<u64> {
        self.inner.ready_messages(queue).await
    }

    fn name_queues(&self, kinds: &[NamesOfKind<'_>]) -> Vec<String> {
        self.inner.name_queues(kinds)
    }

    fn dead_letter_queues(&self) -> Vec<(Queue, KindName)> {
        self.inner.dead_letter_queues()
    }

    fn durable(&self) -> bool {
        self.inner.durable()
    }
}

struct System {
    scripted: Arc<ScriptedStore>,
    store: AnyStore,
    broker: AnyBroker,
    feed: Arc<MemoryFeed>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

fn kind(name: &str) -> KindName {
    name.parse().unwrap()
}

fn mail() -> KindName {
    kind("user.welcome.email")
}

impl System {
    async fn over(broker: AnyBroker) -> Self {
        let (inner, folder) = fresh().await;
        let scripted = ScriptedStore::new(inner);
        let mut system = Self {
            store: scripted.clone(),
            scripted,
            broker,
            feed: Arc::new(MemoryFeed::new()),
            shutdown: CancellationToken::new(),
            tasks: Vec::new(),
            _folder: folder,
        };
        let settings = DispatchSettings {
            within: Duration::from_secs(3600),
            poll: Duration::from_millis(50),
            max_lost_leases: 5,
            retain: Duration::MAX,
        };
        let dispatcher = Dispatcher::new(
            system.store.clone(),
            system.broker.clone(),
            system.feed.clone(),
            settings,
        );
        let part = Health::new().part("dispatcher", true);
        system.start(dispatcher.run(part, system.shutdown.clone()));
        system
    }

    async fn new() -> Self {
        Self::over(Arc::new(Memory::default())).await
    }

    fn start(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    fn consume(&mut self, kind: KindName, computation: impl Handler) {
        let settings = ConsumeSettings {
            prefetch: 20,
            prefetch_bytes: 64 << 20,
            batch_wait: Duration::from_millis(5),
            args_limit: Json::USUAL_LIMIT,
            policy: Policy {
                places: 10,
                max_attempts: 3,
                lease: Duration::from_secs(30),
                timeout: Duration::from_secs(60),
                ..Policy::DEFAULT
            },
            grace: GRACE,
        };
        let (store, broker, feed) = (self.store.clone(), self.broker.clone(), self.feed.clone());
        let consumer = Consumer::new(store, broker, feed, kind, Arc::new(computation), settings);
        let part = Health::new().part("consumer", true);
        self.start(consumer.run(part, self.shutdown.clone()));
    }

    async fn create(&self, kind: &KindName, args: impl IntoIterator<Item = Json>) -> Vec<Work> {
        let new: Vec<NewWork> = args.into_iter().map(|args| new_work(kind, args)).collect();
        self.store
            .declare(&Principal::Open, kind, &Json::accepted("{}"))
            .await
            .unwrap();
        let created = self.store.create(&new).await.unwrap();
        self.feed.poke();
        created.into_iter().map(|created| created.unwrap().work).collect()
    }

    async fn work(&self, id: WorkId) -> Work {
        self.store.by_ids(&[id]).await.unwrap().remove(0)
    }

    /// Waits until all these works have this status.
    async fn all_are(&self, works: &[Work], status: Status) -> Vec<Work> {
        let ids: Vec<WorkId> = works.iter().map(|work| work.id).collect();
        let waiting = async {
            loop {
                let works = self.store.by_ids(&ids).await.unwrap();
                if works.iter().all(|work| work.status == status) {
                    return works;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        match timeout(LIMIT, waiting).await {
            Ok(works) => works,
            Err(_) => panic!("not all are {status}: {:?}", self.store.by_ids(&ids).await),
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            timeout(LIMIT, task).await.unwrap().unwrap();
        }
    }
}

fn new_work(kind: &KindName, args: Json) -> NewWork {
    NewWork {
        kind: kind.clone(),
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        args,
        run_at: None,
        unique: None,
        notify: None,
    }
}

fn sums(count: i64) -> impl Iterator<Item = Json> {
    (1..=count).map(|number| AddUpTo::try_from(number).unwrap().args())
}

fn text(text: &str) -> Json {
    Json::accepted(format!("{text:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_done_by_its_own_handler() {
    let mut system = System::new().await;
    let calls = Calls::default();
    system.consume(mail(), Mailer(calls.clone()));
    system.consume(KindName::default(), Sums);
    let letters = system.create(&mail(), [text("hello 🧾"), text("fail once")]).await;
    let summed = system.create(KindName::add_up_to(), sums(20)).await;
    for work in system.all_are(&letters, Status::Done).await {
        assert_eq!(work.result, Some(Json::accepted(r#"{"sent":1.10}"#)));
        assert_eq!(work.attempt, if work.id == letters[0].id { 1 } else { 2 });
    }
    for work in system.all_are(&summed, Status::Done).await {
        assert_eq!(work.result, Some(work.add_up_to().unwrap().sum().into()));
    }
    assert_eq!(calls.lock().unwrap().len(), 3);
    let [failed] = &system.create(&mail(), [text("fail")]).await[..] else {
        panic!("one was created")
    };
    let failed = system
        .all_are(std::slice::from_ref(failed), Status::Failed)
        .await
        .remove(0);
    assert_eq!(failed.error.as_deref(), Some("never"));
    let letter = system
        .store
        .dead_letters(&LetterFilter::ALL, None, 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((letter.kind, letter.work_id), (mail(), Some(failed.id)));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_hangs_panics_and_floods_its_queue_holds_up_no_other() {
    let mut system = System::over(Arc::new(Memory::new(50, 64 << 20))).await;
    system.consume(mail(), Mailer(Calls::default()));
    system.consume(KindName::default(), Sums);
    let flood = (0..2_000).map(|number| text(if number % 2 == 0 { "hang" } else { "panic" }));
    system.create(&mail(), flood).await;
    let running = async {
        while system.store.by_ids(&[WorkId(1)]).await.unwrap()[0].status != Status::Running {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, running).await.unwrap();
    for _ in 0..5 {
        let summed = system.create(KindName::add_up_to(), sums(100)).await;
        timeout(Duration::from_secs(5), system.all_are(&summed, Status::Done))
            .await
            .unwrap();
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_queue_and_a_kind_without_a_worker_hold_up_no_other() {
    let refusing = Arc::new(Refusing {
        inner: Memory::default(),
        refused: mail(),
        refuses: Mutex::new(true),
    });
    let mut system = System::over(refusing.clone()).await;
    let calls = Calls::default();
    system.consume(mail(), Mailer(calls.clone()));
    system.consume(KindName::default(), Sums);
    let letters = system.create(&mail(), [text("a"), text("b")]).await;
    let unserved = system.create(&kind("nobody"), [text("c")]).await;
    for _ in 0..3 {
        let summed = system.create(KindName::add_up_to(), sums(100)).await;
        timeout(Duration::from_secs(5), system.all_are(&summed, Status::Done))
            .await
            .unwrap();
    }
    system.all_are(&letters, Status::Pending).await;
    *refusing.refuses.lock().unwrap() = false;
    system.all_are(&letters, Status::Done).await;
    system.all_are(&unserved, Status::Pending).await;
    system.stop().await;
}

/// Before the claim is recorded, the first work is changed, the second cancelled, and the third's message comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_called_once_for_each_run_and_never_for_a_superseded_one() {
    let mut system = System::new().await;
    let calls = Calls::default();
    let claims = system.scripted.hold(&[Call::Complete]);
    let works = system
        .create(&mail(), [text("old"), text("cancelled"), text("twice")])
        .await;
    system.consume(mail(), Mailer(calls.clone()));
    timeout(LIMIT, system.scripted.is_called(Call::Complete, 1))
        .await
        .unwrap();

    let changed = system
        .store
        .update(&Principal::Open, works[0].id, &text("new"), None, Duration::ZERO)
        .await
        .unwrap();
    assert!(matches!(changed, Changed::Applied(_)));
    system.store.cancel(&Principal::Open, works[1].id, None).await.unwrap();
    let again = Outgoing {
        message_id: system_id(&system, works[2].id).await,
        row: Some(DemandedRow {
            work_code: works[2].work_code.clone(),
            run: Run::FIRST,
            failures: 0,
            lost_leases: 0,
        }),
        new_work_code: None,
        unique: None,
        body: bytes::Bytes::from_static(br#""twice""#),
    };
    system.broker.publish(&mail(), &[again]).await.unwrap();
    claims.end();

    let done = [works[0].clone(), works[2].clone()];
    system.all_are(&done, Status::Done).await;
    assert_eq!(system.work(works[1].id).await.status, Status::Cancelled);
    // The second copy of the message is acknowledged by now, or comes after these.
    let last = system.create(&mail(), [text("last")]).await;
    system.all_are(&last, Status::Done).await;
    let mut called: Vec<(Json, i32)> = (calls.lock().unwrap().iter())
        .map(|(_, run, args)| (args.clone(), run.generation))
        .collect();
    called.sort_by_key(|(args, _)| args.to_string());
    assert_eq!(called, [(text("last"), 1), (text("new"), 2), (text("twice"), 1)]);
    system.stop().await;
}

/// The identity of a work's demand, as its own claim has it.
async fn system_id(system: &System, id: WorkId) -> MessageId {
    let asked = system.scripted.answered(Call::Claim).concat();
    let begin = format!("id: {id:?}, kind: ");
    let rest = asked.split(&begin).nth(1).unwrap();
    let text = rest.split("MessageId(\"").nth(1).unwrap().split('"').next().unwrap();
    MessageId::try_from(text.to_owned()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_arguments_of_the_row_count_whatever_the_body_says() {
    let mut system = System::new().await;
    let calls = Calls::default();
    let held = system.scripted.hold(&[Call::Claim]);
    let (letter, sum) = (
        new_work(&mail(), text("row")),
        new_work(KindName::add_up_to(), sums(4).last().unwrap()),
    );
    system
        .store
        .declare(&Principal::Open, &letter.kind, &Json::accepted("{}"))
        .await
        .unwrap();
    let works = system.store.create(&[letter.clone(), sum.clone()]).await.unwrap();
    let works: Vec<Work> = works.into_iter().map(|created| created.unwrap().work).collect();
    for (work, body) in [(&letter, &br#""body""#[..]), (&sum, br#"{"add_up_to":7,"done":false}"#)] {
        let forged = Outgoing {
            message_id: work.message_id.clone(),
            row: Some(DemandedRow {
                work_code: work.work_code.clone(),
                run: Run::FIRST,
                failures: 0,
                lost_leases: 0,
            }),
            new_work_code: None,
            unique: None,
            body: body.into(),
        };
        system.broker.publish(&work.kind, &[forged]).await.unwrap();
    }
    system.consume(mail(), Mailer(calls.clone()));
    system.consume(KindName::default(), Sums);
    let works = system.all_are(&works, Status::Done).await;
    let sum = works.iter().find(|work| work.add_up_to().is_some()).unwrap();
    assert_eq!(sum.result, Some(10.into()));
    let called: Vec<Json> = calls.lock().unwrap().iter().map(|(.., args)| args.clone()).collect();
    assert_eq!(called, [text("row")]);
    held.end();
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_id_is_a_work_of_each_kind() {
    let mut system = System::new().await;
    let calls = Calls::default();
    system.consume(mail(), Mailer(calls.clone()));
    system.consume(KindName::default(), Sums);
    let message_id = MessageId::try_from("1".to_owned()).unwrap();
    for (kind, body) in [
        (mail(), &br#"{"to":"a@b"}"#[..]),
        (KindName::default(), br#"{"add_up_to":4}"#),
    ] {
        let demand = Outgoing {
            message_id: message_id.clone(),
            row: None,
            new_work_code: None,
            unique: None,
            body: body.into(),
        };
        // The second copy is a repetition.
        for _ in 0..2 {
            system
                .broker
                .publish(&kind, std::slice::from_ref(&demand))
                .await
                .unwrap();
        }
    }
    let both = async {
        let ids = [WorkId(1), WorkId(2)];
        loop {
            let works = system.store.by_ids(&ids).await.unwrap();
            if works.len() == 2 && works.iter().all(Work::done) {
                return works;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let mut works = timeout(LIMIT, both).await.unwrap();
    works.sort_by_key(|work| work.kind.clone());
    let (sum, letter) = (&works[0], &works[1]);
    assert_eq!((&sum.kind, &sum.result), (KindName::add_up_to(), &Some(10.into())));
    assert_eq!((&letter.kind, letter.args.as_str()), (&mail(), r#"{"to":"a@b"}"#));
    assert_eq!(calls.lock().unwrap().len(), 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kinds_are_done_in_one_process() {
    let mut system = System::new().await;
    let calls = Calls::default();
    let kinds: Vec<KindName> = (0..20).map(|number| kind(&format!("kind_{number}"))).collect();
    for kind in &kinds {
        system.consume(kind.clone(), Mailer(calls.clone()));
    }
    let mut works = Vec::new();
    for kind in &kinds {
        works.extend(system.create(kind, (0..20).map(Json::from)).await);
    }
    let works = system.all_are(&works, Status::Done).await;
    assert_eq!((works.len(), calls.lock().unwrap().len()), (400, 400));
    system.stop().await;
}
