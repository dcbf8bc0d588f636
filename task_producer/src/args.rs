//! The settings of the schedule, for every program that produces, and the service's own modes.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser};
use pp_cli::config::{BrokerArgs, ConfigError, DatabaseArgs, RuntimeArgs, whole};
use pp_http::ProbeBind;
use pp_lib::domain::{AddUpTo, KindName};

use crate::schedules::{queues_of, wrong_entry};
use crate::{Mode, ProducerConfig};

/// The maximum of demands per tick, and of ticks to catch up on.
pub(crate) const LARGEST_COUNT: u32 = 100_000;

/// The schedules and the demands of each tick.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Schedule")]
pub struct ScheduleArgs {
    /// The schedule, a cron pattern; a sixth field in front gives the seconds, and `1/4` is every 4 from 1 on.
    #[arg(long, env = "PP_SCHEDULE", default_value = "1/4 * * * * *")]
    pub schedule: String,

    /// A file with several schedules instead: a JSON array of at most 100 objects with `schedule`, `time_zone`, `kind`,
    /// `args`, `count`, `catch_up` and `queue`; only `schedule` must be there.
    #[arg(
        long,
        env = "PP_SCHEDULE_FILE",
        value_name = "FILE",
        conflicts_with_all = ["schedule", "time_zone", "kind", "args", "count", "catch_up", "add_up_to"]
    )]
    pub schedule_file: Option<PathBuf>,

    /// The time zone of the schedule, an IANA name such as Europe/Berlin.
    #[arg(long, env = "PP_TIME_ZONE", default_value = "UTC")]
    pub time_zone: String,

    /// The kind of every demand. It is sent to the queue of this kind.
    #[arg(long, env = "PP_KIND", default_value = KindName::ADD_UP_TO)]
    pub kind: KindName,

    /// The arguments of every demand: JSON, or `@` and the name of a file with JSON [default: those of a sum].
    #[arg(long, env = "PP_ARGS", value_name = "JSON")]
    pub args: Option<String>,

    /// The number of demands per tick [unit: demands, 1 to 100000].
    #[arg(long, env = "PP_COUNT", default_value = "1", value_parser = whole(1..=LARGEST_COUNT))]
    pub count: u32,

    /// The number of latest ticks before the start to make up for [unit: slots, 0 to 100000].
    #[arg(long, env = "PP_CATCH_UP", default_value = "0", value_parser = whole(0..=LARGEST_COUNT))]
    pub catch_up: u32,

    /// The bound of every sum, 1 to 2147483647 [default: random, 1 to 99 each].
    #[arg(long, env = "PP_ADD_UP_TO")]
    pub add_up_to: Option<AddUpTo>,
}

/// Publishes work demands on a cron schedule.
#[derive(Debug, Parser)]
#[command(name = "task_producer", version, max_term_width = 100)]
pub struct Args {
    /// The schedule and the demands.
    #[command(flatten)]
    pub schedule: ScheduleArgs,

    /// Produce one tick now, then exit.
    #[arg(long, help_heading = "Schedule", conflicts_with_all = ["rate", "schedule_file"])]
    pub once: bool,

    /// Produce at this rate instead of a schedule, for load [unit: demands/s, 1 to 1000000].
    #[arg(long, help_heading = "Schedule", value_name = "N", conflicts_with = "schedule_file", value_parser = whole(1..=1_000_000_u32))]
    pub rate: Option<u32>,

    /// The queue of PP_KIND, where its policy names one: the producer reads no policies [default: `<prefix>.<kind>.demand`].
    #[arg(
        long,
        env = "PP_KIND_QUEUE",
        help_heading = "Schedule",
        value_name = "NAME",
        conflicts_with = "schedule_file"
    )]
    kind_queue: Option<String>,

    /// The database, of a system without a broker.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The broker for the demands.
    #[command(flatten)]
    pub broker: BrokerArgs,

    /// The address of the health pages and metrics, or `off`; --once never serves them.
    #[arg(
        long,
        env = "PP_PROBE_BIND",
        default_value = "127.0.0.1:3002",
        help_heading = "Process"
    )]
    probe_bind: ProbeBind,

    /// Start, stop and log.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

impl Args {
    /// The producers for these arguments.
    ///
    /// # Errors
    /// A schedule, a time zone or the arguments of a demand are invalid. All are checked even with `--once` and `--rate`.
    pub fn configs(&self) -> Result<Vec<ProducerConfig>, ConfigError> {
        let mut configs = self.schedule.configs(&self.runtime, &self.broker.queue_prefix)?;
        if let (Some(queue), Some(config)) = (&self.kind_queue, configs.first_mut()) {
            config.queue = Some(queue.clone());
            queues_of(&configs).map_err(|(_, why)| ConfigError::new("PP_KIND_QUEUE", why))?;
        }
        let mode = match (self.once, self.rate) {
            (true, _) => Some(Mode::Once),
            (false, Some(rate)) => Some(Mode::Rate(rate)),
            (false, None) => None,
        };
        if let Some(mode) = mode {
            configs.iter_mut().for_each(|config| config.mode = mode.clone());
        }
        Ok(configs)
    }

    /// The broker's settings, with the names of the queues that these producers use.
    ///
    /// # Errors
    /// As for [`Self::configs`].
    pub fn broker(&self, configs: &[ProducerConfig]) -> Result<BrokerArgs, ConfigError> {
        let kind_queues = queues_of(configs).map_err(|(place, why)| wrong_entry(place, &why))?;
        let mut broker = self.broker.clone();
        broker.kind_queues = kind_queues;
        Ok(broker)
    }

    /// The address of the health pages. `--once` has none, because it may run beside a producer.
    pub fn probe(&self) -> ProbeBind {
        if self.once {
            ProbeBind::Off
        } else {
            self.probe_bind.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["task_producer"], args].concat())
    }

    #[test]
    fn clap_accepts_the_definition_of_the_flags() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_modes_exclude_each_other() {
        let mode = |args: &[&str]| parse(args).unwrap().configs().unwrap().remove(0).mode;
        assert!(matches!(mode(&[]), Mode::Scheduled(_)));
        assert!(matches!(mode(&["--once"]), Mode::Once));
        assert!(matches!(mode(&["--rate", "5"]), Mode::Rate(5)));
        assert!(parse(&["--once", "--rate", "5"]).is_err());
    }

    #[test]
    fn a_number_out_of_bounds_is_refused() {
        for bad in [
            ["--count", "0"],
            ["--count", "100001"],
            ["--catch-up", "-1"],
            ["--catch-up", "100001"],
            ["--rate", "0"],
            ["--rate", "1000001"],
            ["--add-up-to", "0"],
            ["--add-up-to", "2147483648"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
