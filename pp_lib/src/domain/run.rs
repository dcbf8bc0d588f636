//! The place of one computation in the life of a work.

use super::{KindName, MessageId};

/// One computation of a work. A row that has moved on to another run takes nothing more from this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    /// Grows with every update, retry and redrive of the work, from 1.
    pub generation: i32,
    /// Grows whenever an attempt of a generation ends without finishing the work, from 1.
    pub attempt: i32,
}

impl Run {
    /// The first attempt of the first generation.
    pub const FIRST: Self = Self {
        generation: 1,
        attempt: 1,
    };

    /// The key that all attempts of its generation share.
    pub(crate) fn idempotency_key(self, kind: &KindName, message_id: &MessageId) -> String {
        format!("{kind}/{message_id}/{}", self.generation)
    }
}
