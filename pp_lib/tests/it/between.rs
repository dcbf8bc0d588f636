//! Ports with a test in between: a store that waits or fails at chosen moments, and a broker whose acknowledgements get
//! lost. Everything else is passed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pp_lib::broker::{
    self, AnyBroker, Broker, BrokerError, Delivery, Outgoing, Prefetch, Published, Queue, Subscription,
};
use pp_lib::domain::{AddUpTo, DeadLetter, DeadLetterId, Event, Position, Stats, Work, WorkCode, WorkId};
use pp_lib::store::{
    Answer, Answered, AnyStore, Begin, Begun, Change, ChangeLog, Changed, Claim, Completed, Completion, Completions,
    DeadLetters, DeadMessage, DispatchRows, EventLog, IdempotencyKeys, Leases, NewWork, Page, Purged, Redriven,
    RequestKey, Result, Retention, RunningAttempt, Search, Selection, Store, StoreError, Views, WorkChanges, WorkRows,
};
use tokio::sync::watch;

/// A store with a test in between.
pub(crate) struct StoreBetween {
    pub(crate) inner: AnyStore,
    /// How long claims are held, whatever the dispatcher says.
    pub(crate) hold: Option<Duration>,
    /// Whether the marks of dispatchers get through; if not, their calls do not end.
    pub(crate) marks: bool,
    /// Whether outcomes get through now; until then they wait.
    pub(crate) completes: watch::Sender<bool>,
    /// How often outcomes came.
    pub(crate) arrived: watch::Sender<usize>,
    /// How many outcomes were superseded.
    pub(crate) superseded: AtomicUsize,
    /// How often the store failed to complete.
    pub(crate) errors: AtomicUsize,
    /// Whether reads by id get through now; until then they wait.
    pub(crate) may_read: watch::Sender<bool>,
    /// How often works were read by id.
    pub(crate) reads_by_id: AtomicUsize,
    /// Whether reads fail as if the database were away, the feed's as well.
    pub(crate) is_away: AtomicBool,
    /// How often the feed was read.
    pub(crate) reads: AtomicUsize,
    /// Whether the feed cannot be read.
    pub(crate) unreadable: AtomicBool,
    /// Whether the feed cannot be continued, the next time it is read.
    pub(crate) forgets: AtomicBool,
    /// How often somebody asked for a lease.
    pub(crate) holds: AtomicUsize,
    /// Whether purges get through now; until then they wait.
    pub(crate) purges: watch::Sender<bool>,
    /// How many works may be looked at in one purge; more is too much.
    pub(crate) most_purged: AtomicUsize,
    /// How many walks of purges came to their end.
    pub(crate) walks: AtomicUsize,
}

impl StoreBetween {
    /// One that passes on everything.
    pub(crate) fn new(inner: AnyStore) -> Self {
        Self {
            inner,
            hold: None,
            marks: true,
            completes: watch::Sender::new(true),
            arrived: watch::Sender::new(0),
            superseded: AtomicUsize::new(0),
            errors: AtomicUsize::new(0),
            may_read: watch::Sender::new(true),
            reads_by_id: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            unreadable: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
            purges: watch::Sender::new(true),
            most_purged: AtomicUsize::new(usize::MAX),
            walks: AtomicUsize::new(0),
        }
    }

    fn is_there(&self) -> Result<()> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it is away".into()));
        }
        Ok(())
    }

    fn read(&self) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.unreadable.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("not now".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Completions for StoreBetween {
    async fn complete(&self, completions: &[Completion]) -> Result<Vec<Completed>> {
        self.arrived.send_modify(|count| *count += 1);
        self.completes.subscribe().wait_for(|may| *may).await.unwrap();
        let completed = self.inner.complete(completions).await.inspect_err(|_| {
            self.errors.fetch_add(1, Ordering::SeqCst);
        })?;
        let superseded = completed
            .iter()
            .filter(|completed| **completed == Completed::Superseded)
            .count();
        self.superseded.fetch_add(superseded, Ordering::SeqCst);
        Ok(completed)
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
impl DispatchRows for StoreBetween {
    async fn claim(&self, within: Option<Duration>, hold: Duration, limit: u16) -> Result<Vec<Claim>> {
        self.inner.claim(within, self.hold.unwrap_or(hold), limit).await
    }

    async fn mark_sent(&self, claims: &[Claim]) -> Result<()> {
        if !self.marks {
            std::future::pending::<()>().await;
        }
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
impl WorkRows for StoreBetween {
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<Work>>> {
        self.inner.create(works).await
    }

    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<Work>>> {
        self.inner.create_all(works).await
    }

    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>> {
        self.is_there()?;
        self.reads_by_id.fetch_add(1, Ordering::SeqCst);
        self.may_read.subscribe().wait_for(|may| *may).await.unwrap();
        self.inner.by_ids(ids).await
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>> {
        self.is_there()?;
        self.inner.by_codes(codes).await
    }

    async fn search(&self, search: &Search) -> Result<Vec<Work>> {
        self.inner.search(search).await
    }
}

#[async_trait]
impl WorkChanges for StoreBetween {
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
impl EventLog for StoreBetween {
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>> {
        self.inner.events_after(id, after, limit).await
    }
}

#[async_trait]
impl DeadLetters for StoreBetween {
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
impl IdempotencyKeys for StoreBetween {
    async fn begin(&self, requests: &[Begin], hold: Duration, keep: Duration) -> Result<Vec<Begun>> {
        self.inner.begin(requests, hold, keep).await
    }

    async fn keep_answers(&self, answered: &[Answered]) -> Result<Vec<Option<Answer>>> {
        self.inner.keep_answers(answered).await
    }

    async fn let_go(&self, key: &RequestKey, seed: &str) -> Result<()> {
        self.inner.let_go(key, seed).await
    }

    async fn forget_expired(&self, limit: u16) -> Result<u64> {
        self.inner.forget_expired(limit).await
    }
}

#[async_trait]
impl ChangeLog for StoreBetween {
    async fn head(&self) -> Result<Position> {
        self.read()?;
        self.inner.head().await
    }

    async fn changes(&self, after: &Position, limit: u16) -> Result<Option<Page<Change>>> {
        self.read()?;
        if self.forgets.swap(false, Ordering::SeqCst) {
            return Ok(None);
        }
        self.inner.changes(after, limit).await
    }

    async fn touched(&self, after: &Position, limit: u16) -> Result<Option<Page<WorkId>>> {
        self.is_there()?;
        self.inner.touched(after, limit).await
    }
}

#[async_trait]
impl Leases for StoreBetween {
    async fn hold(&self, name: &str, holder: &str, hold: Duration) -> Result<bool> {
        self.holds.fetch_add(1, Ordering::SeqCst);
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
impl Views for StoreBetween {
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
impl Retention for StoreBetween {
    async fn purge(&self, after: WorkId, retain: Duration, limit: u16) -> Result<Purged> {
        self.purges.subscribe().wait_for(|may| *may).await.unwrap();
        if usize::from(limit) > self.most_purged.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it takes too long".to_owned()));
        }
        let purged = self.inner.purge(after, retain, limit).await?;
        self.walks
            .fetch_add(usize::from(purged.next.is_none()), Ordering::SeqCst);
        Ok(purged)
    }
}

#[async_trait]
impl Store for StoreBetween {
    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn check_writes(&self) -> Result<()> {
        self.inner.check_writes().await
    }
}

/// What a broker with a test in between has seen.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Messages that were published and confirmed.
    pub(crate) confirmed: AtomicUsize,
    /// How often somebody subscribed.
    pub(crate) subscribed: AtomicUsize,
    /// Messages that were handed out.
    pub(crate) delivered: AtomicUsize,
    /// Messages that were acknowledged.
    pub(crate) acknowledged: AtomicUsize,
    /// Whether acknowledgements get lost, and the subscriptions with them.
    pub(crate) losing: AtomicBool,
}

/// A broker with a test in between.
pub(crate) struct BrokerBetween {
    inner: AnyBroker,
    pub(crate) traffic: Arc<Traffic>,
}

impl BrokerBetween {
    /// One that passes on everything.
    pub(crate) fn new(inner: AnyBroker) -> Self {
        Self {
            inner,
            traffic: Arc::default(),
        }
    }
}

#[async_trait]
impl Broker for BrokerBetween {
    async fn publish(&self, messages: &[Outgoing]) -> broker::Result<Vec<Published>> {
        let published = self.inner.publish(messages).await?;
        let confirmed = published.iter().filter(|one| **one == Published::Confirmed).count();
        self.traffic.confirmed.fetch_add(confirmed, Ordering::SeqCst);
        Ok(published)
    }

    async fn resend(&self, messages: &[broker::Resent]) -> broker::Result<Vec<Published>> {
        self.inner.resend(messages).await
    }

    async fn dead_letter(&self, letters: &[broker::DeadLetter]) -> broker::Result<()> {
        self.inner.dead_letter(letters).await
    }

    async fn subscribe(&self, queue: Queue, prefetch: Prefetch) -> broker::Result<Box<dyn Subscription>> {
        let (inner, traffic) = (self.inner.subscribe(queue, prefetch).await?, self.traffic.clone());
        traffic.subscribed.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(SubscriptionBetween { inner, traffic }))
    }

    async fn ready_messages(&self, queue: Queue) -> broker::Result<u64> {
        self.inner.ready_messages(queue).await
    }

    fn durable(&self) -> bool {
        self.inner.durable()
    }
}

struct SubscriptionBetween {
    inner: Box<dyn Subscription>,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl Subscription for SubscriptionBetween {
    async fn next_batch(&mut self, max: usize, wait: Duration) -> broker::Result<Vec<Delivery>> {
        let batch = self.inner.next_batch(max, wait).await?;
        self.traffic.delivered.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(batch)
    }

    async fn acknowledge(&mut self, tags: &[u64]) -> broker::Result<()> {
        if self.traffic.losing.load(Ordering::SeqCst) {
            return Err(BrokerError::Unavailable("lost between two stools".into()));
        }
        self.inner.acknowledge(tags).await?;
        self.traffic.acknowledged.fetch_add(tags.len(), Ordering::SeqCst);
        Ok(())
    }
}
