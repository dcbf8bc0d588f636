//! The store's actor over a store that waits, refuses and breaks on demand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::domain::{AddUpTo, MessageId, Origin, Position, Stats, Status};
use crate::feed::AnyFeed;
use crate::feed::memory::MemoryFeed;
use crate::store::{
    Change, ChangeLog, Claim, Completed, Completion, Completions, DeadLetters, DeadMessage, DispatchRows, EventLog,
    IdempotencyKeys, Leases, Page, Purged, Redriven, Result, Retention, RunningAttempt, Store, Views, WorkChanges,
    WorkRows,
};

const BAD: i32 = 13;
const BROKEN: i32 = 14;
const UNREACHABLE: i32 = 15;
const TAKEN: i32 = 16;

/// A store whose calls wait for a permit each; some bounds make `create` fail.
struct Moody {
    permits: Semaphore,
    calls: Mutex<Vec<String>>,
    last_id: AtomicI64,
}

impl Moody {
    async fn call(&self, what: &str, keys: Vec<i64>) {
        self.calls.lock().unwrap().push(format!("{what} {keys:?}"));
        self.permits.acquire().await.unwrap().forget();
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn row(&self, work: &NewWork) -> Option<Work> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        (work.add_up_to.get() != TAKEN).then(|| row(id, work.work_code.clone()))
    }
}

fn row(id: i64, work_code: WorkCode) -> Work {
    Work {
        id: WorkId(id),
        work_code,
        add_up_to: AddUpTo::MIN,
        created_on: 0,
        updated_on: 0,
        status: Status::Pending,
        result: None,
        version: 1,
        run_at: None,
    }
}

fn code(number: u8) -> WorkCode {
    WorkCode::new(Origin::Api, [number; 10])
}

fn new_work(bound: i32) -> NewWork {
    NewWork {
        message_id: MessageId::try_from(format!("message {bound}")).unwrap(),
        work_code: code(u8::try_from(bound).unwrap()),
        add_up_to: AddUpTo::try_from(i64::from(bound)).unwrap(),
        run_at: None,
    }
}

#[async_trait]
impl WorkRows for Moody {
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<Work>>> {
        let bounds: Vec<_> = works.iter().map(|work| i64::from(work.add_up_to.get())).collect();
        self.call("create", bounds.clone()).await;
        let any = |bound: i32| bounds.contains(&i64::from(bound));
        assert!(!any(BROKEN), "broken on demand");
        if any(UNREACHABLE) {
            return Err(StoreError::Unavailable("gone".into()));
        }
        if any(BAD) {
            return Err(StoreError::Rejected("bad".into()));
        }
        Ok(works.iter().map(|work| self.row(work)).collect())
    }

    async fn create_all(&self, _: &[NewWork]) -> Result<Option<Vec<Work>>> {
        unreachable!("of no interest here")
    }

    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>> {
        self.call("by_ids", ids.iter().map(|id| id.0).collect()).await;
        // Out of order, and what is above 100 is unknown.
        Ok(ids
            .iter()
            .rev()
            .filter(|id| id.0 <= 100)
            .map(|id| row(id.0, code(0)))
            .collect())
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>> {
        self.call("by_codes", vec![i64::try_from(codes.len()).unwrap()]).await;
        Ok(codes.iter().rev().map(|code| row(1, code.clone())).collect())
    }

    async fn search(&self, search: &Search) -> Result<Vec<Work>> {
        self.call("search", vec![search.limit.into()]).await;
        Ok(Vec::new())
    }
}

#[async_trait]
impl WorkChanges for Moody {
    async fn update(&self, _: WorkId, _: AddUpTo, _: Option<i64>, _: Duration) -> Result<Changed<Work>> {
        unreachable!("of no interest here")
    }

    async fn cancel(&self, _: WorkId, _: Option<i64>) -> Result<Changed<Work>> {
        unreachable!("of no interest here")
    }

    async fn retry(&self, _: WorkId, _: Option<i64>) -> Result<Changed<Work>> {
        unreachable!("of no interest here")
    }

    async fn delete(&self, _: WorkId, _: Option<i64>) -> Result<Changed<()>> {
        unreachable!("of no interest here")
    }
}

#[async_trait]
impl DeadLetters for Moody {
    async fn bury(&self, _: &[DeadMessage]) -> Result<()> {
        unreachable!("of no interest here")
    }

    async fn dead_letters(&self, _: Option<DeadLetterId>, _: u16) -> Result<Vec<DeadLetter>> {
        unreachable!("of no interest here")
    }

    async fn redrive(&self, _: &Selection) -> Result<u64> {
        unreachable!("of no interest here")
    }

    async fn drop_letters(&self, _: &Selection) -> Result<u64> {
        unreachable!("of no interest here")
    }

    async fn claim_redriven(&self, _: Duration, _: u16) -> Result<Vec<Redriven>> {
        unreachable!("of no interest here")
    }

    async fn end_redriven(&self, _: &[Redriven]) -> Result<()> {
        unreachable!("of no interest here")
    }
}

#[async_trait]
impl IdempotencyKeys for Moody {
    async fn begin(&self, _: &[Begin], _: Duration, _: Duration) -> Result<Vec<Begun>> {
        unreachable!("of no interest here")
    }

    async fn keep_answers(&self, _: &[Answered]) -> Result<Vec<Option<Answer>>> {
        unreachable!("of no interest here")
    }

    async fn let_go(&self, _: &RequestKey, _: &str) -> Result<()> {
        unreachable!("of no interest here")
    }

    async fn forget_expired(&self, _: u16) -> Result<u64> {
        unreachable!("of no interest here")
    }
}

#[async_trait]
impl EventLog for Moody {
    async fn events_after(&self, id: WorkId, _: i64, _: u16) -> Result<Option<Vec<Event>>> {
        self.call("events", vec![id.0]).await;
        Ok(None)
    }
}

#[async_trait]
impl DispatchRows for Moody {
    async fn claim(&self, _: Option<Duration>, _: Duration, _: u16) -> Result<Vec<Claim>> {
        unreachable!("not the actor's")
    }

    async fn mark_sent(&self, _: &[Claim]) -> Result<()> {
        unreachable!("not the actor's")
    }

    async fn give_back(&self, _: &[Claim]) -> Result<()> {
        unreachable!("not the actor's")
    }

    async fn release_sent(&self, _: Duration) -> Result<u64> {
        unreachable!("not the actor's")
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        unreachable!("not the actor's")
    }

    async fn lose_sent(&self, _: i32) -> Result<u64> {
        unreachable!("not the actor's")
    }

    async fn lose_running(&self, _: i32) -> Result<u64> {
        unreachable!("not the actor's")
    }

    async fn clock(&self) -> Result<Duration> {
        unreachable!("not the actor's")
    }

    async fn shorten_waits(&self, _: Option<u32>) -> Result<u64> {
        unreachable!("not the actor's")
    }
}

#[async_trait]
impl Completions for Moody {
    async fn complete(&self, _: &[Completion]) -> Result<Vec<Completed>> {
        unreachable!("not the actor's")
    }

    async fn extend_leases(&self, _: &[RunningAttempt], _: Duration) -> Result<Vec<bool>> {
        unreachable!("not the actor's")
    }

    async fn hand_back(&self, _: &[RunningAttempt]) -> Result<u64> {
        unreachable!("not the actor's")
    }

    async fn pending(&self, _: &[WorkCode]) -> Result<Vec<Claim>> {
        unreachable!("not the actor's")
    }

    async fn rescue(&self, _: i32, _: u16) -> Result<u64> {
        unreachable!("not the actor's")
    }
}

#[async_trait]
impl ChangeLog for Moody {
    async fn head(&self) -> Result<Position> {
        unreachable!()
    }

    async fn changes(&self, _: &Position, _: u16) -> Result<Option<Page<Change>>> {
        unreachable!()
    }

    async fn touched(&self, _: &Position, _: u16) -> Result<Option<Page<WorkId>>> {
        unreachable!()
    }
}

#[async_trait]
impl Leases for Moody {
    async fn hold(&self, _: &str, _: &str, _: Duration) -> Result<bool> {
        unreachable!()
    }

    async fn release(&self, _: &str, _: &str) -> Result<()> {
        unreachable!()
    }

    async fn held(&self, _: &str) -> Result<u64> {
        unreachable!()
    }
}

#[async_trait]
impl Views for Moody {
    async fn stats(&self) -> Result<Stats> {
        unreachable!()
    }

    async fn fold(&self) -> Result<u64> {
        unreachable!()
    }

    async fn rebuild(&self) -> Result<()> {
        unreachable!()
    }
}

#[async_trait]
impl Retention for Moody {
    async fn purge(&self, _: WorkId, _: Duration, _: u16) -> Result<Purged> {
        unreachable!()
    }
}

#[async_trait]
impl Store for Moody {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn check_writes(&self) -> Result<()> {
        Ok(())
    }
}

struct Rig {
    store: Arc<Moody>,
    handle: StoreHandle,
    actor: StoreActor,
    feed: AnyFeed,
}

fn rig() -> Rig {
    let store = Arc::new(Moody {
        permits: Semaphore::new(0),
        calls: Mutex::default(),
        last_id: AtomicI64::default(),
    });
    let feed: AnyFeed = Arc::new(MemoryFeed::new());
    let options = StoreOptions {
        mailbox: 8,
        read_lanes: 1,
        ..StoreOptions::default()
    };
    let any: AnyStore = store.clone();
    let (actor, handle) = StoreActor::start(&any, &feed, options);
    Rig {
        store,
        handle,
        actor,
        feed,
    }
}

impl Rig {
    /// Asks for a work of each bound; the first is under way before the others wait.
    async fn create(
        &self,
        bounds: &[i32],
    ) -> Vec<tokio::task::JoinHandle<std::result::Result<Option<Work>, ActorError>>> {
        let mut asked = Vec::new();
        for bound in bounds {
            let (handle, work) = (self.handle.clone(), new_work(*bound));
            asked.push(tokio::spawn(async move { handle.insert(work).await }));
            self.complete().await;
        }
        asked
    }

    /// Lets everything run as far as it can without a permit.
    async fn complete(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_waits_while_a_group_commits_is_the_next_group() {
    let rig = rig();
    let mut waiter = rig.feed.listen();
    let asked = rig.create(&[1, 2, 3, 4]).await;
    assert_eq!(rig.store.calls(), ["create [1]"]);
    rig.store.permits.add_permits(2);
    for (ask, bound) in asked.into_iter().zip(1_u8..) {
        assert_eq!(ask.await.unwrap().unwrap().unwrap().work_code, code(bound));
    }
    assert_eq!(rig.store.calls(), ["create [1]", "create [2, 3, 4]"]);
    waiter.changed().await;
}

#[tokio::test]
async fn one_bad_work_does_not_fail_its_neighbours() {
    let rig = rig();
    let asked = rig.create(&[1, 2, BAD, TAKEN, 5]).await;
    rig.store.permits.add_permits(100);
    let mut answers = Vec::new();
    for ask in asked {
        answers.push(match ask.await.unwrap() {
            Ok(Some(work)) => work.work_code.to_string(),
            Ok(None) => "taken".to_owned(),
            Err(error) => error.to_string(),
        });
    }
    let good = |number| code(number).to_string();
    assert_eq!(
        answers,
        [
            good(1),
            good(2),
            "the database refused: bad".to_owned(),
            "taken".to_owned(),
            good(5)
        ]
    );
}

#[tokio::test]
async fn a_store_that_is_gone_or_breaks_fails_its_group_only() {
    let rig = rig();
    let asked = rig.create(&[1, 2, UNREACHABLE]).await;
    rig.store.permits.add_permits(2);
    let mut answers = Vec::new();
    for ask in asked {
        answers.push(ask.await.unwrap());
    }
    assert!(matches!(
        &answers[..],
        [
            Ok(_),
            Err(ActorError::Store(StoreError::Unavailable(_))),
            Err(ActorError::Store(_))
        ]
    ));
    rig.store.permits.add_permits(2);
    assert!(matches!(
        rig.handle.insert(new_work(BROKEN)).await,
        Err(ActorError::Failed)
    ));
    assert!(rig.handle.insert(new_work(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn reads_that_wait_are_one_statement_and_each_gets_its_own_work() {
    let rig = rig();
    let ask = |id| {
        let handle = rig.handle.clone();
        tokio::spawn(async move { handle.by_id(WorkId(id)).await })
    };
    let mut asked = vec![ask(50)];
    rig.complete().await;
    asked.extend([7, 3, 101, 7].map(ask));
    rig.complete().await;
    rig.store.permits.add_permits(2);
    let mut ids = Vec::new();
    for ask in asked {
        ids.push(ask.await.unwrap().unwrap().map(|work| work.id.0));
    }
    assert_eq!(ids, [Some(50), Some(7), Some(3), None, Some(7)]);
    assert_eq!(rig.store.calls(), ["by_ids [50]", "by_ids [3, 7, 101]"]);
    rig.store.permits.add_permits(1);
    let found = rig.handle.by_code(code(9)).await.unwrap().unwrap();
    assert_eq!(found.work_code, code(9));
}

#[tokio::test]
async fn one_kind_of_request_does_not_wait_behind_another() {
    let rig = rig();
    let _creates = rig.create(&[1, 2]).await;
    let (searching, reading) = (rig.handle.clone(), rig.handle.clone());
    let search = Search {
        work_code: None,
        status: None,
        since: None,
        before: None,
        limit: 50,
    };
    let _search = tokio::spawn(async move { searching.search(&search).await });
    let _events = tokio::spawn(async move { reading.events(WorkId(4), 0, 10).await });
    rig.complete().await;
    let mut calls = rig.store.calls();
    calls.sort_unstable();
    assert_eq!(calls, ["create [1]", "events [4]", "search [50]"]);
}

#[tokio::test]
async fn a_full_mailbox_refuses_and_a_stop_finishes_what_waits() {
    let rig = rig();
    // One under way and eight that wait.
    let asked = rig.create(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    assert!(matches!(
        rig.handle.insert(new_work(10)).await,
        Err(ActorError::Overloaded)
    ));
    rig.store.permits.add_permits(2);
    rig.actor.stop().await;
    for ask in asked {
        assert!(ask.await.unwrap().unwrap().is_some());
    }
    assert!(matches!(
        rig.handle.insert(new_work(11)).await,
        Err(ActorError::Stopped)
    ));
}
