//! The settings: the arguments of every service, and the data folder.

use std::path::PathBuf;

use clap::Parser;
use pp_backend_api::ApiArgs;
use pp_cli::config::{BrokerArgs, CacheArgs, DatabaseArgs, RuntimeArgs};
use pp_lib::kinds::Kinds;
use task_consumer::ConsumerArgs;
use task_producer::ScheduleArgs;

/// All of PP in one process: REST API, worker and dispatcher, on SQLite, with nothing installed.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Args {
    /// The folder of the database, created if missing; only one process can use it.
    #[arg(long, env = "PP_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// Also produce demands on the schedule.
    #[arg(long)]
    pub(crate) produce: bool,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    /// Start, stop and log.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

impl Args {
    /// The built-in kind, with the policy that these settings give it.
    pub fn kinds(&self) -> Kinds {
        self.consumer.kinds()
    }

    /// The default database: a file in the data folder.
    pub(crate) fn default_database(&self) -> String {
        format!("sqlite://{}", self.data_dir.join("pp.sqlite").display())
    }
}
