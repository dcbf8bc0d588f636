//! Dead letters: failed works and unreadable messages, and how operators redrive or drop them. The letter of a work is
//! written by the change that fails it, see `Completions`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::dispatch::DueAt;
use super::error::Result;
use crate::domain::{DeadLetter, DeadLetterId, KindName, LetterGroup, MessageId, PART_BYTES, Principal};

/// A message that never became a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMessage {
    /// The kind of work that it asked for.
    pub kind: KindName,
    /// Its identity within the kind. One letter is kept for each.
    pub message_id: MessageId,
    /// Its properties as the broker encoded them, to be handed back to it; `None` if they are not known.
    pub properties: Option<Bytes>,
    /// The body as it came.
    pub body: Bytes,
    /// The reason it is dead.
    pub reason: String,
}

/// A choice of letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The letters with these numbers, as far as they exist.
    Ids(Vec<DeadLetterId>),
    /// The letters that match, of those that exist when the call begins.
    Matching(LetterFilter),
}

impl Selection {
    /// All letters that exist when the call begins.
    pub const ALL: Self = Self::Matching(LetterFilter::ALL);
}

/// The letters that a caller wants. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Letters of this kind.
    pub kind: Option<KindName>,
    /// Letters whose reason begins with this text.
    pub error: Option<String>,
}

impl LetterFilter {
    /// All letters.
    pub const ALL: Self = Self {
        kind: None,
        error: None,
    };
}

/// A message to be sent again, held for one dispatcher until `due_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Its letter.
    pub id: DeadLetterId,
    /// The kind of work that it asks for.
    pub kind: KindName,
    /// Its identity.
    pub message_id: MessageId,
    /// Its properties as the broker encoded them; `None` where they were not kept.
    pub properties: Option<Bytes>,
    /// The message as it came.
    pub body: Bytes,
    /// End of the claim.
    pub due_at: DueAt,
}

/// Bytes of messages that one call claims; the last message may exceed it.
pub const REDRIVEN_BYTES: i64 = PART_BYTES as i64;

/// The dead letters.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps dead messages. A message that is kept already, or comes back after it was sent again, is kept once, with
    /// the newest reason and time.
    async fn add_dead_letters(&self, messages: &[DeadMessage]) -> Result<()>;

    /// The letters below `before` that match, newest first, at most `limit`.
    async fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>>;

    /// The newest [`LetterGroup::MOST_LETTERS`] letters, of this kind or of all, by kind and beginning of their reason. The
    /// largest groups, at most `limit`, come first. Letters that wait to be sent again are left out.
    async fn letter_groups(&self, kind: Option<&KindName>, limit: u16) -> Result<Vec<LetterGroup>>;

    /// Redrives letters. Works become pending, as their next generation and due at once, and lose their letters;
    /// messages become due for [`Self::claim_redriven`]. Returns their number. Letters whose work has moved on are
    /// removed and not counted. A row of the audit has the selection and the number, unless it is 0. An adapter may
    /// commit a large selection in parts; each has its row.
    async fn redrive(&self, by: &Principal, which: &Selection) -> Result<u64>;

    /// The number that [`Self::redrive`] would return now. Changes nothing.
    async fn count_redrivable(&self, which: &Selection) -> Result<u64>;

    /// The number that [`Self::drop_letters`] would return now. Changes nothing.
    async fn count_letters(&self, which: &Selection) -> Result<u64>;

    /// Drops letters; returns their number. The works stay failed.
    async fn drop_letters(&self, by: &Principal, which: &Selection) -> Result<u64>;

    /// Claims messages that are due, at most `limit` and about [`REDRIVEN_BYTES`]. Each is due again after `hold`.
    async fn claim_redriven(&self, hold: Duration, limit: u16) -> Result<Vec<Redriven>>;

    /// Removes the letters of messages that were sent, except those that came back meanwhile.
    async fn end_redriven(&self, sent: &[Redriven]) -> Result<()>;
}
