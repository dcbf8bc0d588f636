//! Shared by all long-running parts: health, metrics, limits for repeated log lines, networks, retries and restarts.

mod health;
mod identity;
mod log_repeated;
mod log_text;
mod metrics;
mod network;
mod retry;
mod supervise;

pub use health::{Health, Part, PartReport, Readiness, Report, STUCK, State};
pub use identity::{new_consumer_name, new_message_id, new_signing_secret, new_work_code};
pub use log::Level;
pub use log_repeated::{say, write_counts, write_last_counts};
pub use log_text::{LONGEST_TEXT, log_text};
pub use metrics::{Counter, Gauge, Histogram, Metric, MetricKind, Metrics, OTHER, kind_label};
pub use network::Network;
pub(crate) use retry::backoff;
pub use retry::{Retry, Trouble};
pub(crate) use supervise::panic_text;
pub use supervise::{supervise, supervise_part};
