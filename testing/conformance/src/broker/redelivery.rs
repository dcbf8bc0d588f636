//! Messages that are not acknowledged come again; those that are do not.

use std::collections::BTreeSet;
use std::time::Duration;

use pp_lib::broker::{AnyBroker, Delivery, Prefetch, Queue, QueueState};
use tokio::time::timeout;

use super::{AT_ONCE, DEADLINE, assert_numbers, nothing_comes, publish, publish_sizes, receive, tags, until_ready};

/// A dropped subscription gives back what it had, in the old order and counted.
pub async fn what_is_not_acknowledged_comes_again(broker: AnyBroker) {
    publish(&*broker, 0..3).await;
    let mut first = broker.subscribe(&Queue::sums(), Prefetch::messages(2)).await.unwrap();
    assert_numbers(&receive(&mut *first, 2).await, 0..2);
    drop(first);
    until_ready(&*broker, &Queue::sums(), 3).await;
    let mut second = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
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
        until_ready(&*broker, &Queue::sums(), 1).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        let received = receive(&mut *subscription, 1).await;
        assert_numbers(&received, 0..1);
        assert_eq!(received[0].delivery_count, times);
    }
}

/// What was on its way and had no room is given back with what was received.
pub async fn a_subscription_dropped_with_more_to_come_gives_all_back(broker: AnyBroker) {
    publish_sizes(&*broker, &[200_000; 30]).await;
    let prefetch = Prefetch {
        messages: 100,
        bytes: 500_000,
    };
    let mut subscription = broker.subscribe(&Queue::sums(), prefetch).await.unwrap();
    assert_eq!(receive(&mut *subscription, 2).await.len(), 2);
    drop(subscription);
    until_ready(&*broker, &Queue::sums(), 30).await;
}

/// Nobody is left that holds messages for a subscriber that went away, wherever it stood: while it was subscribing,
/// while it received, or between two messages.
pub async fn a_subscription_dropped_at_any_moment_gives_all_back(broker: AnyBroker) {
    publish(&*broker, 0..60).await;
    for microseconds in (0..20_000).step_by(500) {
        let _ = timeout(Duration::from_micros(microseconds), async {
            let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
            receive(&mut *subscription, 60).await;
        })
        .await;
    }
    for count in 1..=40 {
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
        receive(&mut *subscription, count).await;
    }
    until_ready(&*broker, &Queue::sums(), 60).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
    receive(&mut *subscription, 60).await;
}

/// A message that is not finished keeps those behind it.
pub async fn nothing_is_acknowledged_past_an_unfinished_one(broker: AnyBroker) {
    publish(&*broker, 0..5).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
    receive(&mut *subscription, 5).await;
    subscription.acknowledge(&[1]).await.unwrap();
    subscription.acknowledge(&[4, 3]).await.unwrap();
    drop(subscription);
    until_ready(&*broker, &Queue::sums(), 4).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 4).await, 1..5);
}

/// Acknowledged in any order and more than once, it is gone.
pub async fn what_is_acknowledged_does_not_come_again(broker: AnyBroker) {
    publish(&*broker, 0..5).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(5)).await.unwrap();
    receive(&mut *subscription, 5).await;
    for tags in [&[5_u64, 2][..], &[1], &[], &[1, 2], &[4, 3]] {
        subscription.acknowledge(tags).await.unwrap();
    }
    // That another one comes in spite of the prefetch shows that the acknowledgements arrived.
    publish(&*broker, 5..6).await;
    assert_numbers(&receive(&mut *subscription, 1).await, 5..6);
    drop(subscription);
    until_ready(&*broker, &Queue::sums(), 1).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 1).await, 5..6);
    nothing_comes(&mut *subscription).await;
}

/// Both receive, and no message comes to both.
pub async fn two_subscriptions_share_the_messages(broker: AnyBroker) {
    let mut one = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
    let mut two = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
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
    until_ready(&*broker, &Queue::sums(), 0).await;
    publish(&*broker, 0..5).await;
    until_ready(&*broker, &Queue::sums(), 5).await;
    until_ready(&*broker, &Queue::DeadLetter, 0).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(2)).await.unwrap();
    receive(&mut *subscription, 2).await;
    until_ready(&*broker, &Queue::sums(), 3).await;
    subscription.acknowledge(&[1]).await.unwrap();
    receive(&mut *subscription, 1).await;
    until_ready(&*broker, &Queue::sums(), 2).await;
    drop(subscription);
    until_ready(&*broker, &Queue::sums(), 4).await;
}

/// A look tells what waits and how many take it. A broker without a server has nothing to look at.
pub async fn a_look_finds_what_is_there_and_makes_no_queue(broker: AnyBroker) {
    let missing = Queue::Demand("user.nobody".parse().unwrap());
    let queues = [Queue::sums(), missing];
    publish(&*broker, 0..3).await;
    until_ready(&*broker, &Queue::sums(), 3).await;
    let Some(found) = broker.inspect(&queues).await.unwrap() else {
        assert!(!broker.durable());
        return;
    };
    assert!(
        found.version.starts_with(|first: char| first.is_ascii_digit()),
        "{found:?}"
    );
    let state = QueueState { ready: 3, consumers: 0 };
    assert_eq!(found.queues[0].state, Some(state));
    assert!(found.queues[1].name.ends_with(".user.nobody.demand"), "{found:?}");
    let _subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(1)).await.unwrap();
    let found = broker.inspect(&queues).await.unwrap().unwrap();
    assert_eq!(found.queues[0].state.map(|state| state.consumers), Some(1));
    assert_eq!(found.queues[1].state, None, "the first look has made the queue");
}
