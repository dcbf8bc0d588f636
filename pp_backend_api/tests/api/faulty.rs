//! A store that fails on demand, in ways a real one rarely does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pp_lib::domain::{AddUpTo, DeadLetter, DeadLetterId, Event, Position, Stats, Status, Work, WorkCode, WorkId};
use pp_lib::store::{
    Answer, Answered, AnyStore, Begin, Begun, Change, ChangeLog, Changed, Claim, Completed, Completion, Completions,
    DeadLetters, DeadMessage, DispatchRows, EventLog, IdempotencyKeys, Leases, NewWork, Page, Purged, Redriven,
    RequestKey, Result, Retention, RunningAttempt, Search, Selection, Store, StoreError, Views, WorkChanges, WorkRows,
};
use tokio::sync::Semaphore;

/// The behaviour of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    Gone,
    Refusing,
    Panicking,
    Hanging,
    /// Every key is in flight in another process.
    Busy,
}

/// The store, and the control of its behaviour.
pub(crate) struct Faulty {
    mood: AtomicU8,
    /// The number of create calls.
    pub(crate) creates: AtomicUsize,
    /// A hanging call continues with a permit.
    pub(crate) permits: Semaphore,
}

impl Faulty {
    pub(crate) fn new(mood: Mood) -> Arc<Self> {
        let mood = AtomicU8::new(mood as u8);
        Arc::new(Self {
            mood,
            creates: AtomicUsize::new(0),
            permits: Semaphore::new(0),
        })
    }

    pub(crate) fn any(self: &Arc<Self>) -> AnyStore {
        self.clone()
    }

    pub(crate) fn become_(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    async fn act(&self) -> Result<()> {
        let mood = self.mood.load(Ordering::SeqCst);
        if mood == Mood::Gone as u8 {
            return Err(StoreError::Unavailable("secret driver text".into()));
        }
        if mood == Mood::Refusing as u8 {
            return Err(StoreError::Rejected("secret: SELECT".into()));
        }
        assert!(mood != Mood::Panicking as u8, "panicking on demand");
        if mood == Mood::Hanging as u8 {
            self.permits.acquire().await.unwrap().forget();
        }
        Ok(())
    }
}

#[async_trait]
impl WorkRows for Faulty {
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<Work>>> {
        self.creates.fetch_add(1, Ordering::SeqCst);
        self.act().await?;
        let row = |work: &NewWork| Work {
            id: WorkId(1),
            work_code: work.work_code.clone(),
            add_up_to: work.add_up_to,
            created_on: 0,
            updated_on: 0,
            status: Status::Pending,
            result: None,
            version: 1,
            run_at: work.run_at,
        };
        Ok(works.iter().map(|work| Some(row(work))).collect())
    }

    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<Work>>> {
        Ok(self.create(works).await?.into_iter().collect())
    }

    async fn by_ids(&self, _: &[WorkId]) -> Result<Vec<Work>> {
        self.act().await.map(|()| Vec::new())
    }

    async fn by_codes(&self, _: &[WorkCode]) -> Result<Vec<Work>> {
        self.act().await.map(|()| Vec::new())
    }

    async fn search(&self, _: &Search) -> Result<Vec<Work>> {
        self.act().await.map(|()| Vec::new())
    }
}

#[async_trait]
impl WorkChanges for Faulty {
    async fn update(&self, _: WorkId, _: AddUpTo, _: Option<i64>, _: Duration) -> Result<Changed<Work>> {
        self.act().await.map(|()| Changed::Missing)
    }

    async fn cancel(&self, _: WorkId, _: Option<i64>) -> Result<Changed<Work>> {
        self.act().await.map(|()| Changed::Missing)
    }

    async fn retry(&self, _: WorkId, _: Option<i64>) -> Result<Changed<Work>> {
        self.act().await.map(|()| Changed::Missing)
    }

    async fn delete(&self, _: WorkId, _: Option<i64>) -> Result<Changed<()>> {
        self.act().await.map(|()| Changed::Missing)
    }
}

#[async_trait]
impl DeadLetters for Faulty {
    async fn bury(&self, _: &[DeadMessage]) -> Result<()> {
        unreachable!("not the API's")
    }

    async fn dead_letters(&self, _: Option<DeadLetterId>, _: u16) -> Result<Vec<DeadLetter>> {
        self.act().await.map(|()| Vec::new())
    }

    async fn redrive(&self, _: &Selection) -> Result<u64> {
        self.act().await.map(|()| 0)
    }

    async fn drop_letters(&self, _: &Selection) -> Result<u64> {
        self.act().await.map(|()| 0)
    }

    async fn claim_redriven(&self, _: Duration, _: u16) -> Result<Vec<Redriven>> {
        unreachable!("not the API's")
    }

    async fn end_redriven(&self, _: &[Redriven]) -> Result<()> {
        unreachable!("not the API's")
    }
}

#[async_trait]
impl IdempotencyKeys for Faulty {
    async fn begin(&self, requests: &[Begin], _: Duration, _: Duration) -> Result<Vec<Begun>> {
        self.act().await?;
        if self.mood.load(Ordering::SeqCst) == Mood::Busy as u8 {
            return Ok(vec![Begun::InFlight; requests.len()]);
        }
        let seed = |request: &Begin| Begun::Mine {
            seed: request.seed.clone(),
        };
        Ok(requests.iter().map(seed).collect())
    }

    async fn keep_answers(&self, answered: &[Answered]) -> Result<Vec<Option<Answer>>> {
        self.act().await?;
        Ok(answered.iter().map(|one| Some(one.answer.clone())).collect())
    }

    async fn let_go(&self, _: &RequestKey, _: &str) -> Result<()> {
        self.act().await
    }

    async fn forget_expired(&self, _: u16) -> Result<u64> {
        self.act().await.map(|()| 0)
    }
}

#[async_trait]
impl EventLog for Faulty {
    async fn events_after(&self, _: WorkId, _: i64, _: u16) -> Result<Option<Vec<Event>>> {
        self.act().await.map(|()| None)
    }
}

#[async_trait]
impl DispatchRows for Faulty {
    async fn claim(&self, _: Option<Duration>, _: Duration, _: u16) -> Result<Vec<Claim>> {
        unreachable!("not the API's")
    }

    async fn mark_sent(&self, _: &[Claim]) -> Result<()> {
        unreachable!("not the API's")
    }

    async fn give_back(&self, _: &[Claim]) -> Result<()> {
        unreachable!("not the API's")
    }

    async fn release_sent(&self, _: Duration) -> Result<u64> {
        unreachable!("not the API's")
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        unreachable!("not the API's")
    }

    async fn lose_sent(&self, _: i32) -> Result<u64> {
        unreachable!("not the API's")
    }

    async fn lose_running(&self, _: i32) -> Result<u64> {
        unreachable!("not the API's")
    }

    async fn clock(&self) -> Result<Duration> {
        unreachable!("not the API's")
    }

    async fn shorten_waits(&self, _: Option<u32>) -> Result<u64> {
        unreachable!("not the API's")
    }
}

#[async_trait]
impl Completions for Faulty {
    async fn complete(&self, _: &[Completion]) -> Result<Vec<Completed>> {
        unreachable!("not the API's")
    }

    async fn extend_leases(&self, _: &[RunningAttempt], _: Duration) -> Result<Vec<bool>> {
        unreachable!("not the API's")
    }

    async fn hand_back(&self, _: &[RunningAttempt]) -> Result<u64> {
        unreachable!("not the API's")
    }

    async fn pending(&self, _: &[WorkCode]) -> Result<Vec<Claim>> {
        unreachable!("not the API's")
    }

    async fn rescue(&self, _: i32, _: u16) -> Result<u64> {
        unreachable!("not the API's")
    }
}

fn head() -> Position {
    Position::beginning(1)
}

#[async_trait]
impl ChangeLog for Faulty {
    async fn head(&self) -> Result<Position> {
        self.act().await.map(|()| head())
    }

    async fn changes(&self, _: &Position, _: u16) -> Result<Option<Page<Change>>> {
        self.act().await?;
        Ok(Some(Page {
            items: Vec::new(),
            position: head(),
            complete: true,
        }))
    }

    async fn touched(&self, _: &Position, _: u16) -> Result<Option<Page<WorkId>>> {
        self.act().await?;
        Ok(Some(Page {
            items: Vec::new(),
            position: head(),
            complete: true,
        }))
    }
}

#[async_trait]
impl Retention for Faulty {
    async fn purge(&self, _: WorkId, _: Duration, _: u16) -> Result<Purged> {
        unreachable!("not the API's")
    }
}

#[async_trait]
impl Leases for Faulty {
    async fn hold(&self, _: &str, _: &str, _: Duration) -> Result<bool> {
        self.act().await.map(|()| true)
    }

    async fn release(&self, _: &str, _: &str) -> Result<()> {
        self.act().await
    }

    async fn held(&self, _: &str) -> Result<u64> {
        self.act().await.map(|()| 1)
    }
}

#[async_trait]
impl Views for Faulty {
    async fn stats(&self) -> Result<Stats> {
        self.act().await.map(|()| Stats::default())
    }

    async fn fold(&self) -> Result<u64> {
        self.act().await.map(|()| 0)
    }

    async fn rebuild(&self) -> Result<()> {
        self.act().await
    }
}

#[async_trait]
impl Store for Faulty {
    async fn check(&self) -> Result<()> {
        self.act().await
    }

    async fn check_writes(&self) -> Result<()> {
        self.act().await
    }
}
