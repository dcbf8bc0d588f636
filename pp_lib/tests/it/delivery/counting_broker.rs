//! A broker wrapper that counts messages and can lose acknowledgements. All other calls pass through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pp_lib::broker::queues::NamesOfKind;
use pp_lib::broker::{
    self, AnyBroker, Broker, BrokerError, Delivery, Outgoing, Prefetch, Published, Queue, Subscription,
};
use pp_lib::domain::KindName;

/// The counts of a [`CountingBroker`], and its fault.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Messages that were published and confirmed.
    pub(crate) confirmed: AtomicUsize,
    /// Subscriptions.
    pub(crate) subscribed: AtomicUsize,
    /// Messages that were delivered.
    pub(crate) delivered: AtomicUsize,
    /// Messages that were acknowledged.
    pub(crate) acknowledged: AtomicUsize,
    /// If true, acknowledgements are lost and their subscriptions end.
    pub(crate) losing: AtomicBool,
}

/// Wraps a broker.
pub(crate) struct CountingBroker {
    inner: AnyBroker,
    pub(crate) traffic: Arc<Traffic>,
}

impl CountingBroker {
    pub(crate) fn new(inner: AnyBroker) -> Self {
        Self {
            inner,
            traffic: Arc::default(),
        }
    }
}

#[async_trait]
impl Broker for CountingBroker {
    async fn publish(&self, kind: &KindName, messages: &[Outgoing]) -> broker::Result<Vec<Published>> {
        let published = self.inner.publish(kind, messages).await?;
        let confirmed = published.iter().filter(|one| **one == Published::Confirmed).count();
        self.traffic.confirmed.fetch_add(confirmed, Ordering::SeqCst);
        Ok(published)
    }

    async fn resend(&self, kind: &KindName, messages: &[broker::Resent]) -> broker::Result<Vec<Published>> {
        self.inner.resend(kind, messages).await
    }

    async fn dead_letter(&self, letters: &[broker::DeadLetter]) -> broker::Result<()> {
        self.inner.dead_letter(letters).await
    }

    async fn subscribe(&self, queue: &Queue, prefetch: Prefetch) -> broker::Result<Box<dyn Subscription>> {
        let (inner, traffic) = (self.inner.subscribe(queue, prefetch).await?, self.traffic.clone());
        traffic.subscribed.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(CountingSubscription { inner, traffic }))
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

struct CountingSubscription {
    inner: Box<dyn Subscription>,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl Subscription for CountingSubscription {
    async fn next_batch(&mut self, max: usize, wait: Duration) -> broker::Result<Vec<Delivery>> {
        let batch = self.inner.next_batch(max, wait).await?;
        self.traffic.delivered.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(batch)
    }

    async fn acknowledge(&mut self, tags: &[u64]) -> broker::Result<()> {
        if self.traffic.losing.load(Ordering::SeqCst) {
            return Err(BrokerError::Unavailable("the acknowledgement is lost".into()));
        }
        self.inner.acknowledge(tags).await?;
        self.traffic.acknowledged.fetch_add(tags.len(), Ordering::SeqCst);
        Ok(())
    }
}
