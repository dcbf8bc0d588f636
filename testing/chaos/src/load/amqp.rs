//! A producer of demands with message ids: what is not confirmed is published again under the same ids, and now and
//! then also what is. Ids are used once in each kind. A few messages cannot be read by anybody.

use std::time::Duration;

use bytes::Bytes;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{self, Broker as _, Outgoing, Published, Queue as QueueKind};
use pp_lib::domain::{KindName, MessageId};
use pp_lib::runtime::new_message_id;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Queue, RETRY_PAUSE, Shared, any_ask, at_a_rate, moody, outside, slow};
use crate::asks::{Ask, other_kinds};
use crate::told::{Acknowledged, Identity, now};

const INTERVAL: Duration = Duration::from_millis(200);
/// What no consumer of sums can read.
const UNREADABLE: [&str; 4] = ["{", r#"{"add_up_to":2,"done":true}"#, r#"{"add_up_to":"2"}"#, "[2]"];

/// A message and what it asks for; nothing when it cannot be read.
struct Message {
    ask: Option<Ask>,
    outgoing: Outgoing,
}

/// Publishes until the load stops.
pub(super) fn run(shared: &Shared, queue: &Queue, mut rng: StdRng) {
    let mut broker: Option<RabbitMq> = None;
    at_a_rate(shared, INTERVAL, || {
        let messages: Vec<Message> = (0..rng.random_range(1..=100))
            .flat_map(|_| messages(&mut rng))
            .collect();
        if !queue.runtime.block_on(confirmed(shared, queue, &mut broker, &messages)) {
            return;
        }
        let mut told = shared.told();
        let at = now();
        for Message { ask, outgoing } in &messages {
            let id = outgoing.message_id.as_str().to_owned();
            match ask {
                None => told.unreadable.push(id),
                ask => told.acknowledged.push(Acknowledged {
                    identity: Identity::Message(id),
                    ask: *ask,
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
        if broker.is_none() {
            *broker = connected(queue).await.ok();
        }
        let mut left = Vec::new();
        for kind in other_kinds().chain([KindName::default()]) {
            let (of_kind, others) = waiting.into_iter().partition(|message| message.kind() == kind.as_str());
            waiting = others;
            left.extend(unconfirmed(broker.as_ref(), &kind, of_kind).await);
        }
        waiting = left;
        if !waiting.is_empty() {
            if shared.is_too_late() {
                let ids: Vec<&str> = waiting
                    .iter()
                    .map(|message| message.outgoing.message_id.as_str())
                    .collect();
                shared.told().given_up.push(format!("publishing {}", ids.join(" ")));
                return false;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
    true
}

/// With the queues of all kinds.
async fn connected(queue: &Queue) -> broker::Result<RabbitMq> {
    let names = QueueNames::new(&queue.prefix);
    let broker = RabbitMq::connect(&queue.url, names, RabbitMqConfig::default()).await?;
    for kind in other_kinds() {
        broker.declare(&QueueKind::Demand(kind)).await?;
    }
    Ok(broker)
}

/// Publishes once; those that were not confirmed.
async fn unconfirmed<'a>(
    broker: Option<&RabbitMq>,
    kind: &KindName,
    messages: Vec<&'a Message>,
) -> impl Iterator<Item = &'a Message> {
    let outgoing: Vec<Outgoing> = messages.iter().map(|message| message.outgoing.clone()).collect();
    let published = match broker {
        Some(broker) => broker.publish(kind, &outgoing).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let is_confirmed = move |place: usize| published.get(place) == Some(&Published::Confirmed);
    let waiting = messages.into_iter().enumerate();
    waiting.filter_map(move |(place, message)| (!is_confirmed(place)).then_some(message))
}

impl Message {
    fn new(message_id: MessageId, ask: Option<Ask>, body: String) -> Self {
        Self {
            ask,
            outgoing: Outgoing {
                message_id,
                row: None,
                new_work_code: None,
                unique: None,
                body: Bytes::from(body),
            },
        }
    }

    /// Messages that cannot be read are sent as sums.
    fn kind(&self) -> &str {
        self.ask.map_or(KindName::ADD_UP_TO, Ask::kind)
    }
}

/// A message, and now and then one of each other kind with the same id.
fn messages(rng: &mut StdRng) -> Vec<Message> {
    let id = new_message_id();
    let of = |ask: Ask| {
        let body = match ask {
            Ask::Sum(bound) => format!(r#"{{"add_up_to":{bound},"done":false}}"#),
            other => other.args(),
        };
        Message::new(id.clone(), Some(ask), body)
    };
    match rng.random_range(0..100) {
        0 => {
            let body = UNREADABLE[rng.random_range(0..UNREADABLE.len())].to_owned();
            vec![Message::new(id, None, body)]
        }
        1..3 => vec![
            of(Ask::Sum(rng.random_range(1..4_000))),
            of(slow(rng)),
            of(moody(rng)),
            of(outside(rng)),
        ],
        _ => vec![of(any_ask(rng))],
    }
}
