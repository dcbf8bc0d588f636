//! The limits of a subscription and of a batch.

use pp_lib::broker::{AnyBroker, Prefetch, Queue};
use tokio::time::timeout;

use super::{
    AT_ONCE, DEADLINE, SILENCE, assert_numbers, nothing_comes, publish, publish_sizes, receive, tags, until_ready,
};

/// The prefetch is the backpressure.
pub async fn no_more_than_the_prefetch_is_out(broker: AnyBroker) {
    publish(&*broker, 0..10).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(4)).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 4).await, 0..4);
    nothing_comes(&mut *subscription).await;
    until_ready(&*broker, &Queue::sums(), 6).await;
    subscription.acknowledge(&[1, 2]).await.unwrap();
    assert_numbers(&receive(&mut *subscription, 2).await, 4..6);
    nothing_comes(&mut *subscription).await;
    until_ready(&*broker, &Queue::sums(), 4).await;
}

/// The prefetch bounds what a process has to hold in memory; a message that is larger comes alone.
pub async fn no_more_bytes_than_the_prefetch_are_out(broker: AnyBroker) {
    let sizes = [100_000, 100_000, 100_000, 900_000, 100_000, 100_000];
    publish_sizes(&*broker, &sizes).await;
    let prefetch = Prefetch {
        messages: 100,
        bytes: 250_000,
    };
    let mut subscription = broker.subscribe(&Queue::sums(), prefetch).await.unwrap();
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
    let mut subscription = broker.subscribe(&Queue::sums(), prefetch).await.unwrap();
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
    until_ready(&*broker, &Queue::sums(), 0).await;
    drop(subscription);
    let mut subscription = broker.subscribe(&Queue::sums(), prefetch).await.unwrap();
    nothing_comes(&mut *subscription).await;
}

/// Never more than asked for, and what is there comes without a wait.
pub async fn a_batch_has_at_most_its_maximum(broker: AnyBroker) {
    publish(&*broker, 0..10).await;
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
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
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
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
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
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
