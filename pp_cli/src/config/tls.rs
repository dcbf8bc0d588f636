//! The authorities that a program trusts as a client.

use std::path::PathBuf;

use clap::Args;
use pp_lib::tls::Trust;

use super::ConfigError;

/// The settings of TLS for connections that a program makes. Those for connections it takes are the API's.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// A PEM file with authorities that are trusted beside those of this system.
    #[arg(long = "tls-ca", value_name = "FILE", env = "PP_TLS_CA")]
    ca: Option<PathBuf>,
}

impl TlsArgs {
    /// The authorities of this system and of the file.
    pub fn trust(&self) -> Result<Trust, ConfigError> {
        let own = self.ca.as_deref().map(Trust::also).transpose();
        Ok(own
            .map_err(|error| ConfigError::new("PP_TLS_CA", error.to_string()))?
            .unwrap_or_default())
    }
}
