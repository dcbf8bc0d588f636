//! What every broker does. [`crate::broker_suite!`] makes each case a test of its own for one adapter.
//!
//! The cases are in the modules below. What happens when a server goes away is tested with the adapter that has one.

#![allow(clippy::unwrap_used, reason = "the cases are tests: a panic is their report")]

mod dead_letters;
mod receiving;
mod redelivery;
mod sending;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use pp_lib::broker::{AnyBroker, Broker, Delivery, Outgoing, Published, Queue, Subscription};
use pp_lib::domain::{KindName, MessageId};

pub use dead_letters::*;
pub use receiving::*;
pub use redelivery::*;
pub use sending::*;

/// How long anything may take that has to happen.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing must happen, where nothing is expected.
const SILENCE: Duration = Duration::from_millis(300);
const AT_ONCE: Duration = Duration::ZERO;

/// An adapter with empty queues of its own.
pub trait Harness: Sized {
    /// Makes it.
    fn start() -> impl Future<Output = Self>;
    /// The broker to be tested.
    fn broker(&self) -> AnyBroker;
    /// Cleans up, also after a case that failed.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Makes one test of every case, for the adapter that a [`Harness`] has.
#[macro_export]
macro_rules! broker_suite {
    ($harness:ty) => {
        $crate::broker_suite! { @cases $harness:
            a_message_arrives_as_it_was_sent,
            messages_arrive_in_order,
            what_is_not_acknowledged_comes_again,
            what_comes_again_and_again_is_never_dropped,
            no_more_than_the_prefetch_is_out,
            no_more_bytes_than_the_prefetch_are_out,
            large_messages_behind_small_ones_lose_nothing,
            a_subscription_dropped_with_more_to_come_gives_all_back,
            a_subscription_dropped_at_any_moment_gives_all_back,
            nothing_is_acknowledged_past_an_unfinished_one,
            what_is_acknowledged_does_not_come_again,
            two_subscriptions_share_the_messages,
            ready_messages_are_those_with_nobody,
            a_look_finds_what_is_there_and_makes_no_queue,
            a_batch_has_at_most_its_maximum,
            a_batch_waits_for_what_else_comes,
            a_cancelled_batch_loses_nothing,
            dead_letters_keep_their_bytes_and_reason,
            a_dead_letter_that_is_sent_again_is_the_same_message,
            a_dead_letter_without_properties_is_sent_again_as_a_demand,
            dead_letters_go_to_the_queue_that_their_kind_has,
            bodies_may_be_empty_or_large,
            publishing_nothing_is_nothing,
            thousands_are_published_at_once,
        }
    };
    (@cases $harness:ty: $($case:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $case() {
            $crate::broker::run::<$harness, _>($crate::broker::$case).await;
        }
    )+};
}

/// Runs one case; the harness is stopped whatever comes of it.
pub async fn run<H: Harness, F: Future<Output = ()> + Send + 'static>(case: fn(AnyBroker) -> F) {
    let harness = H::start().await;
    let outcome = tokio::spawn(timeout(4 * DEADLINE, case(harness.broker()))).await;
    harness.stop().await;
    match outcome {
        Ok(finished) => finished.expect("the case takes too long"),
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// A demand to publish, known by its number.
pub fn demand(number: usize) -> Outgoing {
    Outgoing {
        message_id: message_id(number),
        row: None,
        new_work_code: None,
        unique: None,
        body: body(number),
    }
}

/// Publishes the demands with these numbers, all of which must be confirmed.
pub async fn publish(broker: &dyn Broker, numbers: impl IntoIterator<Item = usize>) {
    let messages: Vec<_> = numbers.into_iter().map(demand).collect();
    let published = timeout(DEADLINE, broker.publish(KindName::add_up_to(), &messages))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(published, vec![Published::Confirmed; messages.len()]);
}

/// Receives exactly this many messages, without acknowledging them.
pub async fn receive(subscription: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut received: Vec<Delivery> = Vec::new();
    while received.len() < count {
        let batch = subscription.next_batch(count - received.len(), AT_ONCE);
        let batch = timeout(DEADLINE, batch).await;
        let batch = batch
            .unwrap_or_else(|_| panic!("only {} of {count} came", received.len()))
            .unwrap();
        assert!(!batch.is_empty(), "a batch has at least one message");
        received.extend(batch);
    }
    received
}

/// Whether these are the demands with these numbers, in this order.
pub fn assert_numbers(received: &[Delivery], numbers: impl IntoIterator<Item = usize>) {
    let ids: Vec<_> = received
        .iter()
        .filter_map(|delivery| delivery.properties.message_id.clone())
        .collect();
    let expected: Vec<_> = numbers
        .into_iter()
        .map(|number| message_id(number).to_string())
        .collect();
    assert_eq!(ids, expected);
    for (delivery, number) in received.iter().zip(&expected) {
        assert!(delivery.body.ends_with(b",\"done\":false}"), "{number}");
    }
}

/// Waits until a queue has this many ready messages.
pub async fn until_ready(broker: &dyn Broker, queue: &Queue, expected: u64) {
    let mut last = 0;
    let reached = timeout(DEADLINE, async {
        loop {
            last = broker.ready_messages(queue).await.unwrap();
            if last == expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(reached.is_ok(), "{last} messages are ready instead of {expected}");
}

async fn nothing_comes(subscription: &mut dyn Subscription) {
    let came = timeout(SILENCE, subscription.next_batch(100, AT_ONCE)).await;
    assert!(came.is_err(), "{came:?} came");
}

fn message_id(number: usize) -> MessageId {
    MessageId::try_from(format!("demand-{number}")).unwrap()
}

fn body(number: usize) -> Bytes {
    format!("{{\"add_up_to\":{number},\"done\":false}}").into()
}

fn tags(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

/// Publishes messages with bodies of these sizes.
async fn publish_sizes(broker: &dyn Broker, sizes: &[usize]) {
    let messages: Vec<Outgoing> = (sizes.iter().enumerate())
        .map(|(number, size)| Outgoing {
            body: vec![b' '; *size].into(),
            ..demand(number)
        })
        .collect();
    let published = timeout(DEADLINE, broker.publish(KindName::add_up_to(), &messages))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(published, vec![Published::Confirmed; messages.len()]);
}
