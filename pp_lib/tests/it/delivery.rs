//! Demands that arrive twice, late, or for a changed work: they take effect once, with the newest state.

mod counting_broker;
mod on_servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::handlers::Sums;
use bytes::Bytes;
use pp_conformance::scripted::{Call, ScriptedStore};
use pp_conformance::store::new_works;
use pp_lib::broker::{AnyBroker, Outgoing, Queue};
use pp_lib::domain::{AddUpTo, DemandedRow, Json, KindName, MessageId, Status, Variable, Work, WorkId};
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Context, Handler, Handling, Policy};
use pp_lib::maintenance::{DispatchSettings, Dispatcher};
use pp_lib::runtime::{Health, new_message_id};
use pp_lib::store::{AnyStore, Changed, Claim};
use pp_lib::worker::{ConsumeSettings, Consumer};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_millis(600);
const HOLD: Duration = Duration::from_secs(30);
const DONE: [Variable; 3] = [Variable::ComputeStart, Variable::ComputeStop, Variable::ComputeResult];

/// A flow under way.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Aborts it wherever it is.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn consume(store: AnyStore, broker: AnyBroker, computation: impl Handler) -> Running {
    let settings = ConsumeSettings {
        prefetch: 100,
        prefetch_bytes: 64 << 20,
        batch_wait: Duration::from_millis(5),
        args_limit: Json::USUAL_LIMIT,
        policy: Policy {
            places: 50,
            max_attempts: 3,
            lease: LEASE,
            timeout: Duration::from_secs(120),
            ..Policy::DEFAULT
        },
        grace: Duration::from_secs(10),
    };
    let consumer = Consumer::new(
        store,
        broker,
        Arc::new(MemoryFeed::new()),
        KindName::default(),
        Arc::new(computation),
        settings,
    );
    let (part, shutdown) = (Health::new().part("consumer", true), CancellationToken::new());
    let task = tokio::spawn(consumer.run(part, shutdown.clone()));
    Running { shutdown, task }
}

fn dispatch(store: AnyStore, broker: AnyBroker, within: Duration) -> Running {
    let settings = DispatchSettings {
        within,
        poll: Duration::from_millis(50),
        max_lost_leases: 10,
        retain: Duration::MAX,
    };
    let dispatcher = Dispatcher::new(store, broker, Arc::new(MemoryFeed::new()), settings);
    let (part, shutdown) = (Health::new().part("dispatcher", true), CancellationToken::new());
    let task = tokio::spawn(dispatcher.run(part, shutdown.clone()));
    Running { shutdown, task }
}

/// Waits until a condition holds, by the real clock.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn bound(number: i64) -> AddUpTo {
    AddUpTo::try_from(number).unwrap()
}

fn body(number: AddUpTo) -> Bytes {
    format!(r#"{{"add_up_to":{number},"done":false}}"#).into()
}

/// A demand that has no row.
fn foreign(number: i64) -> Outgoing {
    Outgoing {
        message_id: new_message_id(),
        row: None,
        new_work_code: None,
        unique: None,
        body: body(bound(number)),
    }
}

/// The demand that a dispatcher sends for a row.
fn of_row(claim: &Claim) -> Outgoing {
    let row = DemandedRow {
        work_code: claim.work_code.clone(),
        run: claim.run,
        failures: claim.failures,
        lost_leases: claim.lost_leases,
    };
    Outgoing {
        message_id: claim.message_id.clone(),
        row: Some(row),
        new_work_code: None,
        unique: None,
        body: body(AddUpTo::of_args(&claim.args).unwrap()),
    }
}

async fn work(store: &AnyStore, id: WorkId) -> Work {
    store.by_ids(&[id]).await.unwrap().remove(0)
}

/// A computation that takes its bound in milliseconds, and counts concurrent computations.
#[derive(Clone, Default)]
struct Slow(Arc<AtomicUsize>);

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Slow {
    fn handle(&self, args: Json, _: Context) -> Handling {
        self.0.fetch_add(1, Ordering::SeqCst);
        let (under_way, add_up_to) = (UnderWay(self.0.clone()), AddUpTo::of_args(&args).unwrap());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(add_up_to.get().unsigned_abs().into())).await;
            drop(under_way);
            Ok(add_up_to.sum().into())
        })
    }
}

mod embedded {
    use pp_lib::broker::memory::Memory;

    use super::*;

    /// The dispatcher runs on a paused clock that skips ahead, the database on the real one.
    #[tokio::test(start_paused = true)]
    async fn works_older_than_the_range_are_sent_at_start_and_by_the_sweep() {
        let (store, _folder) = crate::store::embedded::fresh().await;
        let broker: AnyBroker = Arc::new(Memory::default());
        // The range is empty, so every due work is older.
        store.create(&new_works([1])).await.unwrap();
        let dispatcher = dispatch(store.clone(), broker.clone(), Duration::ZERO);
        let ready = async || broker.ready_messages(&Queue::sums()).await.unwrap();
        until("sent at start", async || ready().await == 1).await;
        store.create(&new_works([2, 3])).await.unwrap();
        until("sent by the sweep", async || ready().await == 3).await;
        dispatcher.stop().await;
    }
}
