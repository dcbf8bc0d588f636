//! `doctor`: looks at every part of a system that this machine reaches, and says for each finding what to do.
//!
//! Each file asks one part. Nothing is changed; the database is asked for a change that it takes back.

mod api;
mod broker;
mod cache;
mod clock;
mod database;
mod findings;
mod kinds;
mod tls;

use std::path::Path;
use std::time::Duration;

use pp_cli::config::{BrokerArgs, BrokerUrl, CacheArgs, CacheUrl, DatabaseArgs, DatabaseUrl};
use pp_lib::access::ApiKey;
use pp_lib::tls::Trust;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::waiting;
use crate::args::DATABASE;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) use findings::Checked;

/// What to look at.
#[derive(Debug)]
pub(crate) struct Doctor {
    /// The API's address and the key for it.
    pub(crate) api: Option<(String, Option<ApiKey>)>,
    pub(crate) database: Option<(DatabaseUrl, DatabaseArgs)>,
    pub(crate) broker: Option<(BrokerUrl, BrokerArgs)>,
    pub(crate) cache: (CacheUrl, CacheArgs),
    pub(crate) trust: Trust,
    /// The time limit of a call.
    pub(crate) timeout: Duration,
    pub(crate) output: Output,
}

impl Doctor {
    /// Looks, prints what was found, and fails if something is wrong.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut checked = Checked::default();
        let runtime = runtime()?;
        let mut kinds = None;
        if let Some((url, key)) = &self.api {
            waiting::shown("asking the API", || {
                self.look_at_api(&mut checked, url, key.as_ref(), &mut kinds)
            })?;
        }
        match &self.database {
            Some((address, args)) => waiting::shown("asking the database", || {
                runtime.block_on(self.look_at_database(&mut checked, address, args, &mut kinds));
            }),
            None => without_database(&mut checked),
        }
        match &self.broker {
            Some((address, args)) => waiting::shown("asking RabbitMQ", || {
                runtime.block_on(self.look_at_broker(&mut checked, address, args, kinds.as_deref()));
            }),
            None => checked.note(
                "broker",
                "not looked at",
                "set PP_BROKER_URL to look at RabbitMQ and its queues",
            ),
        }
        let (cache, args) = &self.cache;
        waiting::shown("asking Redis", || {
            runtime.block_on(self.look_at_cache(&mut checked, cache, args));
        });
        if let Some(kinds) = &kinds {
            kinds::look(&mut checked, kinds);
        }
        self.output.checked(&checked)?;
        checked.verdict()
    }
}

/// A runtime that is never dropped, because that would wait for servers that do not answer.
fn runtime() -> Result<&'static Runtime, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unavailable(error.to_string()))?;
    Ok(Box::leak(Box::new(runtime)))
}

fn without_database(checked: &mut Checked) {
    let file = DATABASE.trim_start_matches("sqlite://");
    let advice = match Path::new(file).is_file() {
        true => format!("set PP_DATABASE_URL={DATABASE} to look at the file here"),
        false => "set PP_DATABASE_URL to look at its schema, clock and keys".to_owned(),
    };
    checked.note("database", "not looked at", advice);
}

/// The kinds as the API shows them.
type Kinds = Option<Vec<Value>>;

/// True if a version such as `15.4` is not below this one. One that cannot be read is not.
fn is_at_least(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) >= least,
        (None, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn versions_compare_by_their_numbers() {
        for version in ["15.4", "15.4 (Debian 15.4-1)", "18beta1", "18", "15"] {
            assert!(is_at_least(version, (15, 0)), "{version}");
        }
        for version in ["9.6.24", "14.19", "14"] {
            assert!(!is_at_least(version, (15, 0)), "{version}");
        }
        assert!(is_at_least("3.10.8", (3, 10)) && !is_at_least("3.9", (3, 10)));
    }
}
