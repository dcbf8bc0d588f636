//! The trouble of one kind is not that of another: it hangs, panics, floods its queue, or ends its process.

use std::time::{Duration, Instant};

use pp_chaos::asks::{Ask, MOODY, Mood, SLOW};
use pp_chaos::calls::{self, Call};
use pp_chaos::handlers;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Outgoing, Published, Queue};
use pp_lib::domain::KindName;
use pp_lib::runtime::new_message_id;
use tempfile::TempDir;

use super::place::{Place, until};
use crate::program::Process;

const LIMIT: Duration = Duration::from_secs(60);
/// Works end within milliseconds where nothing is in their way, and after minutes where they stand behind the flood.
const BOUND: Duration = Duration::from_secs(10);
const FLOOD: usize = 20_000;
const PROBES: usize = 20;

/// A place with workers that handle the kinds of chaos.
struct System {
    place: Place,
    broker: RabbitMq,
    calls: TempDir,
}

impl System {
    async fn new() -> Self {
        let place = Place::new().await;
        let names = QueueNames::new(&place.prefix);
        let broker = RabbitMq::connect(&place.rabbitmq, names, RabbitMqConfig::default())
            .await
            .unwrap();
        for kind in [MOODY, SLOW] {
            broker.declare(&Queue::Demand(kind.parse().unwrap())).await.unwrap();
        }
        let calls = tempfile::tempdir().unwrap();
        Self { place, broker, calls }
    }

    /// Starts a worker for these kinds.
    fn worker(&self, kinds: &str) -> Process {
        let program = self.place.service("pp_chaos_worker").set(handlers::KINDS, kinds);
        program.set(handlers::CALLS, self.calls.path().join("calls")).start()
    }

    /// Puts works into the queue of their kind; their identities.
    async fn demand(&self, asks: impl Iterator<Item = Ask>) -> Vec<String> {
        let asks: Vec<Ask> = asks.collect();
        let kind: KindName = asks[0].kind().parse().unwrap();
        let messages: Vec<Outgoing> = asks.into_iter().map(message).collect();
        for some in messages.chunks(2_000) {
            let published = self.broker.publish(&kind, some).await.unwrap();
            assert!(published.iter().all(|one| *one == Published::Confirmed));
        }
        let ids = messages.iter().map(|message| message.message_id.as_str().to_owned());
        ids.collect()
    }

    async fn number(&self, sql: &str, ids: &[String]) -> i64 {
        self.place.client().await.query_one(sql, &[&ids]).await.unwrap().get(0)
    }

    async fn done(&self, ids: &[String]) -> i64 {
        let sql = "SELECT count(*) FROM works WHERE message_id = ANY($1) AND status = 'done'";
        self.number(sql, ids).await
    }

    /// Works of the other kinds, one group after the other, each of which must be done soon.
    async fn others_are_done(&self, trouble: &str) {
        for probe in 0..PROBES {
            let begun = Instant::now();
            let mut ids = self.demand((1..=10).map(Ask::Sum)).await;
            ids.extend(self.demand((1..=10).map(|_| Ask::Slow(1))).await);
            let what = format!("{trouble}: probe {probe} is done");
            until(&what, LIMIT, async || self.done(&ids).await == 20).await;
            assert!(begun.elapsed() < BOUND, "{what} after {:?}", begun.elapsed());
        }
    }

    fn calls(&self) -> Vec<Call> {
        calls::read(&self.calls.path().join("calls")).unwrap_or_default()
    }

    /// The number of calls of the handler in trouble.
    fn moody_calls(&self) -> usize {
        self.calls().iter().filter(|call| call.kind == MOODY).count()
    }

    async fn leave(self) {
        for kind in [MOODY, SLOW] {
            let queue = self.place.queues().get(&Queue::Demand(kind.parse().unwrap()));
            pp_chaos::queues::delete(&self.place.rabbitmq, &queue).await.unwrap();
        }
        self.place.leave().await;
    }
}

fn message(ask: Ask) -> Outgoing {
    Outgoing {
        message_id: new_message_id(),
        row: None,
        new_work_code: None,
        unique: None,
        body: ask.args().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_floods_its_queue_hangs_and_panics_holds_up_no_other() {
    let system = System::new().await;
    let moods = [Mood::Hangs, Mood::Panics];
    let flood = (0..FLOOD).map(|number| Ask::Moody(moods[number % 2], u32::try_from(number).unwrap()));
    let ids = system.demand(flood).await;
    let worker = system.worker(&format!("add_up_to,{SLOW},{MOODY}"));
    until("the kind is in trouble", LIMIT, async || system.moody_calls() > 0).await;
    system.others_are_done("a flood").await;
    let queue = Queue::Demand(MOODY.parse().unwrap());
    let waiting = system.broker.ready_messages(&queue).await.unwrap();
    assert!(waiting > FLOOD as u64 / 2, "{waiting} wait: that was no flood");
    assert_eq!(system.done(&ids).await, 0);
    worker.kill();
    system.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_ends_its_process_holds_up_no_kind_of_another_process() {
    let system = System::new().await;
    let worker = system.worker(&format!("add_up_to,{SLOW}"));
    system
        .demand((0..200).map(|number| Ask::Moody(Mood::Aborts, number)))
        .await;
    for victim in 1..=3 {
        // Whoever watches over processes starts it again.
        let dies = system.worker(MOODY);
        let ended = tokio::task::spawn_blocking(|| dies.ends()).await.unwrap();
        assert_eq!(ended.code, None, "{victim}: {ended:?}");
        system.others_are_done("a process that ended").await;
    }
    assert!(system.moody_calls() >= 3);
    let ended = tokio::task::spawn_blocking(|| worker.terminate()).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    system.leave().await;
}
