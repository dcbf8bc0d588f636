//! Queues that were made before RabbitMQ 4.0, which drops messages there by default: the policy that the manual has
//! against it, on whatever version the tests run on.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use pp_chaos::demands::Demands;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Prefetch, Queue};
use pp_testkit::servers::{Kind, PrivateServers};

use super::place::until;

const MANUAL: &str = include_str!("../../../../docs/operating.md");
const LIMIT: Duration = Duration::from_secs(60);
/// More than the 20 deliveries after which RabbitMQ drops a message by default.
const DELIVERIES: u32 = 25;

/// The words of the manual's command that sets a delivery limit and nothing else, without the name of the tool.
fn policy() -> Vec<&'static str> {
    let mut commands = MANUAL
        .lines()
        .filter_map(|line| line.strip_prefix("rabbitmqctl set_policy"))
        .filter(|words| words.contains(r#"'{"delivery-limit""#));
    let words = commands.next().unwrap().split_whitespace();
    assert_eq!(commands.next(), None);
    ["set_policy"]
        .into_iter()
        .chain(words.map(|word| word.trim_matches('\'')))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_in_the_manual_keeps_what_is_in_queues_of_old() {
    let servers = PrivateServers::temporary(&[Kind::RabbitMq]).unwrap();
    let url = servers.url(Kind::RabbitMq).unwrap();
    let names = QueueNames::new(QueueNames::DEFAULT_PREFIX);
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    for name in [&names.get(&Queue::sums()), &names.get(&Queue::DeadLetter)] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let declared = channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments);
        declared.await.unwrap();
    }
    servers.rabbitmqctl(&policy()).unwrap();

    let demands = Demands::connect(&url, QueueNames::DEFAULT_PREFIX).await.unwrap();
    demands.publish(1).await.unwrap();
    let broker = RabbitMq::connect(&url, names, RabbitMqConfig::default()).await.unwrap();
    for delivery in 0..DELIVERIES {
        until("the message is there again", LIMIT, async || {
            demands.waiting().await.unwrap() == 1
        })
        .await;
        let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(1)).await.unwrap();
        let received = subscription.next_batch(1, Duration::ZERO).await.unwrap();
        assert_eq!(received[0].delivery_count, delivery);
    }
}
