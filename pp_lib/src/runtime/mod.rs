//! What every long-running part of PP stands on: the health it reports and the lines it repeats.

mod health;
mod log_repeated;
mod log_text;

pub use health::{Health, Part, PartReport, Readiness, Report, STUCK, State};
pub use log::Level;
pub use log_repeated::{say, write_counts, write_last_counts};
pub use log_text::{LONGEST_TEXT, log_text};
