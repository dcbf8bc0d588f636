//! The settings, one struct per file. Each program flattens the structs it needs into its arguments.
//!
//! A flag has the name of its variable without `PP_`, in kebab case. Parsing checks the bounds, so a wrong value is an
//! error at start.

mod broker;
mod cache;
mod command_line;
mod database;
mod error;
mod known;
mod parse;
mod runtime;
mod tls;

pub use broker::{BrokerArgs, BrokerUrl};
pub use cache::{CacheArgs, CacheUrl};
pub(crate) use command_line::USAGE;
pub use command_line::command_line;
pub use database::{DatabaseArgs, DatabaseUrl};
pub(crate) use error::not_built_in;
pub use error::{ConfigError, Secret};
pub use known::KNOWN;
pub(crate) use known::warn_of_unknown_variables;
pub use parse::{DurationText, duration, size, whole};
pub use runtime::{LogFormat, RuntimeArgs};
pub use tls::TlsArgs;
