//! Dispatcher, broker and worker in one process, on the embedded adapters: every demand reaches its outcome.

mod computing;
mod joining;
mod redriving;
mod stopping;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handlers::{FailingSums, Sums};
use bytes::Bytes;
use pp_conformance::store::{everything, new_works};
use pp_lib::broker::memory::Memory;
use pp_lib::broker::{self, AnyBroker, Outgoing, Prefetch};
use pp_lib::domain::{DeadLetter, DemandedRow, Json, KindName, MessageId, Origin, Run, Status, Work, WorkId};
use pp_lib::feed::Feed as _;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Context, Handler, Handling, Policy};
use pp_lib::maintenance::{DeadLetterDrainer, DispatchSettings, Dispatcher};
use pp_lib::runtime::{Health, new_message_id, new_work_code};
use pp_lib::store::{AnyStore, Changed, Completion, Guard, LetterFilter, Outcome, Selection};
use pp_lib::worker::{ConsumeSettings, Consumer};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct System {
    store: AnyStore,
    broker: AnyBroker,
    feed: Arc<MemoryFeed>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

const LEASE: Duration = Duration::from_millis(600);
const MAX_LOST: i32 = 3;

impl System {
    async fn idle() -> Self {
        let (store, folder) = crate::store::embedded::fresh().await;
        Self {
            store,
            broker: Arc::new(Memory::default()),
            feed: Arc::new(MemoryFeed::new()),
            shutdown: CancellationToken::new(),
            tasks: Vec::new(),
            folder,
        }
    }

    async fn computing(computation: impl Handler) -> Self {
        let mut system = Self::idle().await;
        system.dispatch();
        system.consume(computation, Duration::from_secs(10));
        system
    }

    fn consume(&mut self, computation: impl Handler, grace: Duration) {
        let part = Health::new().part("consumer", true);
        let consumer = self.consumer(computation, grace);
        self.tasks.push(tokio::spawn(consumer.run(part, self.shutdown.clone())));
    }

    fn consumer(&self, computation: impl Handler, grace: Duration) -> Consumer {
        let settings = ConsumeSettings {
            prefetch: 200,
            prefetch_bytes: 64 << 20,
            batch_wait: Duration::from_millis(5),
            args_limit: Json::USUAL_LIMIT,
            policy: Policy {
                places: 100,
                max_attempts: 3,
                lease: LEASE,
                timeout: Duration::from_secs(60),
                ..Policy::DEFAULT
            },
            grace,
        };
        Consumer::new(
            self.store.clone(),
            self.broker.clone(),
            self.feed.clone(),
            KindName::default(),
            Arc::new(computation),
            settings,
        )
    }

    fn drain(&mut self) {
        let drainer = DeadLetterDrainer::new(self.store.clone(), self.broker.clone(), 64 << 20);
        let part = Health::new().part("drainer", true);
        self.tasks.push(tokio::spawn(drainer.run(part, self.shutdown.clone())));
    }

    fn dispatch(&mut self) {
        self.dispatch_every(Duration::from_millis(50));
    }

    fn dispatch_every(&mut self, poll: Duration) {
        let settings = DispatchSettings {
            within: Duration::from_secs(3600),
            poll,
            max_lost_leases: MAX_LOST,
            retain: Duration::MAX,
        };
        let dispatcher = Dispatcher::new(self.store.clone(), self.broker.clone(), self.feed.clone(), settings);
        let part = Health::new().part("dispatcher", true);
        self.tasks
            .push(tokio::spawn(dispatcher.run(part, self.shutdown.clone())));
    }

    async fn create(&self, bounds: impl IntoIterator<Item = i64>) -> Vec<WorkId> {
        let created = self.store.create(&new_works(bounds)).await.unwrap();
        self.feed.poke();
        created.into_iter().map(|work| work.unwrap().id).collect()
    }

    async fn send(&self, messages: &[Outgoing]) {
        self.broker.publish(KindName::add_up_to(), messages).await.unwrap();
    }

    /// Waits until all these works are finished.
    async fn finished(&self, ids: &[WorkId]) -> HashMap<WorkId, Work> {
        self.until(|works| {
            let finished = |work: &Work| matches!(work.status, Status::Done | Status::Failed);
            ids.iter().all(|id| works.get(id).is_some_and(finished))
        })
        .await
    }

    async fn until(&self, holds: impl Fn(&HashMap<WorkId, Work>) -> bool) -> HashMap<WorkId, Work> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let works: HashMap<WorkId, Work> = self.works().await.into_iter().map(|work| (work.id, work)).collect();
            if holds(&works) {
                return works;
            }
            assert!(Instant::now() < deadline, "not within 30 s, but {works:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn works(&self) -> Vec<Work> {
        self.store.search(&everything()).await.unwrap()
    }

    async fn letters(&self, holds: impl Fn(&[DeadLetter]) -> bool) -> Vec<DeadLetter> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let letters = self.store.dead_letters(&LetterFilter::ALL, None, 100).await.unwrap();
            if holds(&letters) {
                return letters;
            }
            assert!(Instant::now() < deadline, "not within 30 s, but {letters:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn history(&self, id: WorkId) -> Vec<String> {
        let events = self.store.events(id).await.unwrap().unwrap();
        events.into_iter().map(|event| event.variable.to_string()).collect()
    }

    /// Stops everything and returns the folder of the database.
    async fn stop(mut self) -> tempfile::TempDir {
        self.halt().await;
        self.folder
    }

    async fn halt(&mut self) {
        self.shutdown.cancel();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
    }
}

fn message(message_id: MessageId, row: Option<DemandedRow>, body: &'static [u8]) -> Outgoing {
    Outgoing {
        message_id,
        row,
        new_work_code: None,
        unique: None,
        body: Bytes::from_static(body),
    }
}

fn sum(work: &Work) -> Option<Json> {
    Some(work.add_up_to().unwrap().sum().into())
}

const DONE: [&str; 4] = ["work/created", "compute/start", "compute/stop", "compute/result"];
