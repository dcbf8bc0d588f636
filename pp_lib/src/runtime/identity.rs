//! New identities, from randomness and the clock.

use rand::RngExt as _;
use uuid::Uuid;

use crate::domain::{MessageId, Origin, WorkCode};

/// An identity for a demand or a work, made before its first try. They grow with time, which indexes like.
pub fn new_message_id() -> MessageId {
    MessageId::try_from(Uuid::now_v7().to_string()).unwrap_or_else(|_| unreachable!("a UUID is printable and short"))
}

/// A code that no work has, but for a chance of one in 10^17.
pub fn new_work_code(origin: Origin) -> WorkCode {
    // Below 62, so that each of the characters is as likely as any other.
    let mut rng = rand::rng();
    WorkCode::new(origin, std::array::from_fn(|_| rng.random_range(0..62)))
}
