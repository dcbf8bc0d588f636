//! What every broker does. [`crate::broker_suite!`] makes each case a test of its own for one adapter.
//!
//! Only what all of them share: what happens when a server goes away is tested with the adapter that has one.

#![allow(clippy::unwrap_used, reason = "the cases are tests: a panic is their report")]

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use pp_lib::broker::{
    AnyBroker, Broker, DeadLetter, Delivery, Kept, Outgoing, Prefetch, Properties, Published, Queue, Resent,
    Subscription,
};
use pp_lib::domain::{DemandedRow, MessageId, Run};
use pp_lib::runtime::new_message_id;

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
            a_batch_has_at_most_its_maximum,
            a_batch_waits_for_what_else_comes,
            a_cancelled_batch_loses_nothing,
            dead_letters_keep_their_bytes_and_reason,
            a_dead_letter_that_is_sent_again_is_the_same_message,
            a_dead_letter_without_properties_is_sent_again_as_a_demand,
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
        body: body(number),
    }
}

/// Publishes the demands with these numbers, all of which must be confirmed.
pub async fn publish(broker: &dyn Broker, numbers: impl IntoIterator<Item = usize>) {
    let messages: Vec<_> = numbers.into_iter().map(demand).collect();
    let published = timeout(DEADLINE, broker.publish(&messages)).await.unwrap().unwrap();
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
pub async fn until_ready(broker: &dyn Broker, queue: Queue, expected: u64) {
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

/// Identity, row, promised code and body travel; a first delivery has the count 0.
pub async fn a_message_arrives_as_it_was_sent(broker: AnyBroker) {
    let row = DemandedRow {
        work_code: "api-0123456789".parse().unwrap(),
        run: Run {
            generation: 3,
            attempt: i32::MAX,
        },
        failures: 2,
        lost_leases: 3,
    };
    let with_row = Outgoing {
        row: Some(row),
        ..demand(1)
    };
    let with_code = Outgoing {
        new_work_code: Some("consumer-0123456789".parse().unwrap()),
        ..demand(3)
    };
    let published = broker.publish(&[with_row, demand(2), with_code]).await.unwrap();
    assert_eq!(published, [Published::Confirmed; 3]);
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    let received = receive(&mut *subscription, 3).await;
    let expected = |tag: u64, properties| Delivery {
        tag,
        delivery_count: 0,
        properties,
        body: body(tag as usize),
    };
    let with_row = Properties {
        message_id: Some("demand-1".into()),
        work_code: Some("api-0123456789".into()),
        generation: Some(3),
        attempt: Some(i32::MAX),
        failures: Some(2),
        lost_leases: Some(3),
        ..Properties::default()
    };
    let without = Properties {
        message_id: Some("demand-2".into()),
        ..Properties::default()
    };
    let with_code = Properties {
        message_id: Some("demand-3".into()),
        new_work_code: Some("consumer-0123456789".into()),
        ..Properties::default()
    };
    let expected = [expected(1, with_row), expected(2, without), expected(3, with_code)];
    let received = received.into_iter().map(|delivery| Delivery {
        properties: Properties {
            kept: Kept::Nothing,
            ..delivery.properties
        },
        ..delivery
    });
    assert_eq!(received.collect::<Vec<_>>(), expected);
    subscription.acknowledge(&[1, 2, 3]).await.unwrap();
}

/// First in, first out, and tags that grow by one from 1.
pub async fn messages_arrive_in_order(broker: AnyBroker) {
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(500)).await.unwrap();
    publish(&*broker, 0..200).await;
    publish(&*broker, 200..500).await;
    let received = receive(&mut *subscription, 500).await;
    assert_numbers(&received, 0..500);
    assert_eq!(tags(&received), (1..=500).collect::<Vec<_>>());
}

/// A dropped subscription gives back what it had, in the old order and counted.
pub async fn what_is_not_acknowledged_comes_again(broker: AnyBroker) {
    publish(&*broker, 0..3).await;
    let mut first = broker.subscribe(Queue::Demand, Prefetch::messages(2)).await.unwrap();
    assert_numbers(&receive(&mut *first, 2).await, 0..2);
    drop(first);
    until_ready(&*broker, Queue::Demand, 3).await;
    let mut second = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    let received = receive(&mut *second, 3).await;
    assert_numbers(&received, 0..3);
    assert_eq!(tags(&received), [1, 2, 3]);
    let counts: Vec<_> = received.iter().map(|delivery| delivery.delivery_count).collect();
    assert_eq!(counts, [1, 1, 0]);
}

/// However often its consumers go away with it: whether a message is to be given up is not for the broker to decide.
pub async fn what_comes_again_and_again_is_never_dropped(broker: AnyBroker) {
    // More than the limit that a server may have by default, which is 20.
    const TIMES: u32 = 25;
    publish(&*broker, 0..1).await;
    for times in 0..=TIMES {
        until_ready(&*broker, Queue::Demand, 1).await;
        let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
        let received = receive(&mut *subscription, 1).await;
        assert_numbers(&received, 0..1);
        assert_eq!(received[0].delivery_count, times);
    }
}

/// The prefetch is the backpressure.
pub async fn no_more_than_the_prefetch_is_out(broker: AnyBroker) {
    publish(&*broker, 0..10).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(4)).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 4).await, 0..4);
    nothing_comes(&mut *subscription).await;
    until_ready(&*broker, Queue::Demand, 6).await;
    subscription.acknowledge(&[1, 2]).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 2).await, 4..6);
    nothing_comes(&mut *subscription).await;
    until_ready(&*broker, Queue::Demand, 4).await;
}

/// The prefetch bounds what a process has to hold in memory; a message that is larger comes alone.
pub async fn no_more_bytes_than_the_prefetch_are_out(broker: AnyBroker) {
    let sizes = [100_000, 100_000, 100_000, 900_000, 100_000, 100_000];
    publish_sizes(&*broker, &sizes).await;
    let prefetch = Prefetch {
        messages: 100,
        bytes: 250_000,
    };
    let mut subscription = broker.subscribe(Queue::Demand, prefetch).await.unwrap();
    let mut tag = 0;
    for together in [&sizes[..2], &sizes[2..3], &sizes[3..4], &sizes[4..]] {
        let received = receive(&mut *subscription, together.len()).await;
        let received: Vec<usize> = received.iter().map(|delivery| delivery.body.len()).collect();
        assert_eq!(received, together);
        nothing_comes(&mut *subscription).await;
        tag += together.len() as u64;
        subscription.acknowledge(&(1..=tag).collect::<Vec<_>>()).await.unwrap();
    }
}

/// Whatever the broker sends ahead of messages that turn out large: all arrive, once and in order.
pub async fn large_messages_behind_small_ones_lose_nothing(broker: AnyBroker) {
    let sizes: Vec<usize> = (0..900)
        .map(|number| match number / 100 % 3 {
            1 => 50_000,
            _ => 10,
        })
        .collect();
    publish_sizes(&*broker, &sizes).await;
    let prefetch = Prefetch {
        messages: 200,
        bytes: 500_000,
    };
    let mut subscription = broker.subscribe(Queue::Demand, prefetch).await.unwrap();
    let mut received: Vec<usize> = Vec::new();
    while received.len() < sizes.len() {
        let batch = timeout(DEADLINE, subscription.next_batch(50, AT_ONCE)).await;
        let batch = batch.expect("all arrive").unwrap();
        let held: usize = batch.iter().map(|delivery| delivery.body.len()).sum();
        assert!(held <= prefetch.bytes, "{held} bytes are out");
        assert_eq!(batch[0].tag, received.len() as u64 + 1);
        received.extend(batch.iter().map(|delivery| delivery.body.len()));
        subscription.acknowledge(&tags(&batch)).await.unwrap();
    }
    assert!(received == sizes);
    until_ready(&*broker, Queue::Demand, 0).await;
    drop(subscription);
    let mut subscription = broker.subscribe(Queue::Demand, prefetch).await.unwrap();
    nothing_comes(&mut *subscription).await;
}

/// What was on its way and had no room is given back with what was received.
pub async fn a_subscription_dropped_with_more_to_come_gives_all_back(broker: AnyBroker) {
    publish_sizes(&*broker, &[200_000; 30]).await;
    let prefetch = Prefetch {
        messages: 100,
        bytes: 500_000,
    };
    let mut subscription = broker.subscribe(Queue::Demand, prefetch).await.unwrap();
    assert_eq!(receive(&mut *subscription, 2).await.len(), 2);
    drop(subscription);
    until_ready(&*broker, Queue::Demand, 30).await;
}

/// Nobody is left that holds messages for a subscriber that went away, wherever it stood: while it was subscribing,
/// while it received, or between two messages.
pub async fn a_subscription_dropped_at_any_moment_gives_all_back(broker: AnyBroker) {
    publish(&*broker, 0..60).await;
    for microseconds in (0..20_000).step_by(500) {
        let _ = timeout(Duration::from_micros(microseconds), async {
            let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(100)).await.unwrap();
            receive(&mut *subscription, 60).await;
        })
        .await;
    }
    for count in 1..=40 {
        let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(100)).await.unwrap();
        receive(&mut *subscription, count).await;
    }
    until_ready(&*broker, Queue::Demand, 60).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(100)).await.unwrap();
    receive(&mut *subscription, 60).await;
}

/// Publishes messages with bodies of these sizes.
async fn publish_sizes(broker: &dyn Broker, sizes: &[usize]) {
    let messages: Vec<Outgoing> = (sizes.iter().enumerate())
        .map(|(number, size)| Outgoing {
            body: vec![b' '; *size].into(),
            ..demand(number)
        })
        .collect();
    let published = timeout(DEADLINE, broker.publish(&messages)).await.unwrap().unwrap();
    assert_eq!(published, vec![Published::Confirmed; messages.len()]);
}

/// A message that is not finished keeps those behind it.
pub async fn nothing_is_acknowledged_past_an_unfinished_one(broker: AnyBroker) {
    publish(&*broker, 0..5).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    receive(&mut *subscription, 5).await;
    subscription.acknowledge(&[1]).await.unwrap();
    subscription.acknowledge(&[4, 3]).await.unwrap();
    drop(subscription);
    until_ready(&*broker, Queue::Demand, 4).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 4).await, 1..5);
}

/// Acknowledged in any order and more than once, it is gone.
pub async fn what_is_acknowledged_does_not_come_again(broker: AnyBroker) {
    publish(&*broker, 0..5).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(5)).await.unwrap();
    receive(&mut *subscription, 5).await;
    for tags in [&[5_u64, 2][..], &[1], &[], &[1, 2], &[4, 3]] {
        subscription.acknowledge(tags).await.unwrap();
    }
    // That another one comes in spite of the prefetch shows that the acknowledgements arrived.
    publish(&*broker, 5..6).await;
    assert_numbers(&receive(&mut *subscription, 1).await, 5..6);
    drop(subscription);
    until_ready(&*broker, Queue::Demand, 1).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 1).await, 5..6);
    nothing_comes(&mut *subscription).await;
}

/// Both receive, and no message comes to both.
pub async fn two_subscriptions_share_the_messages(broker: AnyBroker) {
    let mut one = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    let mut two = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    publish(&*broker, 0..400).await;
    let (mut by_one, mut by_two) = (BTreeSet::new(), BTreeSet::new());
    let bodies = |batch: &[Delivery]| batch.iter().map(|delivery| delivery.body.clone()).collect::<Vec<_>>();
    let all = timeout(DEADLINE, async {
        while by_one.len() + by_two.len() < 400 {
            tokio::select! {
                batch = one.next_batch(5, AT_ONCE) => {
                    let batch = batch.unwrap();
                    by_one.extend(bodies(&batch));
                    one.acknowledge(&tags(&batch)).await.unwrap();
                }
                batch = two.next_batch(5, AT_ONCE) => {
                    let batch = batch.unwrap();
                    by_two.extend(bodies(&batch));
                    two.acknowledge(&tags(&batch)).await.unwrap();
                }
            }
        }
    });
    all.await.unwrap();
    assert!(by_one.is_disjoint(&by_two));
    assert!(!by_one.is_empty() && !by_two.is_empty());
}

/// What a subscription has is not ready; what it gives back is.
pub async fn ready_messages_are_those_with_nobody(broker: AnyBroker) {
    until_ready(&*broker, Queue::Demand, 0).await;
    publish(&*broker, 0..5).await;
    until_ready(&*broker, Queue::Demand, 5).await;
    until_ready(&*broker, Queue::DeadLetter, 0).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(2)).await.unwrap();
    receive(&mut *subscription, 2).await;
    until_ready(&*broker, Queue::Demand, 3).await;
    subscription.acknowledge(&[1]).await.unwrap();
    receive(&mut *subscription, 1).await;
    until_ready(&*broker, Queue::Demand, 2).await;
    drop(subscription);
    until_ready(&*broker, Queue::Demand, 4).await;
}

/// Never more than asked for, and what is there comes without a wait.
pub async fn a_batch_has_at_most_its_maximum(broker: AnyBroker) {
    publish(&*broker, 0..10).await;
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(100)).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 9 {
        let batch = timeout(DEADLINE, subscription.next_batch(3, DEADLINE))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(batch.len(), 3);
        received.extend(batch);
    }
    let last = timeout(DEADLINE, subscription.next_batch(3, SILENCE))
        .await
        .unwrap()
        .unwrap();
    received.extend(last);
    assert_numbers(&received, 0..10);
}

/// What comes within the time belongs to the batch.
pub async fn a_batch_waits_for_what_else_comes(broker: AnyBroker) {
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(100)).await.unwrap();
    let publishing = async {
        publish(&*broker, 0..1).await;
        publish(&*broker, 1..2).await;
        publish(&*broker, 2..3).await;
    };
    let receiving = timeout(DEADLINE, subscription.next_batch(3, 2 * DEADLINE));
    let (batch, ()) = tokio::join!(receiving, publishing);
    assert_numbers(&batch.unwrap().unwrap(), 0..3);
}

/// What a cancelled call had taken comes with the next ones, once and in order.
pub async fn a_cancelled_batch_loses_nothing(broker: AnyBroker) {
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(100)).await.unwrap();
    for numbers in [0..20, 20..40] {
        publish(&*broker, numbers).await;
        // More than there are, so that it has to go on waiting.
        let cancelled = timeout(SILENCE, subscription.next_batch(50, DEADLINE)).await;
        assert!(cancelled.is_err());
    }
    let received = receive(&mut *subscription, 40).await;
    assert_numbers(&received, 0..40);
    assert_eq!(tags(&received), (1..=40).collect::<Vec<_>>());
    nothing_comes(&mut *subscription).await;
}

/// Whatever the message was, it arrives; only a reason without end is cut.
pub async fn dead_letters_keep_their_bytes_and_reason(broker: AnyBroker) {
    let letter = |body: &'static [u8], reason: &str| DeadLetter {
        message_id: new_message_id(),
        properties: Properties::default(),
        body: Bytes::from_static(body),
        reason: reason.to_owned(),
    };
    let endless = "é".repeat(5_000);
    let letters = [
        letter(b"\xff\xfe\x00 no text", "no UTF-8"),
        letter(b"", "empty"),
        letter(b"{}", &endless),
    ];
    broker.dead_letter(&letters).await.unwrap();
    until_ready(&*broker, Queue::Demand, 0).await;
    let mut subscription = broker
        .subscribe(Queue::DeadLetter, Prefetch::messages(10))
        .await
        .unwrap();
    let received = receive(&mut *subscription, 3).await;
    for (received, sent) in received.iter().zip(&letters) {
        assert_eq!(received.body, sent.body);
        assert_eq!(
            received.properties.message_id.as_deref(),
            Some(sent.message_id.as_str())
        );
        let reason = received.properties.reason.clone().unwrap();
        assert!(sent.reason.starts_with(&reason) && !reason.is_empty());
        assert!(reason == sent.reason || reason.len() > DeadLetter::MAX_REASON_LENGTH - 4);
        assert!(reason.len() <= DeadLetter::MAX_REASON_LENGTH);
    }
}

/// Row, promised code and identity are there again.
pub async fn a_dead_letter_that_is_sent_again_is_the_same_message(broker: AnyBroker) {
    let row = DemandedRow {
        work_code: "api-0123456789".parse().unwrap(),
        run: Run {
            generation: 3,
            attempt: 5,
        },
        failures: 2,
        lost_leases: 1,
    };
    let with_row = Outgoing {
        row: Some(row),
        ..demand(1)
    };
    let with_code = Outgoing {
        new_work_code: Some("consumer-0123456789".parse().unwrap()),
        ..demand(2)
    };
    broker.publish(&[with_row, with_code]).await.unwrap();
    let mut demands = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    let first = receive(&mut *demands, 2).await;
    let letters = first.iter().map(|delivery| DeadLetter {
        message_id: delivery.properties.message_id.clone().unwrap().try_into().unwrap(),
        properties: delivery.properties.clone(),
        body: delivery.body.clone(),
        reason: "a test".to_owned(),
    });
    broker.dead_letter(&letters.collect::<Vec<_>>()).await.unwrap();
    demands.acknowledge(&[1, 2]).await.unwrap();
    let mut letters = broker
        .subscribe(Queue::DeadLetter, Prefetch::messages(10))
        .await
        .unwrap();
    let letters = receive(&mut *letters, 2).await;
    broker
        .resend(&letters.iter().map(resent).collect::<Vec<_>>())
        .await
        .unwrap();
    let again = receive(&mut *demands, 2).await;
    for (again, first) in again.iter().zip(&first) {
        assert_eq!((&again.properties, &again.body), (&first.properties, &first.body));
        assert_eq!(again.delivery_count, 0);
    }
}

/// Letters of programs that kept no properties.
pub async fn a_dead_letter_without_properties_is_sent_again_as_a_demand(broker: AnyBroker) {
    let old = Resent {
        message_id: message_id(7),
        properties: None,
        body: body(7),
    };
    assert_eq!(broker.resend(&[old]).await.unwrap(), [Published::Confirmed]);
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    let received = receive(&mut *subscription, 1).await;
    assert_numbers(&received, 7..8);
    assert_eq!(received[0].properties.malformed, None);
}

fn resent(letter: &Delivery) -> Resent {
    Resent {
        message_id: letter.properties.message_id.clone().unwrap().try_into().unwrap(),
        properties: letter.properties.kept.whole().cloned(),
        body: letter.body.clone(),
    }
}

/// From nothing to many frames.
pub async fn bodies_may_be_empty_or_large(broker: AnyBroker) {
    let sizes = [0_usize, 1, 4_000_000, 131_072, 131_064];
    let messages: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(number, size)| Outgoing {
            body: (0..*size).map(|at| (at % 251) as u8).collect::<Vec<_>>().into(),
            ..demand(number)
        })
        .collect();
    assert_eq!(broker.publish(&messages).await.unwrap(), [Published::Confirmed; 5]);
    let mut subscription = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
    for (received, sent) in receive(&mut *subscription, 5).await.iter().zip(&messages) {
        assert!(received.body == sent.body, "{} bytes", sent.body.len());
    }
}

/// No message, no answer, no error.
pub async fn publishing_nothing_is_nothing(broker: AnyBroker) {
    assert_eq!(broker.publish(&[]).await.unwrap(), []);
    broker.dead_letter(&[]).await.unwrap();
}

/// Each has its confirmation and each is there.
pub async fn thousands_are_published_at_once(broker: AnyBroker) {
    publish(&*broker, 0..5_000).await;
    until_ready(&*broker, Queue::Demand, 5_000).await;
    let mut subscription = broker
        .subscribe(Queue::Demand, Prefetch::messages(1_000))
        .await
        .unwrap();
    let mut received = Vec::new();
    while received.len() < 5_000 {
        let batch = receive(&mut *subscription, 500).await;
        subscription.acknowledge(&tags(&batch)).await.unwrap();
        received.extend(batch);
    }
    assert_numbers(&received, 0..5_000);
}
