//! Messages arrive as they were sent, in order, of any size and number.

use pp_lib::broker::{AnyBroker, Delivery, Kept, Outgoing, Prefetch, Properties, Published, Queue};
use pp_lib::domain::{DemandedRow, KindName, Run};

use super::{assert_numbers, body, demand, publish, receive, tags, until_ready};

/// Identity, row, promised code, `unique` and body travel; a first delivery has the count 0.
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
        unique: Some("user 7".to_owned().try_into().unwrap()),
        ..demand(3)
    };
    let published = broker
        .publish(KindName::add_up_to(), &[with_row, demand(2), with_code])
        .await
        .unwrap();
    assert_eq!(published, [Published::Confirmed; 3]);
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
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
        unique: Some("user 7".into()),
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
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(500)).await.unwrap();
    publish(&*broker, 0..200).await;
    publish(&*broker, 200..500).await;
    let received = receive(&mut *subscription, 500).await;
    assert_numbers(&received, 0..500);
    assert_eq!(tags(&received), (1..=500).collect::<Vec<_>>());
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
    assert_eq!(
        broker.publish(KindName::add_up_to(), &messages).await.unwrap(),
        [Published::Confirmed; 5]
    );
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
    for (received, sent) in receive(&mut *subscription, 5).await.iter().zip(&messages) {
        assert!(received.body == sent.body, "{} bytes", sent.body.len());
    }
}

/// No message, no answer, no error.
pub async fn publishing_nothing_is_nothing(broker: AnyBroker) {
    assert_eq!(broker.publish(KindName::add_up_to(), &[]).await.unwrap(), []);
    broker.dead_letter(&[]).await.unwrap();
}

/// Each has its confirmation and each is there.
pub async fn thousands_are_published_at_once(broker: AnyBroker) {
    publish(&*broker, 0..5_000).await;
    until_ready(&*broker, &Queue::sums(), 5_000).await;
    let mut subscription = broker
        .subscribe(&Queue::sums(), Prefetch::messages(1_000))
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
