//! The arguments of `watch`.

use std::time::Duration;

use clap::Args;
use pp_cli::config::duration;
use pp_lib::domain::{KindName, Status, WorkId};

use super::{prefix, status};
use crate::commands::{Followed, Watch};
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(super) struct WatchArgs {
    /// Only this work, until it is done (exit code 0), or failed, cancelled or deleted (1).
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with_all = ["work_code", "kind", "status"])]
    id: Option<i64>,

    /// Only works whose code begins with CODE.
    #[arg(long, value_name = "CODE")]
    work_code: Option<String>,

    /// Only works of this kind.
    #[arg(long, value_name = "KIND")]
    kind: Option<KindName>,

    /// Only changes that leave their work in this status: pending, running, done, failed or cancelled.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,

    /// The time of each addition, as set for the consumer, to show the progress of the one work [unit: duration, as in
    /// 10ms].
    #[arg(long, env = "PP_PACE", value_name = "DURATION", default_value = "0", value_parser = duration)]
    pace: Duration,
}

impl WatchArgs {
    pub(super) fn watch(self) -> Result<Watch, Failure> {
        let what = match self.id {
            Some(id) => Followed::One(WorkId(id)),
            None => Followed::All {
                work_code: self.work_code.as_deref().map(prefix).transpose()?,
                kind: self.kind,
                status: self.status,
            },
        };
        Ok(Watch { what, pace: self.pace })
    }
}
