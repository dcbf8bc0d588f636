//! The broker port: sends demands with confirmations and receives them with a limit of unacknowledged ones.
//!
//! RabbitMQ and an in-process queue implement it. The suite in `pp_conformance::broker` checks both. To the broker a
//! message is bytes and properties; `worker` and `maintenance` interpret it.

pub mod memory;
pub(crate) mod metrics;
pub mod queues;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
pub mod rows;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::queues::NamesOfKind;
use crate::domain::{DemandedRow, KindName, MessageId, Unique, WorkCode};
use crate::runtime::Trouble;

/// The error of a broker call.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// It cannot be reached, or the connection broke. A retry opens a new connection.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// It accepts no messages, because it lacks memory or disk. Consumers continue.
    #[error("the broker takes no messages for now, because it lacks memory or disk")]
    Blocked,
    /// It refuses something this program needs, such as a queue with other arguments. A retry does not help.
    #[error("the broker refused: {0}")]
    Rejected(String),
}

impl Trouble for BrokerError {
    fn summary(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "the broker is unavailable",
            Self::Blocked => "the broker takes no messages for now, because it lacks memory or disk",
            Self::Rejected(_) => "the broker refused",
        }
    }
}

/// The result of a broker call.
pub type Result<T> = std::result::Result<T, BrokerError>;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its identity; unique within one call of [`Broker::publish`].
    pub message_id: MessageId,
    /// The row of the demand, if it has one.
    pub row: Option<DemandedRow>,
    /// The promised code of the new work, if there is no row.
    pub new_work_code: Option<WorkCode>,
    /// The `unique` of the new work, if there is no row.
    pub unique: Option<Unique>,
    /// The JSON of the demand.
    pub body: Bytes,
}

/// The outcome of a sent message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The broker has stored it in the queue.
    Confirmed,
    /// The queue does not exist. The message is stored nowhere.
    Returned,
    /// The broker refused it, or its answer is missing. The message may be in the queue.
    Unconfirmed,
}

/// A former dead letter, to be sent again unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resent {
    /// Its identity; unique within one call of [`Broker::resend`].
    pub message_id: MessageId,
    /// The properties as the broker encoded them, see [`Kept::Whole`]; `None` if they were not kept.
    pub properties: Option<Bytes>,
    /// The original body.
    pub body: Bytes,
}

/// The encoded properties of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// The message has none.
    #[default]
    Nothing,
    /// All properties and typed headers, in the encoding of the broker that delivered the message.
    Whole(Bytes),
    /// They exceed [`DeadLetter::MAX_PROPERTIES_LENGTH`]. The number is their length in bytes.
    TooLong(usize),
}

impl Kept {
    /// Keeps an encoding unless it is too long.
    fn of(encoded: Vec<u8>) -> Self {
        match encoded.len() {
            0 => Self::Nothing,
            length if length > DeadLetter::MAX_PROPERTIES_LENGTH => Self::TooLong(length),
            _ => Self::Whole(encoded.into()),
        }
    }

    /// The encoding, if it was kept.
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(encoded) => Some(encoded),
            Self::Nothing | Self::TooLong(_) => None,
        }
    }
}

/// A message that cannot be computed, to be sent to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The kind of work that the message asked for.
    pub kind: KindName,
    /// The message's identity, or a new one if it had none.
    pub message_id: MessageId,
    /// The properties of the message.
    pub properties: Properties,
    /// The original body.
    pub body: Bytes,
    /// The reason why it is dead.
    pub reason: String,
}

impl DeadLetter {
    /// The maximum length of a sent reason in bytes. A longer one is cut.
    pub const MAX_REASON_LENGTH: usize = 1024;
    /// The maximum length of sent properties in bytes. Together with the reason they fit into one AMQP frame of the
    /// usual 128 KiB. Longer properties are not kept.
    pub const MAX_PROPERTIES_LENGTH: usize = 64 << 10;

    /// The reason, cut to its maximum length.
    fn carried_reason(&self) -> &str {
        &self.reason[..self.reason.floor_char_boundary(Self::MAX_REASON_LENGTH)]
    }
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// The queue of the demands of a kind.
    Demand(KindName),
    /// The queue of dead letters waiting to be stored.
    DeadLetter,
    /// A queue of the dead letters of some kinds, with the name that their policies give it.
    NamedDeadLetter(String),
}

impl Queue {
    /// The queue of the built-in kind.
    pub fn sums() -> Self {
        Self::Demand(KindName::default())
    }
}

/// The limit of a subscription's unacknowledged messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// The number of messages, at least one.
    pub messages: u16,
    /// Their total size in bytes. A larger message comes alone.
    pub bytes: usize,
}

impl Prefetch {
    /// A limit of this many messages of any size.
    pub fn messages(messages: u16) -> Self {
        Self {
            messages,
            bytes: usize::MAX,
        }
    }
}

/// The properties of a received message, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// AMQP's `message_id`.
    pub message_id: Option<String>,
    /// Header `kind`, of a dead letter.
    #[serde(skip)]
    pub kind: Option<String>,
    /// Header `work_code`.
    pub work_code: Option<String>,
    /// Header `new_work_code`.
    pub new_work_code: Option<String>,
    /// Header `unique`.
    pub unique: Option<String>,
    /// Header `run_at`, in Unix seconds.
    pub run_at: Option<i64>,
    /// Header `generation`.
    pub generation: Option<i32>,
    /// Header `attempt`.
    pub attempt: Option<i32>,
    /// Header `failures`.
    pub failures: Option<i32>,
    /// Header `lost_leases`. Older programs do not send it.
    pub lost_leases: Option<i32>,
    /// Header `reason`, of a dead letter.
    #[serde(skip)]
    pub reason: Option<String>,
    /// All properties, for sending the message again; for a dead letter, those of its message. The in-process broker
    /// sets this only for dead letters.
    #[serde(skip)]
    pub kept: Kept,
    /// The name of a property whose form no producer of PP uses, such as a number in place of a text. It is missing
    /// above but does not count as absent.
    #[serde(skip)]
    pub malformed: Option<&'static str>,
}

/// A received message that waits for its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number within the subscription, counted from 1.
    pub tag: u64,
    /// The number of earlier deliveries without acknowledgement, as far as the broker counts them.
    pub delivery_count: u32,
    /// The properties of the message.
    pub properties: Properties,
    /// Its body.
    pub body: Bytes,
}

/// What an operator finds at a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The version of the server, as in `4.0.5`; empty if it does not tell.
    pub version: String,
    /// The queues, in the order of the question.
    pub queues: Vec<FoundQueue>,
}

/// A queue as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundQueue {
    /// The name at the server.
    pub name: String,
    /// What is in it; `None` if there is no such queue.
    pub state: Option<QueueState>,
}

/// The state of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// The waiting messages, without unacknowledged ones.
    pub ready: u64,
    /// Those that take messages.
    pub consumers: u32,
}

/// A message broker.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Sends demands of a kind and waits for their outcomes, one for each, in order. After an error no demand was sent.
    async fn publish(&self, kind: &KindName, messages: &[Outgoing]) -> Result<Vec<Published>>;

    /// Sends messages again with their original properties. The outcomes are those of [`Self::publish`].
    async fn resend(&self, kind: &KindName, messages: &[Resent]) -> Result<Vec<Published>>;

    /// Stores dead letters, each in the queue that its kind has for them. After an error some may have been sent.
    async fn dead_letter(&self, letters: &[DeadLetter]) -> Result<()>;

    /// Subscribes with at most `prefetch` unacknowledged messages.
    async fn subscribe(&self, queue: &Queue, prefetch: Prefetch) -> Result<Box<dyn Subscription>>;

    /// The number of waiting messages in a queue, without unacknowledged ones.
    async fn ready_messages(&self, queue: &Queue) -> Result<u64>;

    /// Declares a queue ahead of its first use. Without effect where queues need no declaration.
    async fn declare(&self, _queue: &Queue) -> Result<()> {
        Ok(())
    }

    /// Looks at the server and at queues without changing anything; `None` if there is no server.
    async fn inspect(&self, _queues: &[Queue]) -> Result<Option<Inspection>> {
        Ok(None)
    }

    /// Gives queues the names that the policies of all kinds say. Answers a sentence for each name that is refused.
    fn name_queues(&self, kinds: &[NamesOfKind<'_>]) -> Vec<String>;

    /// The queues of dead letters, each with the kind of letters that do not tell theirs.
    fn dead_letter_queues(&self) -> Vec<(Queue, KindName)>;

    /// Descriptions of the operator's policies that drop confirmed messages; `None` if the broker cannot tell.
    async fn dropping(&self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// True if confirmed messages survive the end of this process.
    fn durable(&self) -> bool;

    /// True if it carries messages. If not, consumers claim works from the store.
    fn carries(&self) -> bool {
        true
    }
}

/// A shared broker of any kind.
pub type AnyBroker = Arc<dyn Broker>;

/// A stream of received messages. Dropping it returns unacknowledged messages to the queue.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for a message, then takes more for up to `wait`, at most `max`. An error ends the subscription, and a new
    /// one receives its messages again. The call is cancel safe: the next call returns the messages of a cancelled one
    /// first.
    async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>>;

    /// Acknowledges deliveries. The broker learns about a delivery once all earlier ones are acknowledged too. An error
    /// ends the subscription, as in [`Self::next_batch`].
    async fn acknowledge(&mut self, tags: &[u64]) -> Result<()>;
}
