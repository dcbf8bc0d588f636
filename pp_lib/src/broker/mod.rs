//! The broker port: demands go out with a confirmation and come in with a window of unacknowledged ones.
//!
//! RabbitMQ and an in-process queue implement it, equal by the suite in `pp_conformance::broker`. What a message means is
//! decided by the flows; here it is bytes and properties.

pub mod memory;
pub mod queues;
pub mod rabbitmq;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::{DemandedRow, MessageId, WorkCode};
use crate::runtime::Trouble;

/// Why the broker did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// It cannot be reached, or the connection went away. A new try makes a new connection.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// It is there and takes no messages, for want of memory or disk; those who consume go on.
    #[error("the broker takes no messages for now, for want of memory or disk")]
    Blocked,
    /// It refuses what this program needs, such as a queue with other arguments; trying again will not help.
    #[error("the broker refused: {0}")]
    Rejected(String),
}

impl Trouble for BrokerError {
    fn told(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "the broker is unavailable",
            Self::Blocked => "the broker takes no messages for now, for want of memory or disk",
            Self::Rejected(_) => "the broker refused",
        }
    }
}

/// What the broker's methods return.
pub type Result<T> = std::result::Result<T, BrokerError>;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its identity; unique within one call of [`Broker::publish`].
    pub message_id: MessageId,
    /// The row it is about, if there is one.
    pub row: Option<DemandedRow>,
    /// The code that its work is to have, where there is no row and one was promised.
    pub new_work_code: Option<WorkCode>,
    /// The JSON of the demand.
    pub body: Bytes,
}

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The broker has it safe in the queue.
    Confirmed,
    /// There was no queue to put it in; it is with nobody.
    Returned,
    /// The broker refused it, or its answer did not come: it may be in the queue or not.
    Unconfirmed,
}

/// A message that was a dead letter, to be sent again as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resent {
    /// Its identity; unique within one call of [`Broker::resend`].
    pub message_id: MessageId,
    /// Its properties as the broker encoded them, see [`Kept::Whole`]; `None` where they were not kept.
    pub properties: Option<Bytes>,
    /// The message as it came.
    pub body: Bytes,
}

/// The encoded properties of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// There are none.
    #[default]
    Nothing,
    /// All properties and headers with their types, in the encoding of the broker that delivered the message.
    Whole(Bytes),
    /// They are longer than [`DeadLetter::MAX_PROPERTIES_LENGTH`]; how many bytes.
    TooLong(usize),
}

impl Kept {
    /// Keeps an encoding, unless it is too long.
    fn of(encoded: Vec<u8>) -> Self {
        match encoded.len() {
            0 => Self::Nothing,
            length if length > DeadLetter::MAX_PROPERTIES_LENGTH => Self::TooLong(length),
            _ => Self::Whole(encoded.into()),
        }
    }

    /// The encoding, when it was kept.
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(encoded) => Some(encoded),
            Self::Nothing | Self::TooLong(_) => None,
        }
    }
}

/// Something that cannot be computed, on its way to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message's identity; a new one where it had none.
    pub message_id: MessageId,
    /// What the message said about itself.
    pub properties: Properties,
    /// The message as it came.
    pub body: Bytes,
    /// Why it is dead.
    pub reason: String,
}

impl DeadLetter {
    /// The longest reason that travels, in bytes; what is longer is cut.
    pub const MAX_REASON_LENGTH: usize = 1024;
    /// The longest encoded properties that travel, in bytes: with the reason they fit into one AMQP frame of the usual
    /// 128 KiB. Longer properties are not kept.
    pub const MAX_PROPERTIES_LENGTH: usize = 64 << 10;

    /// The reason, cut to what travels.
    fn carried_reason(&self) -> &str {
        &self.reason[..self.reason.floor_char_boundary(Self::MAX_REASON_LENGTH)]
    }
}

/// Which queue to consume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Where demands are.
    Demand,
    /// Where dead letters wait to be stored.
    DeadLetter,
}

/// How much a subscription may have and not have acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// How many messages; at least one.
    pub messages: u16,
    /// How many bytes they have together. A message that is larger comes alone.
    pub bytes: usize,
}

impl Prefetch {
    /// This many messages of any size.
    pub fn messages(messages: u16) -> Self {
        Self {
            messages,
            bytes: usize::MAX,
        }
    }
}

/// What a message says about itself besides its body, as it came and not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// AMQP's `message_id`.
    pub message_id: Option<String>,
    /// Header `work_code`.
    pub work_code: Option<String>,
    /// Header `new_work_code`.
    pub new_work_code: Option<String>,
    /// Header `generation`.
    pub generation: Option<i32>,
    /// Header `attempt`.
    pub attempt: Option<i32>,
    /// Header `failures`.
    pub failures: Option<i32>,
    /// Header `lost_leases`; programs before it was counted apart do not send it.
    pub lost_leases: Option<i32>,
    /// Header `reason`, of a dead letter.
    #[serde(skip)]
    pub reason: Option<String>,
    /// Everything, for sending the message again; of a dead letter, what its message said. The in-process broker has
    /// this for dead letters only.
    #[serde(skip)]
    pub kept: Kept,
    /// Which of these was there in a form that no producer of PP gives it, such as a number where a text belongs; it
    /// is missing above, and must not be taken for one that never was there.
    #[serde(skip)]
    pub malformed: Option<&'static str>,
}

/// A message that came in and waits to be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number within the subscription, growing by one from 1.
    pub tag: u64,
    /// How often it was delivered before and not acknowledged, as far as the broker counts.
    pub delivery_count: u32,
    /// What it says about itself.
    pub properties: Properties,
    /// Its body.
    pub body: Bytes,
}

/// A place for demands.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Sends demands and waits for what becomes of each; one answer for each, in order. An error means that none was
    /// sent.
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>>;

    /// Sends messages again as they came, with what they said about themselves; the answers are those of
    /// [`Self::publish`].
    async fn resend(&self, messages: &[Resent]) -> Result<Vec<Published>>;

    /// Puts dead letters where they are safe; an error leaves some possibly sent.
    async fn dead_letter(&self, letters: &[DeadLetter]) -> Result<()>;

    /// Begins to receive, with no more than `prefetch` unacknowledged.
    async fn subscribe(&self, queue: Queue, prefetch: Prefetch) -> Result<Box<dyn Subscription>>;

    /// How many messages wait in a queue and are with nobody.
    async fn ready_messages(&self, queue: Queue) -> Result<u64>;

    /// Which settings of its operator drop messages that it confirmed, in words; nothing where it cannot tell.
    async fn dropping(&self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// Whether what is confirmed survives the end of this process.
    fn durable(&self) -> bool;
}

/// A broker, whichever it is.
pub type AnyBroker = Arc<dyn Broker>;

/// Messages coming in. Dropping it gives back to the queue what is not acknowledged.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for a message, then takes what else comes within `wait`, at most `max`. After an error the subscription
    /// is over: its messages come again on a new one. Cancel safe: what a cancelled call had taken comes first in the
    /// next one.
    async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>>;

    /// Says that deliveries are finished with. The broker hears of a delivery once all before it are finished, too. After
    /// an error the subscription is over, as with [`Self::next_batch`].
    async fn acknowledge(&mut self, tags: &[u64]) -> Result<()>;
}
