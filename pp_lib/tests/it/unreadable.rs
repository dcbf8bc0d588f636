//! Messages whose properties the client library cannot read: they block no others, and become dead letters with a
//! reason.

mod on_servers {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::handlers::Sums;
    use lapin::BasicProperties;
    use lapin::types::{AMQPValue, FieldTable};
    use pp_conformance::broker::{demand, publish, receive, until_ready};
    use pp_conformance::store::everything;
    use pp_lib::broker::{AnyBroker, Broker as _, Delivery, Prefetch, Queue};
    use pp_lib::domain::{Json, KindName, Status};
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::kinds::Policy;
    use pp_lib::runtime::Health;
    use pp_lib::worker::{ConsumeSettings, Consumer};
    use tokio_util::sync::CancellationToken;

    use crate::foreign::QueuesOfOneTest;
    use crate::garbled::MARK;

    const REASON: &str = "that cannot be read, such as text that is not UTF-8";

    /// Messages with a garbled text in each property, and the body that names it.
    fn garbled() -> Vec<(BasicProperties, &'static str)> {
        let with = |headers: FieldTable| BasicProperties::default().with_headers(headers);
        let mut named = FieldTable::default();
        named.insert(MARK.into(), AMQPValue::Boolean(true));
        let mut nested = FieldTable::default();
        nested.insert("work_code".into(), AMQPValue::FieldTable(named.clone()));
        vec![
            (BasicProperties::default().with_message_id(MARK.into()), "message id"),
            (
                BasicProperties::default().with_content_type(MARK.into()),
                "content type",
            ),
            (with(named), "name of a header"),
            (with(nested), "name within a header"),
        ]
    }

    async fn publish_garbled(queues: &QueuesOfOneTest) -> Vec<&'static str> {
        let mut bodies = Vec::new();
        for (properties, body) in garbled() {
            queues.publish_garbled(properties, body.as_bytes()).await;
            bodies.push(body);
        }
        bodies
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn unreadable_properties_are_named_and_their_messages_received_in_order() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        publish(&broker, 0..1).await;
        let bodies = publish_garbled(&queues).await;
        publish(&broker, 1..2).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
        let received = receive(&mut *subscription, bodies.len() + 2).await;
        let id = |delivery: &Delivery| delivery.properties.message_id.clone();
        let (first, last) = (received.first().unwrap(), received.last().unwrap());
        assert_eq!(
            [id(first), id(last)],
            [0, 1].map(|number| Some(demand(number).message_id.to_string()))
        );
        for (delivery, body) in received[1..].iter().zip(bodies) {
            assert_eq!((&delivery.body[..], id(delivery)), (body.as_bytes(), None));
            assert_eq!(delivery.properties.malformed, Some(REASON));
        }
        subscription.acknowledge(&[1, 2, 3, 4, 5, 6]).await.unwrap();
        drop(subscription);
        until_ready(&broker, &Queue::sums(), 0).await;
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_consumer_dead_letters_unreadable_messages_and_continues() {
        let queues = QueuesOfOneTest::new().await;
        let broker: AnyBroker = Arc::new(queues.broker().await);
        let (store, _folder) = crate::store::embedded::fresh().await;
        publish(&*broker, 1..4).await;
        let mut bodies = publish_garbled(&queues).await;
        publish(&*broker, 4..7).await;

        let settings = ConsumeSettings {
            prefetch: 4,
            prefetch_bytes: 64 << 20,
            batch_wait: Duration::from_millis(5),
            args_limit: Json::USUAL_LIMIT,
            policy: Policy {
                places: 2,
                max_attempts: 3,
                lease: Duration::from_secs(4),
                timeout: Duration::from_secs(60),
                ..Policy::DEFAULT
            },
            grace: Duration::from_secs(10),
        };
        let consumer = Consumer::new(
            store.clone(),
            broker.clone(),
            Arc::new(MemoryFeed::new()),
            KindName::default(),
            Arc::new(Sums),
            settings,
        );
        let (part, shutdown) = (Health::new().part("consumer", true), CancellationToken::new());
        let consuming = tokio::spawn(consumer.run(part, shutdown.clone()));

        let mut letters = broker
            .subscribe(&Queue::DeadLetter, Prefetch::messages(100))
            .await
            .unwrap();
        let mut received = receive(&mut *letters, bodies.len()).await;
        received.sort_by(|one, other| one.body.cmp(&other.body));
        bodies.sort_unstable();
        for (letter, body) in received.iter().zip(bodies) {
            assert_eq!(&letter.body[..], body.as_bytes());
            let reason = letter.properties.reason.as_deref().unwrap_or_default();
            assert!(reason.contains(REASON), "{reason}");
        }
        publish(&*broker, 7..8).await;
        let all = everything();
        let done = async || {
            let works = store.search(&all).await.unwrap();
            works.iter().filter(|work| work.status == Status::Done).count()
        };
        let all_done = async {
            while done().await < 7 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_done).await.unwrap();
        shutdown.cancel();
        consuming.await.unwrap();
        assert_eq!(broker.ready_messages(&Queue::sums()).await.unwrap(), 0);
        drop(letters);
        queues.delete().await;
    }
}
