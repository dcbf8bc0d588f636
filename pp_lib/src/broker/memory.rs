//! The in-process broker: queues in memory, limited in messages and bytes, for a process that runs every part.
//!
//! It fulfils the contract of the port, but its messages end with the process. A row must back each of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::metrics::{Held, published};
use super::queues::{NamesOfKind, QueueNames};
use super::window::Window;
use super::{
    Broker, BrokerError, DeadLetter, Delivery, Kept, Outgoing, Prefetch, Properties, Published, Queue, Resent, Result,
    Subscription,
};
use crate::domain::KindName;

/// The longest wait for room in a full queue. While one kind waits, the others do.
const ROOM_TIMEOUT: Duration = Duration::from_millis(20);

/// The broker inside this process. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    capacity: usize,
    byte_capacity: usize,
    /// The queues that were used.
    lines: Arc<Mutex<HashMap<Queue, Arc<Line>>>>,
    names: QueueNames,
}

impl Memory {
    /// The default number of messages per queue.
    pub const DEFAULT_CAPACITY: usize = 10_000;
    /// The default size of all bodies in a queue, in bytes.
    pub const DEFAULT_BYTES: usize = 64 << 20;

    /// A broker whose queues hold at most `capacity` messages and `bytes` of bodies each, including unacknowledged
    /// ones. A larger message is held alone.
    ///
    /// A full queue makes [`Broker::publish`] wait for a moment, and then not confirm. [`Broker::dead_letter`] then takes none of the letters of a kind and answers
    /// [`BrokerError::Unavailable`].
    pub fn new(capacity: usize, bytes: usize) -> Self {
        Self {
            capacity,
            byte_capacity: bytes,
            lines: Arc::default(),
            names: QueueNames::new(QueueNames::DEFAULT_PREFIX),
        }
    }

    /// Puts demands into their queue. What finds no room in time is not confirmed.
    async fn put_all<T: Sync>(&self, kind: &KindName, messages: &[T], message: fn(&T) -> Message) -> Vec<Published> {
        let line = self.line(&Queue::Demand(kind.clone()));
        let mut put = 0;
        while put < messages.len() {
            let rest = &messages[put..];
            let room = line.when(|queue| queue.put_what_fits(rest, message));
            match timeout(ROOM_TIMEOUT, room).await {
                Ok(more) => put += more,
                Err(_) => break,
            }
            line.changed.notify_waiters();
        }
        let outcome = |place| match place < put {
            true => Published::Confirmed,
            false => Published::Unconfirmed,
        };
        (0..messages.len()).map(outcome).collect()
    }

    fn line(&self, queue: &Queue) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(queue) {
            return Arc::clone(line);
        }
        let line = Arc::new(Line::new(self.capacity, self.byte_capacity));
        lines.insert(queue.clone(), Arc::clone(&line));
        line
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY, Self::DEFAULT_BYTES)
    }
}

#[async_trait]
impl Broker for Memory {
    async fn publish(&self, kind: &KindName, messages: &[Outgoing]) -> Result<Vec<Published>> {
        Ok(published(kind, self.put_all(kind, messages, Message::demand).await))
    }

    async fn resend(&self, kind: &KindName, messages: &[Resent]) -> Result<Vec<Published>> {
        Ok(published(kind, self.put_all(kind, messages, Message::resent).await))
    }

    async fn dead_letter(&self, letters: &[DeadLetter]) -> Result<()> {
        for letters in letters.chunk_by(|one, next| one.kind == next.kind) {
            let line = self.line(&self.names.of_dead_letters(&letters[0].kind));
            {
                let mut queue = line.lock();
                let bytes = letters.iter().map(|letter| letter.body.len()).sum();
                if queue.room() < letters.len() || !queue.holds(bytes) {
                    return Err(BrokerError::Unavailable("the queue of dead letters is full".into()));
                }
                letters
                    .iter()
                    .map(Message::dead_letter)
                    .for_each(|letter| queue.push(letter));
            }
            line.changed.notify_waiters();
        }
        Ok(())
    }

    async fn subscribe(&self, queue: &Queue, prefetch: Prefetch) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(MemorySubscription {
            line: self.line(queue),
            prefetch: usize::from(prefetch.messages.max(1)),
            prefetch_bytes: prefetch.bytes,
            out: BTreeMap::new(),
            out_bytes: 0,
            last_tag: 0,
            taken: Vec::new(),
            window: Window::default(),
            held: Held::new(queue),
        }))
    }

    async fn ready_messages(&self, queue: &Queue) -> Result<u64> {
        Ok(self.line(queue).lock().ready.len() as u64)
    }

    fn name_queues(&self, kinds: &[NamesOfKind<'_>]) -> Vec<String> {
        self.names.follow(kinds)
    }

    fn dead_letter_queues(&self) -> Vec<(Queue, KindName)> {
        self.names.dead_letter_queues()
    }

    fn durable(&self) -> bool {
        false
    }
}

#[derive(Clone, Debug)]
struct Message {
    /// Its place in the queue, which a returned message gets back.
    place: u64,
    delivery_count: u32,
    properties: Properties,
    body: Bytes,
}

impl Message {
    fn new(properties: Properties, body: &Bytes) -> Self {
        Self {
            place: 0,
            delivery_count: 0,
            properties,
            body: body.clone(),
        }
    }

    fn demand(outgoing: &Outgoing) -> Self {
        let row = outgoing.row.as_ref();
        let properties = Properties {
            message_id: Some(outgoing.message_id.as_str().to_owned()),
            work_code: row.map(|row| row.work_code.as_str().to_owned()),
            generation: row.map(|row| row.run.generation),
            attempt: row.map(|row| row.run.attempt),
            failures: row.map(|row| row.failures),
            lost_leases: row.map(|row| row.lost_leases),
            new_work_code: outgoing.new_work_code.as_ref().map(|code| code.as_str().to_owned()),
            unique: outgoing.unique.as_ref().map(|unique| unique.as_str().to_owned()),
            ..Properties::default()
        };
        Self::new(properties, &outgoing.body)
    }

    fn resent(message: &Resent) -> Self {
        let kept = message.properties.as_ref();
        let properties = kept.and_then(|kept| serde_json::from_slice(kept).ok());
        if kept.is_some() && properties.is_none() {
            log::warn!(
                "{} is sent again without its properties: another broker kept them",
                message.message_id
            );
        }
        let properties = Properties {
            message_id: Some(message.message_id.as_str().to_owned()),
            ..properties.unwrap_or_default()
        };
        Self::new(properties, &message.body)
    }

    fn dead_letter(letter: &DeadLetter) -> Self {
        let properties = Properties {
            kept: Kept::of(serde_json::to_vec(&letter.properties).unwrap_or_default()),
            kind: Some(letter.kind.to_string()),
            message_id: Some(letter.message_id.as_str().to_owned()),
            reason: Some(letter.carried_reason().to_owned()),
            ..Properties::default()
        };
        Self::new(properties, &letter.body)
    }
}

/// A queue and the tasks that wait for its changes.
#[derive(Debug)]
struct Line {
    queue: Mutex<Messages>,
    changed: Notify,
}

impl Line {
    fn new(capacity: usize, byte_capacity: usize) -> Self {
        let queue = Messages {
            capacity: capacity.max(1),
            byte_capacity,
            bytes: 0,
            ready: BTreeMap::new(),
            out: 0,
            last_place: 0,
        };
        Self {
            queue: Mutex::new(queue),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the attempt now and after every change, until it has a result.
    async fn when<T>(&self, mut attempt: impl FnMut(&mut Messages) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let result = attempt(&mut self.lock());
            if let Some(result) = result {
                return result;
            }
            changed.await;
        }
    }
}

#[derive(Debug)]
struct Messages {
    capacity: usize,
    byte_capacity: usize,
    /// The size of all bodies in bytes, including unacknowledged messages.
    bytes: usize,
    /// The waiting messages by their place.
    ready: BTreeMap<u64, Message>,
    /// The number of unacknowledged messages.
    out: usize,
    last_place: u64,
}

impl Messages {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.ready.len() + self.out)
    }

    /// True if the queue has room for these bytes.
    fn holds(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= self.byte_capacity
    }

    fn push(&mut self, message: Message) {
        self.last_place += 1;
        self.bytes += message.body.len();
        let place = self.last_place;
        self.ready.insert(place, Message { place, ..message });
    }

    /// Puts in as many of the first messages as fit, and answers their number, if any.
    fn put_what_fits<T>(&mut self, messages: &[T], message: fn(&T) -> Message) -> Option<usize> {
        let mut put = 0;
        for message in messages.iter().map(message).take(self.room()) {
            if !self.holds(message.body.len()) {
                break;
            }
            self.push(message);
            put += 1;
        }
        (put > 0).then_some(put)
    }
}

struct MemorySubscription {
    line: Arc<Line>,
    prefetch: usize,
    prefetch_bytes: usize,
    /// The unacknowledged messages of this subscription by their tag.
    out: BTreeMap<u64, Message>,
    out_bytes: usize,
    last_tag: u64,
    /// Messages taken by a call of `next_batch` that may have been cancelled before it returned them.
    taken: Vec<Delivery>,
    window: Window,
    held: Held,
}

impl MemorySubscription {
    /// Waits until a message is ready and the prefetch allows it, then takes it.
    async fn take(&mut self, max: usize) {
        let Self {
            line,
            prefetch,
            prefetch_bytes,
            out,
            out_bytes,
            last_tag,
            taken,
            ..
        } = self;
        line.when(|queue| {
            let before = taken.len();
            while taken.len() < max && out.len() < *prefetch {
                let fits = |message: &Message| {
                    out.is_empty() || out_bytes.saturating_add(message.body.len()) <= *prefetch_bytes
                };
                let Some(first) = queue.ready.first_entry().filter(|first| fits(first.get())) else {
                    break;
                };
                let message = first.remove();
                *out_bytes += message.body.len();
                *last_tag += 1;
                taken.push(Delivery {
                    tag: *last_tag,
                    delivery_count: message.delivery_count,
                    properties: message.properties.clone(),
                    body: message.body.clone(),
                });
                queue.out += 1;
                out.insert(*last_tag, message);
            }
            (taken.len() > before).then_some(())
        })
        .await;
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let max = max.max(1);
        if self.taken.is_empty() {
            self.take(max).await;
        }
        let deadline = Instant::now() + wait;
        while self.taken.len() < max && self.out.len() < self.prefetch {
            let taken = match wait.is_zero() {
                true => self.take(max).now_or_never().is_some(),
                false => timeout_at(deadline, self.take(max)).await.is_ok(),
            };
            if !taken {
                break;
            }
        }
        let handed_over = self.taken.len().min(max);
        self.held.show(self.out.len(), self.out_bytes);
        Ok(self.taken.drain(..handed_over).collect())
    }

    async fn acknowledge(&mut self, tags: &[u64]) -> Result<()> {
        if let Some(last) = self.window.finish(tags) {
            let unfinished = self.out.split_off(&(last + 1));
            let finished = std::mem::replace(&mut self.out, unfinished);
            let bytes: usize = finished.values().map(|message| message.body.len()).sum();
            self.out_bytes -= bytes;
            self.held.show(self.out.len(), self.out_bytes);
            let mut queue = self.line.lock();
            queue.out -= finished.len();
            queue.bytes -= bytes;
            drop(queue);
            self.line.changed.notify_waiters();
        }
        Ok(())
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        let mut queue = self.line.lock();
        queue.out -= self.out.len();
        for mut message in std::mem::take(&mut self.out).into_values() {
            message.delivery_count = message.delivery_count.saturating_add(1);
            queue.ready.insert(message.place, message);
        }
        drop(queue);
        self.line.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::MessageId;
    use crate::runtime::new_message_id;

    fn demands(count: usize) -> Vec<Outgoing> {
        let demand = |number: usize| Outgoing {
            message_id: MessageId::try_from(number.to_string()).unwrap(),
            row: None,
            new_work_code: None,
            unique: None,
            body: Bytes::new(),
        };
        (0..count).map(demand).collect()
    }

    #[tokio::test]
    async fn a_publisher_waits_for_room_and_continues() {
        let broker = Memory::new(2, usize::MAX);
        assert!(!broker.durable());
        let publishing = tokio::spawn({
            let broker = broker.clone();
            async move { broker.publish(KindName::add_up_to(), &demands(5)).await }
        });
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        for tag in 1..=5 {
            let received = subscription.next_batch(1, Duration::ZERO).await.unwrap();
            assert_eq!(received[0].tag, tag);
            let ready = broker.ready_messages(&Queue::sums()).await.unwrap();
            assert!(ready < 2, "{ready} wait beside the one that is out");
            assert_eq!(received[0].properties.message_id, Some((tag - 1).to_string()));
            subscription.acknowledge(&[tag]).await.unwrap();
        }
        assert_eq!(publishing.await.unwrap().unwrap(), [Published::Confirmed; 5]);
    }

    #[tokio::test]
    async fn an_unacknowledged_message_takes_room() {
        let broker = Memory::new(2, usize::MAX);
        broker.publish(KindName::add_up_to(), &demands(2)).await.unwrap();
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        subscription.next_batch(2, Duration::ZERO).await.unwrap();
        let one = demands(1);
        let publish = || async { broker.publish(KindName::add_up_to(), &one).await.unwrap() };
        assert_eq!(publish().await, [Published::Unconfirmed]);
        subscription.acknowledge(&[1]).await.unwrap();
        assert_eq!(publish().await, [Published::Confirmed]);
    }

    #[tokio::test]
    async fn bytes_are_limited_and_a_larger_message_is_held_alone() {
        let broker = Memory::new(10, 100);
        let of_size = |size: usize| Outgoing {
            body: vec![0; size].into(),
            ..demands(1).remove(0)
        };
        broker
            .publish(KindName::add_up_to(), &[of_size(60), of_size(40)])
            .await
            .unwrap();
        for size in [1, 500] {
            let one = [of_size(size)];
            let publish = || async { broker.publish(KindName::add_up_to(), &one).await.unwrap() };
            assert_eq!(publish().await, [Published::Unconfirmed], "{size}");
            let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
            let received = subscription.next_batch(10, Duration::ZERO).await.unwrap();
            let tags: Vec<u64> = received.iter().map(|delivery| delivery.tag).collect();
            subscription.acknowledge(&tags).await.unwrap();
            assert_eq!(publish().await, [Published::Confirmed]);
        }
        assert_eq!(broker.ready_messages(&Queue::sums()).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn dead_letters_without_room_are_refused_together() {
        let broker = Memory::new(2, usize::MAX);
        let letter = DeadLetter {
            kind: KindName::default(),
            message_id: new_message_id(),
            properties: Properties::default(),
            body: Bytes::new(),
            reason: String::new(),
        };
        broker.dead_letter(std::slice::from_ref(&letter)).await.unwrap();
        let full = broker.dead_letter(&[letter.clone(), letter]).await;
        assert!(matches!(full, Err(BrokerError::Unavailable(_))), "{full:?}");
        assert_eq!(broker.ready_messages(&Queue::DeadLetter).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_full_queue_of_one_kind_holds_up_no_other() {
        let broker = Memory::new(2, usize::MAX);
        let (mail, sums) = ("user.mail".parse().unwrap(), KindName::default());
        assert_eq!(
            broker.publish(&mail, &demands(3)).await.unwrap()[2],
            Published::Unconfirmed
        );
        assert_eq!(
            broker.publish(&sums, &demands(2)).await.unwrap(),
            [Published::Confirmed; 2]
        );
        assert_eq!(broker.ready_messages(&Queue::Demand(mail)).await.unwrap(), 2);
        assert_eq!(broker.ready_messages(&Queue::sums()).await.unwrap(), 2);
    }
}
