//! Cases that need a RabbitMQ server: foreign clients, vanishing queues, broken connections.

use pp_lib::domain::KindName;
use std::collections::BTreeSet;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use pp_conformance::broker::{assert_numbers, demand, publish, receive, until_ready};
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker, BrokerError, DeadLetter, Kept, Prefetch, Properties, Published, Queue, Subscription};
use pp_lib::runtime::new_message_id;
use pp_testkit::proxy::{Flow, Proxy};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::foreign::{QueuesOfOneTest, server_url};

const DEADLINE: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::ZERO;

/// Asserts that every call on the subscription fails promptly.
async fn assert_over(subscription: &mut dyn Subscription) {
    for _ in 0..2 {
        let next = timeout(DEADLINE, subscription.next_batch(10, AT_ONCE)).await.unwrap();
        assert!(matches!(next, Err(BrokerError::Unavailable(_))), "{next:?}");
        assert!(matches!(
            subscription.acknowledge(&[1]).await,
            Err(BrokerError::Unavailable(_))
        ));
    }
}

async fn connect_error(url: &str) -> BrokerError {
    let config = RabbitMqConfig {
        connect_timeout: Duration::from_secs(2),
        ..RabbitMqConfig::default()
    };
    let connected = RabbitMq::connect(url, QueueNames::new("pp.test.none"), config).await;
    connected.err().unwrap_or_else(|| panic!("{url} can be connected to"))
}

mod embedded {
    use super::*;

    #[tokio::test]
    async fn a_bad_url_is_refused_without_repeating_it() {
        for url in [
            "",
            "secret",
            "amqp:secret",
            "http://user:secret@localhost/",
            "amqp://user:secret@localhost:99999/",
            "amqp://user:secret@[::1/",
            "amqp://user:secret@localhost/?heartbeat=secret",
        ] {
            let error = connect_error(url).await;
            assert!(matches!(error, BrokerError::Rejected(_)), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_or_silent_server_is_unavailable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = connect_error(&format!("amqp://user:secret@{address}/")).await;
        drop(listener);
        let closed = connect_error(&format!("amqp://user:secret@{address}/")).await;
        for error in [silent, closed] {
            assert!(matches!(error, BrokerError::Unavailable(_)), "{error}");
            let text = error.to_string();
            assert!(
                text.contains(&address.to_string()) && !text.contains("secret"),
                "{text}"
            );
        }
    }
}

mod on_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_foreign_message_without_properties_is_received() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        let body = br#"{"add_up_to":2,"done":false}"#;
        queues.publish(BasicProperties::default(), body).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        let received = receive(&mut *subscription, 1).await;
        let said = Properties {
            kept: Kept::Nothing,
            ..received[0].properties.clone()
        };
        assert_eq!(said, Properties::default());
        assert_eq!(&received[0].body[..], body);
        assert_eq!(received[0].delivery_count, 0);
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn malformed_headers_are_named_and_do_not_affect_other_messages() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        let bad = [
            ("work_code", AMQPValue::LongString(vec![0xff, 0xfe].into())),
            ("generation", AMQPValue::LongString("1".into())),
            ("attempt", AMQPValue::LongLongInt(i64::MAX)),
        ];
        for (name, value) in bad.clone() {
            let mut headers = FieldTable::default();
            headers.insert(name.into(), value);
            headers.insert("of no concern".into(), AMQPValue::Double(0.5));
            queues
                .publish(BasicProperties::default().with_headers(headers), b"{}")
                .await;
        }
        publish(&broker, 0..1).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        let received = receive(&mut *subscription, 4).await;
        let malformed: Vec<_> = received.iter().map(|delivery| delivery.properties.malformed).collect();
        assert_eq!(
            malformed,
            [Some("work_code"), Some("generation"), Some("attempt"), None]
        );
        assert_numbers(&received[3..], 0..1);
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_without_its_queue_is_returned_and_the_next_one_is_delivered() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        queues.delete_queue(&queues.names.get(&Queue::sums())).await;
        let messages: Vec<_> = (0..3_000).map(demand).collect();
        let published = broker.publish(KindName::add_up_to(), &messages).await.unwrap();
        assert_eq!(published, vec![Published::Returned; 3_000]);
        publish(&broker, 0..3_000).await;
        until_ready(&broker, &Queue::sums(), 3_000).await;
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_missing_queue_has_nothing_ready_and_is_declared_again() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        queues.delete_queue(&queues.names.get(&Queue::sums())).await;
        queues.delete_queue(&queues.names.get(&Queue::DeadLetter)).await;
        for queue in [Queue::sums(), Queue::DeadLetter] {
            assert_eq!(broker.ready_messages(&queue).await.unwrap(), 0);
        }
        publish(&broker, 0..1).await;
        let letter = DeadLetter {
            kind: KindName::default(),
            message_id: new_message_id(),
            properties: Properties::default(),
            body: "{}".into(),
            reason: "a test".into(),
        };
        broker.dead_letter(&[letter]).await.unwrap();
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn dead_letters_without_their_queue_are_not_confirmed() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        queues.delete_queue(&queues.names.get(&Queue::DeadLetter)).await;
        let letter = || DeadLetter {
            kind: KindName::default(),
            message_id: new_message_id(),
            properties: Properties::default(),
            body: "{}".into(),
            reason: "a test".into(),
        };
        let letters = [letter(), letter()];
        let lost = broker.dead_letter(&letters).await;
        assert!(matches!(lost, Err(BrokerError::Unavailable(_))), "{lost:?}");
        broker.dead_letter(&letters).await.unwrap();
        until_ready(&broker, &Queue::DeadLetter, 2).await;
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_subscription_ends_with_its_queue() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        queues.delete_queue(&queues.names.get(&Queue::sums())).await;
        assert_over(&mut *subscription).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        publish(&broker, 0..1).await;
        assert_numbers(&receive(&mut *subscription, 1).await, 0..1);
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn publishing_and_subscribing_continue_after_a_cut() {
        let queues = QueuesOfOneTest::new().await;
        let (proxy, url) = Proxy::to_url(&Handle::current(), &server_url()).unwrap();
        let broker = queues.broker_at(&url).await;
        publish(&broker, 0..6).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(5)).await.unwrap();
        receive(&mut *subscription, 5).await;
        subscription.acknowledge(&[1, 2]).await.unwrap();
        // The next message proves that the acknowledgement arrived.
        receive(&mut *subscription, 1).await;
        proxy.cut();
        assert_over(&mut *subscription).await;
        // The first publish notices the cut. Its message may or may not have arrived.
        let publishing = timeout(DEADLINE, async {
            let mut number = 6;
            while broker.publish(KindName::add_up_to(), &[demand(number)]).await.unwrap() != [Published::Confirmed] {
                number += 1;
            }
            number
        });
        let last = publishing.await.unwrap();
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(100)).await.unwrap();
        let mut ids: Vec<String> = Vec::new();
        while !ids.contains(&format!("demand-{last}")) {
            let one = receive(&mut *subscription, 1).await;
            ids.extend(one.into_iter().filter_map(|delivery| delivery.properties.message_id));
        }
        assert_eq!(ids[..4], ["demand-2", "demand-3", "demand-4", "demand-5"]);
        assert!(ids[4..].len() <= last - 5, "{ids:?}");
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn publishing_and_a_subscription_are_one_connection_each() {
        let queues = QueuesOfOneTest::new().await;
        let (proxy, url) = Proxy::to_url(&Handle::current(), &server_url()).unwrap();
        let broker = queues.broker_at(&url).await;
        publish(&broker, 0..1).await;
        assert_eq!(proxy.accepted(), 1);
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(1)).await.unwrap();
        receive(&mut *subscription, 1).await;
        assert_eq!(proxy.accepted(), 2);
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cut_while_publishing_confirms_only_stored_messages() {
        let queues = QueuesOfOneTest::new().await;
        let (proxy, url) = Proxy::to_url(&Handle::current(), &server_url()).unwrap();
        let broker = queues.broker_at(&url).await;
        let messages: Vec<_> = (0..5_000).map(demand).collect();
        let cut = async {
            // A separate connection sees the first of them arrive.
            let witness = queues.broker().await;
            while witness.ready_messages(&Queue::sums()).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            proxy.cut();
        };
        let (published, ()) = tokio::join!(broker.publish(KindName::add_up_to(), &messages), cut);
        let published = published.unwrap();
        assert_eq!(published.len(), messages.len());
        assert!(!published.contains(&Published::Returned));
        let mut subscription = broker
            .subscribe(&Queue::sums(), Prefetch::messages(10_000))
            .await
            .unwrap();
        let mut missing: BTreeSet<_> = messages
            .iter()
            .zip(&published)
            .filter(|(_, published)| **published == Published::Confirmed)
            .map(|(message, _)| message.message_id.to_string())
            .collect();
        while !missing.is_empty() {
            for delivery in receive(&mut *subscription, 1).await {
                missing.remove(&delivery.properties.message_id.unwrap());
            }
        }
        publish(&broker, 0..1).await;
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cancelled_publish_leaves_nothing_behind_for_the_next() {
        let queues = QueuesOfOneTest::new().await;
        let broker = queues.broker().await;
        let messages: Vec<_> = (0..2_000).map(demand).collect();
        for _ in 0..3 {
            let cancelled = timeout(AT_ONCE, broker.publish(KindName::add_up_to(), &messages)).await;
            assert!(cancelled.is_err());
            publish(&broker, 0..10).await;
        }
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_on_a_frozen_connection_end_in_time() {
        let queues = QueuesOfOneTest::new().await;
        let (proxy, url) = Proxy::to_url(&Handle::current(), &server_url()).unwrap();
        let soon = RabbitMqConfig {
            connect_timeout: Duration::from_millis(500),
            confirm_timeout: Duration::from_millis(500),
            answer_timeout: Duration::from_millis(500),
            ..RabbitMqConfig::default()
        };
        let url = format!("{url}?heartbeat=1");
        let broker = RabbitMq::connect(&url, queues.names.clone(), soon).await.unwrap();
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        proxy.set(Flow::Frozen);
        assert_eq!(
            broker.publish(KindName::add_up_to(), &[demand(0)]).await.unwrap(),
            [Published::Unconfirmed]
        );
        let again = broker.publish(KindName::add_up_to(), &[demand(0)]).await;
        assert!(matches!(again, Err(BrokerError::Unavailable(_))), "{again:?}");
        assert!(matches!(
            broker.ready_messages(&Queue::sums()).await,
            Err(BrokerError::Unavailable(_))
        ));
        assert!(matches!(
            broker.subscribe(&Queue::sums(), Prefetch::messages(1)).await,
            Err(BrokerError::Unavailable(_))
        ));
        // Here the missing heartbeat reveals it.
        assert_over(&mut *subscription).await;
        proxy.set(Flow::Open);
        publish(&broker, 1..2).await;
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_queue_with_other_arguments_is_refused_in_plain_words() {
        let queues = QueuesOfOneTest::new().await;
        queues.declare_classic().await;
        let connected = RabbitMq::connect(&server_url(), queues.names.clone(), RabbitMqConfig::default()).await;
        let error = connected.err().unwrap();
        assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
        assert!(
            error.to_string().contains("a queue exists with other arguments"),
            "{error}"
        );
        assert!(error.to_string().contains(&queues.names.get(&Queue::sums())), "{error}");
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_named_queue_is_used_as_it_is() {
        let queues = QueuesOfOneTest::new().await;
        let classic = format!("{}.classic", queues.names.get(&Queue::sums()));
        queues.declare(&classic, "classic").await;
        let names = queues.names.clone().with_demand(KindName::default(), classic.clone());
        let broker = RabbitMq::connect(&server_url(), names, RabbitMqConfig::default())
            .await
            .unwrap();
        publish(&broker, 0..3).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        let received = receive(&mut *subscription, 3).await;
        assert_numbers(&received, 0..3);
        drop(subscription);
        // A classic queue counts no deliveries, and says that there was one.
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        let again = receive(&mut *subscription, 3).await;
        assert!(again.iter().all(|delivery| delivery.delivery_count == 1), "{again:?}");
        subscription.acknowledge(&[1, 2, 3]).await.unwrap();
        queues.delete_queue(&classic).await;
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_queue_of_one_kind_is_no_trouble_of_another() {
        let queues = QueuesOfOneTest::new().await;
        let mail: KindName = "user.welcome.email".parse().unwrap();
        let name = queues.names.get(&Queue::Demand(mail.clone()));
        queues.declare(&name, "classic").await;
        let broker = queues.broker().await;
        let messages = [demand(0)];
        for _ in 0..2 {
            let refused = broker.publish(&mail, &messages).await;
            assert!(
                matches!(&refused, Err(BrokerError::Rejected(why)) if why.contains(&name)),
                "{refused:?}"
            );
            publish(&broker, 0..1).await;
        }
        let refused = broker
            .subscribe(&Queue::Demand(mail.clone()), Prefetch::messages(1))
            .await;
        assert!(matches!(refused.err(), Some(BrokerError::Rejected(_))));
        until_ready(&broker, &Queue::sums(), 2).await;

        queues.delete_queue(&name).await;
        assert_eq!(broker.publish(&mail, &messages).await.unwrap(), [Published::Confirmed]);
        queues.delete_queue(&name).await;
        assert_eq!(broker.publish(&mail, &messages).await.unwrap(), [Published::Returned]);
        publish(&broker, 0..1).await;
        assert_eq!(broker.publish(&mail, &messages).await.unwrap(), [Published::Confirmed]);
        until_ready(&broker, &Queue::Demand(mail), 1).await;
        queues.delete_queue(&name).await;
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn queues_declared_before_rabbitmq_4_are_used_unchanged() {
        let queues = QueuesOfOneTest::new().await;
        queues.declare_as_before_4().await;
        let broker = queues.broker().await;
        publish(&broker, 0..3).await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        assert_numbers(&receive(&mut *subscription, 3).await, 0..3);
        // A deleted queue is declared with today's arguments, while the other one stays unchanged.
        queues.delete_queue(&queues.names.get(&Queue::sums())).await;
        assert_over(&mut *subscription).await;
        assert_eq!(broker.ready_messages(&Queue::sums()).await.unwrap(), 0);
        let broker = queues.broker().await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        publish(&broker, 3..4).await;
        assert_numbers(&receive(&mut *subscription, 1).await, 3..4);
        queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_login_or_virtual_host_is_a_permanent_error() {
        let mut url = url::Url::parse(&server_url()).unwrap();
        url.set_path("/no-such-host");
        let no_host = connect_error(url.as_str()).await;
        url.set_username("nobody").unwrap();
        url.set_password(Some("secret")).unwrap();
        let no_login = connect_error(url.as_str()).await;
        for error in [no_host, no_login] {
            assert!(matches!(error, BrokerError::Rejected(_)), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
