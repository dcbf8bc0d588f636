//! A computation of one's own, worked off by the real flows on a SQLite file and the in-process broker.
//!
//! `cargo run -p pp_lib --example own_computation -- 6 27 113383`, or with `failing` as the first argument the example
//! that fails. `docs/your-own-work.md` explains it line by line.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example shows its result and stops at what it did not expect"
)]

use std::sync::Arc;
use std::time::Duration;

use pp_lib::broker::AnyBroker;
use pp_lib::broker::memory::Memory;
use pp_lib::domain::{
    AddUpTo, Computation, ComputeError, Event, FailingExample, Json, KindName, Origin, Status, Task, Work,
};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::Policy;
use pp_lib::maintenance::{DispatchSettings, Dispatcher};
use pp_lib::runtime::{Health, new_message_id, new_work_code};
use pp_lib::store::sqlite::SqliteStore;
use pp_lib::store::{AnyStore, NewWork};
use pp_lib::worker::{Blocking, BlockingComputation, Cancelled, ConsumeSettings, Consumer};
use tokio_util::sync::CancellationToken;

/// How many steps lead from the number down to 1, when even numbers are halved and odd ones tripled and raised by one.
struct CollatzSteps;

impl BlockingComputation for CollatzSteps {
    fn compute(&self, task: &Task, cancelled: &Cancelled) -> Result<Json, ComputeError> {
        let bound = AddUpTo::of_args(&task.args).map_err(ComputeError::Permanent)?;
        let mut number = u64::from(bound.get().unsigned_abs());
        let mut steps = 0_i64;
        while number != 1 {
            // Nobody waits for the result any more: the thread is free for the next task.
            if cancelled.is_cancelled() {
                return Err(ComputeError::Transient("cancelled".to_owned()));
            }
            let next = if number.is_multiple_of(2) {
                Some(number / 2)
            } else {
                number.checked_mul(3).and_then(|number| number.checked_add(1))
            };
            number = next.ok_or_else(|| ComputeError::Permanent("the numbers grow beyond 64 bits".to_owned()))?;
            steps += 1;
        }
        Ok(steps.into())
    }
}

/// What `pp_lib::worker::computation` would return.
fn collatz() -> Arc<dyn Computation> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Blocking::new(CollatzSteps, processors))
}

#[tokio::main]
async fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let failing = args.first().is_some_and(|first| first == "failing");
    let computation: Arc<dyn Computation> = if failing { Arc::new(FailingExample) } else { collatz() };
    let numbers = args.split_off(usize::from(failing));
    let numbers = numbers.iter().map(|text| text.parse().unwrap()).collect();
    for (work, events) in work_off(computation, numbers).await {
        let (bound, status) = (work.add_up_to().unwrap(), work.status);
        let result = work.result.map_or("-".to_owned(), |result| result.to_string());
        println!("{bound}: {status}, result {result}");
        for event in events {
            println!("    {} {}", event.variable, event.value);
        }
    }
}

/// Creates a work for each number, lets a dispatcher and a worker finish them all, and returns them with their events.
async fn work_off(computation: Arc<dyn Computation>, numbers: Vec<AddUpTo>) -> Vec<(Work, Vec<Event>)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pp.sqlite");
    let store = SqliteStore::open(file.to_str().unwrap(), 2, Duration::from_secs(5)).unwrap();
    store.migrate().await.unwrap();
    let (store, broker, feed): (AnyStore, AnyBroker, AnyFeed) = (
        Arc::new(store),
        Arc::new(Memory::default()),
        Arc::new(MemoryFeed::new()),
    );

    let (health, stop) = (Health::new(), CancellationToken::new());
    let dispatching = DispatchSettings {
        within: Duration::from_secs(3600),
        poll: Duration::from_millis(100),
        max_lost_leases: 100,
        retain: Duration::MAX,
    };
    let consuming = ConsumeSettings {
        prefetch: 16,
        prefetch_bytes: 64 << 20,
        batch_wait: Duration::from_millis(5),
        args_limit: Json::USUAL_LIMIT,
        policy: Policy {
            places: 8,
            max_attempts: 3,
            lease: Duration::from_secs(4),
            timeout: Duration::from_secs(60),
            ..Policy::DEFAULT
        },
        grace: Duration::from_secs(5),
    };
    let dispatcher = Dispatcher::new(store.clone(), broker.clone(), feed.clone(), dispatching);
    let dispatcher = tokio::spawn(dispatcher.run(health.part("dispatcher", false), stop.clone()));
    let consumer = Consumer::new(
        store.clone(),
        broker,
        feed.clone(),
        KindName::default(),
        computation,
        consuming,
    );
    let consumer = tokio::spawn(consumer.run(health.part("consumer", true), stop.clone()));

    let new = numbers.into_iter().map(|add_up_to| NewWork {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        kind: KindName::default(),
        args: add_up_to.args(),
        run_at: None,
        unique: None,
    });
    let created = store.create(&new.collect::<Vec<_>>()).await.unwrap();
    feed.poke();
    let ids: Vec<_> = created.into_iter().flatten().map(|work| work.id).collect();
    let finished = |works: &[Work]| {
        works
            .iter()
            .all(|work| !matches!(work.status, Status::Pending | Status::Running))
    };
    let mut works = store.by_ids(&ids).await.unwrap();
    while !finished(&works) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        works = store.by_ids(&ids).await.unwrap();
    }
    stop.cancel();
    dispatcher.await.unwrap();
    consumer.await.unwrap();

    works.sort_by_key(|work| work.id);
    let mut all = Vec::new();
    for work in works {
        let events = store.events(work.id).await.unwrap().unwrap_or_default();
        all.push((work, events));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn worked_off(
        computation: Arc<dyn Computation>,
        numbers: &[i64],
    ) -> Vec<(Status, Option<Json>, Vec<String>)> {
        let numbers = numbers.iter().map(|number| AddUpTo::try_from(*number).unwrap());
        let working = work_off(computation, numbers.collect());
        let works = tokio::time::timeout(Duration::from_secs(60), working).await.unwrap();
        let shown = |event: &Event| format!("{} {}", event.variable, event.value).trim_end().to_owned();
        let works = works.into_iter();
        works
            .map(|(work, events)| (work.status, work.result, events.iter().map(shown).collect()))
            .collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_steps_are_counted() {
        let works = worked_off(collatz(), &[1, 6, 27]).await;
        let results: Vec<_> = works
            .iter()
            .map(|(status, result, _)| (*status, result.clone()))
            .collect();
        let done = |steps: i64| (Status::Done, Some(Json::from(steps)));
        assert_eq!(results, [done(0), done(8), done(111)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_fails_is_retried_or_given_up_as_documented() {
        let works = worked_off(Arc::new(FailingExample), &[4, 13, 17, 19]).await;
        let (start, stop) = ("compute/start", "compute/stop");
        assert_eq!(works[0].2, ["work/created 4", start, stop, "compute/result 10"]);
        assert_eq!(works[1].0, Status::Failed);
        assert_eq!(works[1].2, ["work/created 13", start, "compute/error 13 ends in 3"]);
        let retried = [
            "work/created 17",
            start,
            "compute/error 17 ends in 7, attempt 1",
            start,
            "compute/error 17 ends in 7, attempt 2",
            start,
            stop,
            "compute/result 153",
        ];
        assert_eq!(
            (works[2].0, works[2].2.as_slice()),
            (Status::Done, retried.map(str::to_owned).as_slice())
        );
        let panics = works[3]
            .2
            .iter()
            .filter(|event| *event == "compute/error panicked: 19 ends in 9")
            .count();
        assert_eq!((works[3].0, panics), (Status::Failed, 3));
    }
}
