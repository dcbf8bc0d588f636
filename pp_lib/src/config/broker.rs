//! Which queues the broker holds for this deployment.

use clap::Args;

use crate::broker::queues::QueueNames;

/// The broker within one process.
pub const MEMORY_URL: &str = "memory:";

/// The settings of the broker, but for its address.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker")]
pub struct BrokerArgs {
    /// The beginning of the queues' names: `<prefix>.demand` and `<prefix>.deadletter`.
    #[arg(long = "queue-prefix", env = "PP_QUEUE_PREFIX", default_value = QueueNames::DEFAULT_PREFIX, value_parser = prefix)]
    pub queue_prefix: String,
}

impl BrokerArgs {
    /// The queues' names.
    pub fn queue_names(&self) -> QueueNames {
        QueueNames::new(&self.queue_prefix)
    }
}

/// AMQP allows 255 bytes for a queue's name; the rest is for what follows the prefix.
fn prefix(text: &str) -> Result<String, String> {
    let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=200).contains(&text.len()) && text.bytes().all(well_formed) && !text.starts_with("amq.") {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 200 letters, digits, `.`, `_` or `-`, not beginning with `amq.`".to_owned())
    }
}
