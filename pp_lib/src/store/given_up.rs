//! The line about a work that is given up: the same whatever it is given up for, and one for each work.

use std::fmt::Display;

/// Logs that a work failed for good; call it once that is committed.
pub(crate) fn log_given_up(work_code: impl Display, reason: &str) {
    log::warn!("work {work_code} is given up: {reason}");
}
