//! What becomes of a work after an attempt: its result, or its failure under the policy of its kind.

use std::time::Duration;

use super::{Ending, Failure, Policy};
use crate::domain::Json;
use crate::store::Outcome;

/// The maximum length of a stored reason, in bytes.
const LONGEST_REASON: usize = 500;

impl Policy {
    /// The longest wait that an attempt can ask for.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

    /// The outcome of an attempt after this many failures. A result may have `limit` bytes.
    pub(crate) fn outcome(&self, limit: usize, failures: i32, result: Result<Json, Failure>) -> Outcome {
        let failure = match result {
            Ok(result) if result.bytes() > limit => Failure::permanent(format_args!(
                "the result has {} bytes, more than the {limit} of PP_ARGS_LIMIT",
                result.bytes(),
            )),
            Ok(result) => return Outcome::Done { result },
            Err(failure) => failure,
        };
        let reason = storable(failure.reason().to_owned());
        match failure.ending {
            Ending::Permanent => Outcome::Failed { reason },
            Ending::Cancel => Outcome::Cancelled { reason },
            Ending::Snooze(delay) => Outcome::Snoozed {
                delay: delay.min(Self::LONGEST_WAIT),
            },
            // Without a token there is nobody who could end it.
            Ending::LeftRunning => Outcome::Failed { reason },
            Ending::Retry(_) if failures.saturating_add(1) >= i32::from(self.max_attempts) => {
                Outcome::Failed { reason }
            }
            Ending::Retry(delay) => Outcome::Retry {
                reason,
                delay: delay.map_or_else(
                    || self.backoff.delay_after(failures),
                    |delay| delay.min(Self::LONGEST_WAIT),
                ),
            },
        }
    }
}

/// Makes a reason storable: replaces NUL, which PostgreSQL refuses, and truncates it.
fn storable(reason: String) -> String {
    let mut reason = reason.replace('\0', "\u{fffd}");
    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_above_the_limit_fails_for_good() {
        let outcome = |text: &str| Policy::DEFAULT.outcome(5, 0, Ok(Json::accepted(text)));
        assert!(matches!(outcome("12345"), Outcome::Done { .. }));
        let reason = "the result has 6 bytes, more than the 5 of PP_ARGS_LIMIT".to_owned();
        assert_eq!(outcome("123456"), Outcome::Failed { reason });
    }

    #[test]
    fn reasons_are_truncated_and_free_of_nul() {
        let reason = storable(format!("a\0{}", "é".repeat(1000)));
        assert!(reason.len() <= LONGEST_REASON && reason.starts_with("a\u{fffd}é"));
    }
}
