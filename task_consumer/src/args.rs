//! The settings of the worker, which the standalone program uses too.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pp_cli::config::{DurationText, RuntimeArgs, duration, size, whole};
use pp_lib::kinds::{Kinds, Pace, Policy, Sum};
use pp_lib::maintenance::{DispatchSettings, MAX_LOST_LEASES};
use pp_lib::push::AllowedAddresses;
use pp_lib::worker::ConsumeSettings;

/// The bounds of `PP_PREFETCH_BYTES`, in bytes.
const SMALLEST_PREFETCH: u64 = 64 << 10;
const LARGEST_PREFETCH: u64 = 64 << 30;

/// The settings of the worker.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Worker")]
pub struct ConsumerArgs {
    /// The maximum number of unacknowledged messages of this worker.
    #[arg(long, env = "PP_PREFETCH", default_value = "2000", value_parser = whole(1..=u16::MAX))]
    pub prefetch: u16,

    /// The maximum size of this worker's unacknowledged messages, and again of dead letters if it dispatches; a larger
    /// message is taken alone [unit: bytes, as in 64MiB].
    #[arg(long, env = "PP_PREFETCH_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size(SMALLEST_PREFETCH..=LARGEST_PREFETCH))]
    pub prefetch_bytes: usize,

    /// The number of sums computed at once; half of them are recorded together.
    #[arg(long, env = "PP_BATCH", default_value = "1000", value_parser = whole(1..=10_000_u16))]
    pub batch: u16,

    /// The longest time a batch that is not full waits for another one under way [unit: duration, as in 5ms].
    #[arg(long, env = "PP_BATCH_WAIT", default_value = "5ms", value_parser = duration)]
    pub batch_wait: Duration,

    /// The number of failures after which a sum is given up.
    #[arg(long, env = "PP_MAX_ATTEMPTS", default_value = "5", value_parser = whole(1..=1000_u16))]
    pub max_attempts: u16,

    /// The time without a heartbeat after which another worker takes a running sum [unit: duration, as in 4s].
    #[arg(long, env = "PP_LEASE", default_value = "4s", value_parser = lease)]
    pub lease: Duration,

    /// The time limit of computing one sum [unit: duration, as in 15m].
    #[arg(long, env = "PP_WORK_TIMEOUT", default_value = "15m", value_parser = duration)]
    pub work_timeout: Duration,

    /// The time of each addition, to imitate heavy work [unit: duration, as in 10ms].
    #[arg(long, env = "PP_PACE", default_value = "0", value_parser = duration)]
    pub pace: Duration,

    /// The private addresses, networks and hosts that pushes and notices may go to, separated by commas, as in
    /// 127.0.0.1,10.0.0.0/8,hooks.internal. Public addresses always may.
    #[arg(long, env = "PP_PUSH_ALLOW", value_name = "ADDRESSES", default_value = "")]
    pub push_allow: AllowedAddresses,

    /// Sends due works from the database to the queue: beside the work, not at all, or exclusively.
    #[arg(long, env = "PP_DISPATCH", default_value = "on")]
    pub dispatch: Dispatch,

    /// The age up to which frequent searches find due works; older ones are found every minute [unit: duration, as in
    /// 6h].
    #[arg(long, env = "PP_DISPATCH_WITHIN", default_value = "6h", value_parser = duration)]
    pub dispatch_within: Duration,

    /// The interval of searches for due works [unit: duration, as in 1s].
    #[arg(long, env = "PP_DISPATCH_POLL", default_value = "1s", value_parser = poll)]
    pub dispatch_poll: Duration,

    /// The time finished and deleted works are kept where this process dispatches and their kind says nothing else, at
    /// least a day, or `off` for ever [unit: duration, as in 90d].
    #[arg(long, env = "PP_RETAIN", default_value = "30d")]
    pub retain: Retain,
}

/// The part of a process in dispatching due works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dispatch {
    /// It works and dispatches.
    On,
    /// It works; others dispatch.
    Off,
    /// It dispatches; others work.
    Only,
}

/// The retention of finished works; [`Duration::MAX`] keeps them for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain(Duration);

impl FromStr for Retain {
    type Err = String;

    /// The minimum is a day, because late copies of messages are recognized by the rows of their works.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(Duration::MAX));
        }
        at_least(Duration::from_secs(24 * 3600), "a retention", text).map(Self)
    }
}

impl ConsumerArgs {
    /// The built-in kind, with the policy that these settings give it.
    pub fn kinds(&self) -> Kinds {
        let policy = Policy {
            max_attempts: self.max_attempts,
            timeout: self.work_timeout,
            lease: self.lease,
            places: self.batch,
            ..Policy::DEFAULT
        };
        Kinds::new().with_policy::<Sum>(policy, Pace(self.pace))
    }

    /// The settings for one of as many `kinds` with this policy. The kinds share the bytes of messages.
    pub(crate) fn consume(&self, policy: Policy, kinds: usize, runtime: &RuntimeArgs) -> ConsumeSettings {
        ConsumeSettings {
            prefetch: self.prefetch,
            prefetch_bytes: self.prefetch_bytes / kinds.max(1),
            batch_wait: self.batch_wait,
            args_limit: runtime.args_limit,
            policy,
            grace: runtime.grace,
        }
    }

    /// The settings for dispatching, unless other processes do it.
    pub fn dispatch(&self) -> Option<DispatchSettings> {
        (self.dispatch != Dispatch::Off).then_some(DispatchSettings {
            within: self.dispatch_within,
            poll: self.dispatch_poll,
            max_lost_leases: MAX_LOST_LEASES,
            retain: self.retain.0,
        })
    }
}

/// Parses a lease. The minimum leaves room for three heartbeats.
fn lease(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(300), "a lease", text)
}

/// Parses the interval. The minimum prevents a busy loop.
fn poll(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(10), "a poll", text)
}

fn at_least(shortest: Duration, what: &str, text: &str) -> Result<Duration, String> {
    duration(text).and_then(|value| {
        if value >= shortest {
            Ok(value)
        } else {
            Err(format!("{what} must be at least {}", DurationText(shortest)))
        }
    })
}
