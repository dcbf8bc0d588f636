//! New identities from randomness and the clock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use uuid::Uuid;

use crate::domain::{MessageId, Origin, SigningSecret, WorkCode, WorkerName};

/// A new identity for a demand or a work, made before its first attempt. Identities grow with time, which suits
/// indexes.
pub fn new_message_id() -> MessageId {
    MessageId::try_from(Uuid::now_v7().to_string()).unwrap_or_else(|_| unreachable!("a UUID is printable and short"))
}

/// The name of a consumer in this process: of its host, its process and at random, since a process may have several.
pub fn new_consumer_name() -> WorkerName {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "host" } else { host.trim() };
    let random: u16 = rand::rng().random();
    WorkerName::of_consumer(host, &format!("{}-{random:04x}", std::process::id()))
}

/// A new secret of 32 random bytes.
pub fn new_signing_secret() -> SigningSecret {
    let key = STANDARD.encode(rand::rng().random::<[u8; 32]>());
    SigningSecret::try_from(format!("{}{key}", SigningSecret::PREFIX))
        .unwrap_or_else(|_| unreachable!("32 bytes are within the bounds"))
}

/// A new work code. The chance of a duplicate is one in 10^17.
pub fn new_work_code(origin: Origin) -> WorkCode {
    // Numbers of 62 and above are rejected, so that all characters are equally likely.
    let mut rng = rand::rng();
    WorkCode::new(origin, std::array::from_fn(|_| rng.random_range(0..62)))
}
