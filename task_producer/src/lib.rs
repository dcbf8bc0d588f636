//! Publishes work demands on a cron schedule, once, or at a rate; each until it is confirmed.
//!
//! Everything that belongs to the process - signals, logger, the connection to the broker - is made by `main` or by
//! `pp_standalone` and handed to [`run`].

mod args;
mod clock;
mod demands;
mod load;
mod outlet;
mod slots;
mod ticks;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use pp_lib::domain::AddUpTo;
use pp_lib::enqueue::DemandSink;
use tokio_util::sync::CancellationToken;

pub use args::{Args, ScheduleArgs};
use outlet::Outlet;
pub use slots::{Schedule, Slot};

/// What a producer does.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// When it does it.
    pub mode: Mode,
    /// How many slots from before the start are made up for, the latest ones; of use to [`Mode::Scheduled`] alone.
    pub catch_up: u32,
    /// Demands per tick.
    pub count: u32,
    /// The bound of every demand; random from 1 to 99 each when there is none.
    pub add_up_to: Option<AddUpTo>,
    /// The queues that the demands are for; a part of the identity of a scheduled demand.
    pub queue_prefix: String,
    /// How long, after the shutdown, the answer to demands already offered is waited for.
    pub grace: Duration,
}

/// When a producer produces.
#[derive(Clone, Debug)]
pub enum Mode {
    /// At each slot of a schedule, until the shutdown.
    Scheduled(Box<Schedule>),
    /// One tick now.
    Once,
    /// So many demands per second, until the shutdown.
    Rate(u32),
}

/// Why a producer did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// Its one tick was cut short; how much of it is known to be safe.
    #[error("stopped when {confirmed} of {count} demands were confirmed")]
    Interrupted {
        /// Demands that are safe.
        confirmed: u64,
        /// Demands there should be.
        count: u64,
    },
}

/// Produces into the sink until it is done or the shutdown comes.
///
/// # Errors
/// When the one tick of [`Mode::Once`] is cut short by the shutdown. The others end well however they end.
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
