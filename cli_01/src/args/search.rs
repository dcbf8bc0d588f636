//! The arguments of `search`.

use clap::Args;
use pp_cli::config::whole;
use pp_lib::domain::{KindName, Status};
use pp_lib::store::Search;

use super::times::since;
use super::{DEFAULT_WORKS, prefix, status};
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(super) struct SearchArgs {
    /// Only works whose code begins with CODE.
    #[arg(long, value_name = "CODE")]
    work_code: Option<String>,

    /// Only works of this kind.
    #[arg(long, value_name = "KIND")]
    kind: Option<KindName>,

    /// Only works in this status: pending, running, done, failed or cancelled.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,

    /// Only works that are done (true) or not done (false).
    #[arg(long, value_name = "BOOL")]
    done: Option<bool>,

    /// Only works created at or after this time [Unix seconds, or ago as in -1h].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = since)]
    since: Option<i64>,

    /// The maximum number of works, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_WORKS, value_parser = whole(1..=1000_u16))]
    limit: u16,
}

impl SearchArgs {
    pub(super) fn search(self) -> Result<Search, Failure> {
        Ok(Search {
            work_code: self.work_code.as_deref().map(prefix).transpose()?,
            kind: self.kind,
            status: status_and_done(self.status, self.done)?,
            since: self.since,
            before: None,
            limit: self.limit,
        })
    }
}

/// Combines both conditions, and refuses those that no work can meet.
fn status_and_done(status: Option<Status>, done: Option<bool>) -> Result<Option<(Status, bool)>, Failure> {
    match (status, done) {
        (Some(status), Some(done)) if (status == Status::Done) != done => Err(Failure::Usage(format!(
            "--status {status} and --done {done} contradict each other; give one"
        ))),
        (Some(status), _) => Ok(Some((status, true))),
        (None, done) => Ok(done.map(|done| (Status::Done, done))),
    }
}
