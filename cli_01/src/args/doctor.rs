//! The arguments of `doctor`: the servers that it asks besides the API and the database.

use std::time::Duration;

use clap::{Arg, Args};
use pp_cli::config::{BrokerArgs, CacheArgs, DatabaseArgs};
use pp_lib::access::ApiKey;
use pp_lib::tls::Trust;

use crate::commands::Doctor;
use crate::failure::Failure;
use crate::output::Output;

pub(super) const NOTES: &str =
    "It asks the API, and the database, RabbitMQ and Redis whose variables are set. It changes nothing.
With --call-type db it leaves out the API.

Examples:
  cli_01 doctor
  cli_01 doctor --api-url https://pp.example.com --key-file admin.key
  cli_01 doctor --call-type db --json

Exit codes:
  0  all is well
  1  something is wrong
  3  a server is unavailable";

#[derive(Args, Debug)]
#[command(mut_args(without_rest))]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    broker: BrokerArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

impl DoctorArgs {
    pub(super) fn doctor(
        self,
        api: Option<(String, Option<ApiKey>)>,
        database: DatabaseArgs,
        trust: Trust,
        timeout: Duration,
        output: Output,
    ) -> Result<Doctor, Failure> {
        let usage = |error: pp_cli::config::ConfigError| Failure::Usage(error.to_string());
        let database = match database.is_set() || api.is_none() {
            true => Some(database.address_or(super::DATABASE).map_err(usage)?),
            false => None,
        }
        .map(|address| (address, database.clone()));
        let broker = match self.broker.is_set() {
            true => Some(self.broker.address_or_memory().map_err(usage)?),
            false => None,
        }
        .map(|address| (address, self.broker));
        let cache = (self.cache.address().map_err(usage)?, self.cache);
        Ok(Doctor {
            api,
            database,
            broker,
            cache,
            trust,
            timeout,
            output,
        })
    }
}

/// Hides settings of caches that a look at the server does not need.
fn without_rest(argument: Arg) -> Arg {
    let rest = ["cache_ttl", "near_cache", "staleness"].contains(&argument.get_id().as_str());
    argument.hide(rest)
}
