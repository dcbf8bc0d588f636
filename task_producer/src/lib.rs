//! Publishes work demands on a cron schedule, once, or at a rate. Each demand is offered until it is confirmed.
//!
//! `main` or `pp_standalone` makes everything that belongs to the process, such as signals, logger and the connection
//! to the broker, and hands it to [`run`].

mod args;
mod clock;
mod demands;
mod load;
mod outlet;
mod schedules;
mod slots;
mod ticks;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures_util::future::join_all;
use pp_lib::domain::{Json, KindName};
use pp_lib::enqueue::DemandSink;
use tokio_util::sync::CancellationToken;

pub use args::{Args, ScheduleArgs};
use outlet::Outlet;
pub use slots::{Schedule, Slot};

/// The configuration of a producer.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// The times of producing.
    pub mode: Mode,
    /// The number of slots before the start to make up for, the latest ones. Only [`Mode::Scheduled`] uses it.
    pub catch_up: u32,
    /// Demands per tick.
    pub count: u32,
    /// The kind of every demand.
    pub kind: KindName,
    /// The name of the queue of the kind, if it is not the usual one.
    pub queue: Option<String>,
    /// The arguments of every demand. `None` makes sums, each with a random bound from 1 to 99.
    pub args: Option<Json>,
    /// Tells scheduled demands from others on the same schedule: part of their ids.
    pub identity: String,
    /// The prefix of the queues. It is part of the identity of a scheduled demand.
    pub queue_prefix: String,
    /// The time to wait after the shutdown for confirmations of offered demands.
    pub grace: Duration,
}

/// The times at which a producer produces.
#[derive(Clone, Debug)]
pub enum Mode {
    /// At each slot of a schedule, until the shutdown.
    Scheduled(Box<Schedule>),
    /// One tick now.
    Once,
    /// At this number of demands per second, until the shutdown.
    Rate(u32),
}

/// The reason why a producer failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// Its one tick was interrupted.
    #[error("stopped when {confirmed} of {count} demands were confirmed")]
    Interrupted {
        /// The number of confirmed demands.
        confirmed: u64,
        /// The number of demands of the tick.
        count: u64,
    },
}

/// Runs producers side by side until all are done or the shutdown comes.
///
/// # Errors
/// As for [`run`]; the first one counts.
pub async fn run_all(
    configs: Vec<ProducerConfig>,
    sink: Arc<dyn DemandSink>,
    shutdown: CancellationToken,
) -> Result<(), ProducerError> {
    let producers = configs
        .into_iter()
        .map(|config| run(config, sink.clone(), shutdown.clone()));
    join_all(producers).await.into_iter().collect()
}

/// Produces into the sink until it is done or the shutdown comes.
///
/// # Errors
/// The shutdown interrupts the one tick of [`Mode::Once`]. The other modes have no errors.
pub async fn run(
    config: ProducerConfig,
    sink: Arc<dyn DemandSink>,
    shutdown: CancellationToken,
) -> Result<(), ProducerError> {
    let outlet = Outlet::new(sink, shutdown, config.grace);
    match &config.mode {
        Mode::Scheduled(schedule) => ticks::run(&config, schedule, &outlet, Utc::now).await,
        Mode::Rate(rate) => load::run(&config, *rate, &outlet).await,
        Mode::Once => return once(&config, &outlet).await,
    }
    Ok(())
}

async fn once(config: &ProducerConfig, outlet: &Outlet) -> Result<(), ProducerError> {
    let count = u64::from(config.count);
    let demands = demands::fresh(config).take(config.count as usize);
    let confirmed = outlet.deliver(demands).await;
    log::info!("once: {confirmed} confirmed");
    if confirmed == count {
        Ok(())
    } else {
        Err(ProducerError::Interrupted { confirmed, count })
    }
}
