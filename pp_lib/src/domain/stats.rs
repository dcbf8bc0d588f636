//! The counters, as they are served.

use serde::{Deserialize, Serialize};

use super::{KindName, Origin, Status, Work};

/// Works by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ByStatus {
    /// Waiting to be computed.
    pub pending: i64,
    /// Being computed.
    pub running: i64,
    /// Computed.
    pub done: i64,
    /// Given up.
    pub failed: i64,
    /// Cancelled and still shown.
    pub cancelled: i64,
}

impl ByStatus {
    /// The counter of a status.
    pub fn of(&mut self, status: Status) -> &mut i64 {
        match status {
            Status::Pending => &mut self.pending,
            Status::Running => &mut self.running,
            Status::Done => &mut self.done,
            Status::Failed => &mut self.failed,
            Status::Cancelled => &mut self.cancelled,
        }
    }
}

/// Works by origin and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ByOrigin {
    /// Those that came over the REST API with a row of their own.
    pub api: ByStatus,
    /// Those whose row a worker wrote.
    pub consumer: ByStatus,
    /// Those that a transaction of an application put in.
    #[serde(default)]
    pub app: ByStatus,
}

impl ByOrigin {
    /// The counters of an origin.
    pub fn of(&mut self, origin: Origin) -> &mut ByStatus {
        match origin {
            Origin::Api => &mut self.api,
            Origin::Consumer => &mut self.consumer,
            Origin::App => &mut self.app,
        }
    }
}

/// The works of one kind by status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindCounts {
    /// The kind.
    pub kind: KindName,
    /// Its works.
    pub works: ByStatus,
}

/// Works done per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Rates {
    /// Works per second over the last whole second.
    pub over_1s: f64,
    /// Works per second over the last 60 whole seconds.
    pub over_60s: f64,
}

/// Latency of the works of the last 60 seconds, from being asked for until done, in milliseconds; null while there are
/// none. Buckets are a tenth wide, so each value is at most a tenth too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99: Option<f64>,
}

/// What was done in each of the last whole seconds, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Seconds {
    /// The first of them, as a Unix second.
    pub from: i64,
    /// The works done in each second: those of the kinds that did most, and of all others together.
    pub done: Vec<DoneOfKind>,
    /// Half of the works of each second took no longer, in milliseconds; null where the latency of none is known.
    pub p50_ms: Vec<Option<f64>>,
    /// 99 of 100 took no longer.
    pub p99_ms: Vec<Option<f64>>,
}

impl Seconds {
    /// The number of seconds.
    pub const COUNT: i64 = 115;

    /// The most kinds that are told apart.
    pub const MOST_KINDS: usize = 8;
}

/// The works of a kind that were done in each second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct DoneOfKind {
    /// The kind; null for all kinds that are not told apart.
    pub kind: Option<KindName>,
    /// The number of works in each second.
    pub per_second: Vec<i64>,
}

/// The counters, all of one moment. They count works that are there: what is deleted or purged is not among them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Stats {
    /// Works by origin and status.
    pub works: ByOrigin,
    /// Works done per second.
    pub works_per_second: Rates,
    /// From demand to done.
    pub latency_ms: Latency,
    /// Unfinished works, without the scheduled ones.
    pub backlog: i64,
    /// Pending works that wait for their `run_at`.
    #[serde(default)]
    pub scheduled: i64,
    /// The newest works, newest first, at most 10.
    pub newest: Vec<Work>,
}
