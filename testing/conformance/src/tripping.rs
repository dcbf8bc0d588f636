//! A store that trips: in front of a real one, it answers as often as a test says as real ones do on bad days only.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use pp_lib::domain::{AddUpTo, DeadLetter, DeadLetterId, Event, Position, Stats, Work, WorkCode, WorkId};
use pp_lib::store::{
    Answer, Answered, AnyStore, Begin, Begun, Change, ChangeLog, Changed, Claim, Completed, Completion, Completions,
    DeadLetters, DeadMessage, DispatchRows, EventLog, IdempotencyKeys, Leases, NewWork, Page, Purged, Redriven,
    RequestKey, Result, Retention, RunningAttempt, Search, Selection, Store, StoreError, Views, WorkChanges, WorkRows,
};

/// The store; each count is of calls still to come that trip, and everything else goes through.
pub struct Tripping {
    inner: AnyStore,
    /// Calls of `create_all` that find a code taken.
    pub taken_codes: AtomicUsize,
    /// Calls of `keep_answers` that do nothing and fail.
    pub unkept_answers: AtomicUsize,
    /// Calls of `begin` that take effect and fail.
    pub lost_beginnings: AtomicUsize,
    /// Calls of `let_go` that do nothing and fail.
    pub held_keys: AtomicUsize,
}

impl Tripping {
    /// In front of this store, not tripping yet.
    pub fn new(inner: AnyStore) -> Self {
        Self {
            inner,
            taken_codes: AtomicUsize::new(0),
            unkept_answers: AtomicUsize::new(0),
            lost_beginnings: AtomicUsize::new(0),
            held_keys: AtomicUsize::new(0),
        }
    }
}

/// Whether this call is one of those that trip.
fn trips(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
}

fn tripped() -> StoreError {
    StoreError::Unavailable("it trips".to_owned())
}

#[async_trait]
impl WorkRows for Tripping {
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<Work>>> {
        self.inner.create(works).await
    }

    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<Work>>> {
        if trips(&self.taken_codes) {
            return Ok(None);
        }
        self.inner.create_all(works).await
    }

    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>> {
        self.inner.by_ids(ids).await
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>> {
        self.inner.by_codes(codes).await
    }

    async fn search(&self, search: &Search) -> Result<Vec<Work>> {
        self.inner.search(search).await
    }
}

#[async_trait]
impl IdempotencyKeys for Tripping {
    async fn begin(&self, requests: &[Begin], hold: Duration, keep: Duration) -> Result<Vec<Begun>> {
        let begun = self.inner.begin(requests, hold, keep).await;
        if trips(&self.lost_beginnings) {
            Err(tripped())
        } else {
            begun
        }
    }

    async fn keep_answers(&self, answered: &[Answered]) -> Result<Vec<Option<Answer>>> {
        if trips(&self.unkept_answers) {
            return Err(tripped());
        }
        self.inner.keep_answers(answered).await
    }

    async fn let_go(&self, key: &RequestKey, seed: &str) -> Result<()> {
        if trips(&self.held_keys) {
            return Err(tripped());
        }
        self.inner.let_go(key, seed).await
    }

    async fn forget_expired(&self, limit: u16) -> Result<u64> {
        self.inner.forget_expired(limit).await
    }
}

#[async_trait]
impl WorkChanges for Tripping {
    async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>> {
        self.inner.update(id, add_up_to, version, pause).await
    }

    async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        self.inner.cancel(id, version).await
    }

    async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        self.inner.retry(id, version).await
    }

    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>> {
        self.inner.delete(id, version).await
    }
}

#[async_trait]
impl EventLog for Tripping {
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>> {
        self.inner.events_after(id, after, limit).await
    }
}

#[async_trait]
impl DispatchRows for Tripping {
    async fn claim(&self, within: Option<Duration>, hold: Duration, limit: u16) -> Result<Vec<Claim>> {
        self.inner.claim(within, hold, limit).await
    }

    async fn mark_sent(&self, claims: &[Claim]) -> Result<()> {
        self.inner.mark_sent(claims).await
    }

    async fn give_back(&self, claims: &[Claim]) -> Result<()> {
        self.inner.give_back(claims).await
    }

    async fn release_sent(&self, longer_than: Duration) -> Result<u64> {
        self.inner.release_sent(longer_than).await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.inner.next_due().await
    }

    async fn lose_sent(&self, max_lost: i32) -> Result<u64> {
        self.inner.lose_sent(max_lost).await
    }

    async fn lose_running(&self, max_lost: i32) -> Result<u64> {
        self.inner.lose_running(max_lost).await
    }

    async fn clock(&self) -> Result<Duration> {
        self.inner.clock().await
    }

    async fn shorten_waits(&self, most: Option<u32>) -> Result<u64> {
        self.inner.shorten_waits(most).await
    }
}

#[async_trait]
impl Completions for Tripping {
    async fn complete(&self, completions: &[Completion]) -> Result<Vec<Completed>> {
        self.inner.complete(completions).await
    }

    async fn extend_leases(&self, attempts: &[RunningAttempt], lease: Duration) -> Result<Vec<bool>> {
        self.inner.extend_leases(attempts, lease).await
    }

    async fn hand_back(&self, attempts: &[RunningAttempt]) -> Result<u64> {
        self.inner.hand_back(attempts).await
    }

    async fn pending(&self, codes: &[WorkCode]) -> Result<Vec<Claim>> {
        self.inner.pending(codes).await
    }

    async fn rescue(&self, max_lost: i32, limit: u16) -> Result<u64> {
        self.inner.rescue(max_lost, limit).await
    }
}

#[async_trait]
impl DeadLetters for Tripping {
    async fn bury(&self, messages: &[DeadMessage]) -> Result<()> {
        self.inner.bury(messages).await
    }

    async fn dead_letters(&self, before: Option<DeadLetterId>, limit: u16) -> Result<Vec<DeadLetter>> {
        self.inner.dead_letters(before, limit).await
    }

    async fn redrive(&self, which: &Selection) -> Result<u64> {
        self.inner.redrive(which).await
    }

    async fn drop_letters(&self, which: &Selection) -> Result<u64> {
        self.inner.drop_letters(which).await
    }

    async fn claim_redriven(&self, hold: Duration, limit: u16) -> Result<Vec<Redriven>> {
        self.inner.claim_redriven(hold, limit).await
    }

    async fn end_redriven(&self, sent: &[Redriven]) -> Result<()> {
        self.inner.end_redriven(sent).await
    }
}

#[async_trait]
impl ChangeLog for Tripping {
    async fn head(&self) -> Result<Position> {
        self.inner.head().await
    }

    async fn changes(&self, after: &Position, limit: u16) -> Result<Option<Page<Change>>> {
        self.inner.changes(after, limit).await
    }

    async fn touched(&self, after: &Position, limit: u16) -> Result<Option<Page<WorkId>>> {
        self.inner.touched(after, limit).await
    }
}

#[async_trait]
impl Leases for Tripping {
    async fn hold(&self, name: &str, holder: &str, hold: Duration) -> Result<bool> {
        self.inner.hold(name, holder, hold).await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<()> {
        self.inner.release(name, holder).await
    }

    async fn held(&self, prefix: &str) -> Result<u64> {
        self.inner.held(prefix).await
    }
}

#[async_trait]
impl Views for Tripping {
    async fn stats(&self) -> Result<Stats> {
        self.inner.stats().await
    }

    async fn fold(&self) -> Result<u64> {
        self.inner.fold().await
    }

    async fn rebuild(&self) -> Result<()> {
        self.inner.rebuild().await
    }
}

#[async_trait]
impl Retention for Tripping {
    async fn purge(&self, after: WorkId, retain: Duration, limit: u16) -> Result<Purged> {
        self.inner.purge(after, retain, limit).await
    }
}

#[async_trait]
impl Store for Tripping {
    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn check_writes(&self) -> Result<()> {
        self.inner.check_writes().await
    }
}
