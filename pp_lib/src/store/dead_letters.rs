//! What was given up, and how it runs again. The letters of works are written with the change that fails them, see
//! `Completion`; here is what an operator does with them, and where messages come that nobody can read.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::dispatch::DueAt;
use super::error::Result;
use crate::domain::{DeadLetter, DeadLetterId, MessageId};

/// A message that never became a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMessage {
    /// Its identity; one letter is kept for each.
    pub message_id: MessageId,
    /// Its properties as the broker encoded them, to be handed back to it; `None` where they are not known.
    pub properties: Option<Bytes>,
    /// The message as it came.
    pub body: Bytes,
    /// Why it is dead.
    pub reason: String,
}

/// Which letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those of these numbers that there are.
    Ids(Vec<DeadLetterId>),
    /// All that there are when the call begins.
    All,
}

/// A message that is to be sent again, held for one dispatcher until `due_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Its letter.
    pub id: DeadLetterId,
    /// Its identity.
    pub message_id: MessageId,
    /// Its properties as the broker encoded them; `None` where they were not kept.
    pub properties: Option<Bytes>,
    /// The message as it came.
    pub body: Bytes,
    /// When the claim runs out.
    pub due_at: DueAt,
}

/// How many bytes of messages are claimed together to be sent again, and a single message more.
pub const REDRIVEN_BYTES: i64 = 8 << 20;

/// The dead letters.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps messages that are dead. One that is kept already, or comes back from being sent again, is kept once, with
    /// the newest reason and time.
    async fn bury(&self, messages: &[DeadMessage]) -> Result<()>;

    /// The letters below `before`, newest first, at most `limit`.
    async fn dead_letters(&self, before: Option<DeadLetterId>, limit: u16) -> Result<Vec<DeadLetter>>;

    /// Runs them again: works become pending, as their next generation and due at once, and their letters are gone;
    /// messages become due for [`Self::claim_redriven`]. How many. Letters whose work has moved on are gone, and not
    /// counted.
    async fn redrive(&self, which: &Selection) -> Result<u64>;

    /// Forgets them; how many. Their works stay failed.
    async fn drop_letters(&self, which: &Selection) -> Result<u64>;

    /// Takes messages that are due to be sent again, at most `limit` and no more behind [`REDRIVEN_BYTES`], and makes
    /// each due again after `hold`.
    async fn claim_redriven(&self, hold: Duration, limit: u16) -> Result<Vec<Redriven>>;

    /// Removes the letters of messages that were sent, except where one has come back meanwhile.
    async fn end_redriven(&self, sent: &[Redriven]) -> Result<()>;
}
