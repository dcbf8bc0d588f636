//! A producer of demands with message ids: what is not confirmed is published again under the same ids, and now and
//! then also what is. A few of its messages cannot be read by anybody.

use pp_lib::domain::KindName;
use std::time::Duration;

use bytes::Bytes;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Outgoing, Published};
use pp_lib::runtime::new_message_id;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Queue, RETRY_PAUSE, SLOW, Shared, at_a_rate};
use crate::told::{Acknowledged, Identity, now};

const INTERVAL: Duration = Duration::from_millis(200);
/// What no consumer can read.
const UNREADABLE: [&str; 4] = ["{", r#"{"add_up_to":2,"done":true}"#, r#"{"add_up_to":"2"}"#, "[2]"];

/// A message and what it asks for; nothing when it cannot be read.
struct Message {
    id: String,
    bound: Option<i64>,
    outgoing: Outgoing,
}

/// Publishes until the load stops.
pub(super) fn run(shared: &Shared, queue: &Queue, mut rng: StdRng) {
    let mut broker: Option<RabbitMq> = None;
    at_a_rate(shared, INTERVAL, || {
        let messages: Vec<Message> = (0..rng.random_range(1..=100)).map(|_| message(&mut rng)).collect();
        if !queue.runtime.block_on(confirmed(shared, queue, &mut broker, &messages)) {
            return;
        }
        let mut told = shared.told();
        let at = now();
        for Message { id, bound, .. } in &messages {
            match bound {
                None => told.unreadable.push(id.clone()),
                bound => told.acknowledged.push(Acknowledged {
                    identity: Identity::Message(id.clone()),
                    bound: *bound,
                    at,
                }),
            }
        }
        drop(told);
        // A producer that died before it noted the confirmation would publish all of it again.
        if rng.random_range(0..8) == 0 {
            queue.runtime.block_on(confirmed(shared, queue, &mut broker, &messages));
        }
    });
}

/// Publishes until every message is confirmed; whether that came to be.
async fn confirmed(shared: &Shared, queue: &Queue, broker: &mut Option<RabbitMq>, messages: &[Message]) -> bool {
    let mut waiting: Vec<&Message> = messages.iter().collect();
    while !waiting.is_empty() {
        let outgoing: Vec<Outgoing> = waiting.iter().map(|message| message.outgoing.clone()).collect();
        if broker.is_none() {
            let names = QueueNames::new(&queue.prefix);
            *broker = RabbitMq::connect(&queue.url, names, RabbitMqConfig::default())
                .await
                .ok();
        }
        let published = match broker {
            Some(broker) => broker
                .publish(KindName::add_up_to(), &outgoing)
                .await
                .unwrap_or_default(),
            None => Vec::new(),
        };
        let mut outcomes = published.iter();
        waiting.retain(|_| outcomes.next() != Some(&Published::Confirmed));
        if !waiting.is_empty() {
            if shared.is_too_late() {
                let ids: Vec<&str> = waiting.iter().map(|message| message.id.as_str()).collect();
                shared.told().given_up.push(format!("publishing {}", ids.join(" ")));
                return false;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
    true
}

fn message(rng: &mut StdRng) -> Message {
    let bound = match rng.random_range(0..100) {
        0 => None,
        1..4 => Some(rng.random_range(SLOW)),
        _ => Some(rng.random_range(1..4_000)),
    };
    let body = match bound {
        Some(bound) => format!(r#"{{"add_up_to":{bound},"done":false}}"#),
        None => UNREADABLE[rng.random_range(0..UNREADABLE.len())].to_owned(),
    };
    let message_id = new_message_id();
    Message {
        id: message_id.as_str().to_owned(),
        bound,
        outgoing: Outgoing {
            message_id,
            row: None,
            new_work_code: None,
            unique: None,
            body: Bytes::from(body),
        },
    }
}
