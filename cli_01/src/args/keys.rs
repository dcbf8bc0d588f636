//! The arguments of `key` and `audit`, and the key that this program sends.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pp_cli::config::whole;
use pp_lib::access::ApiKey;
use pp_lib::domain::{ApiKeyId, KeyLabel, Scopes, WorksPerDay};
use pp_lib::store::AuditFilter;

use crate::commands::Keys;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum KeyAction {
    /// Make a key and show it, once.
    Create {
        /// The name of the key, 1 to 100 bytes.
        #[arg(long, value_name = "NAME")]
        name: KeyLabel,

        /// What it allows: read, create, create:KIND, work, work:KIND, operate and admin [as in read,create:user.mail].
        #[arg(long, value_name = "SCOPES")]
        scopes: Scopes,

        /// The most works that it may create in a day (UTC), 1 to 1000000000 [default: no bound].
        #[arg(long, value_name = "COUNT")]
        works_per_day: Option<WorksPerDay>,
    },
    /// List keys, without their secrets.
    List,
    /// End a key.
    Revoke {
        /// The id of the key.
        #[arg(value_name = "ID")]
        id: i64,
    },
}

impl KeyAction {
    pub(super) fn command(self) -> Keys {
        match self {
            Self::Create {
                name,
                scopes,
                works_per_day,
            } => Keys::Create {
                name,
                scopes,
                works_per_day,
            },
            Self::List => Keys::List,
            Self::Revoke { id } => Keys::Revoke(ApiKeyId(id)),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    /// Only changes by this principal [as in "key:3 deploy"].
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,

    /// Only this action [as in work.cancel].
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,

    /// Only rows with lower ids.
    #[arg(long, value_name = "ID")]
    before: Option<i64>,

    /// The most rows.
    #[arg(long, value_name = "N", default_value = "50", value_parser = whole(1..=1000_u16))]
    limit: u16,
}

impl AuditArgs {
    pub(super) fn command(self) -> Keys {
        Keys::Audit {
            filter: AuditFilter {
                principal: self.principal,
                action: self.action,
            },
            before: self.before,
            limit: self.limit,
        }
    }
}

/// The key that requests carry.
#[derive(Args, Clone)]
#[command(next_help_heading = super::SOURCE)]
pub(super) struct OwnKey {
    /// The API key for call type http.
    #[arg(long, env = "PP_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// A file with the API key.
    #[arg(long, visible_alias = "key-file", env = "PP_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnKey(…)")
    }
}

impl OwnKey {
    /// The key; the variable comes before the file.
    pub(super) fn key(self) -> Result<Option<ApiKey>, Failure> {
        let (name, text) = match (self.api_key, self.api_key_file) {
            (Some(key), _) => ("PP_API_KEY".to_owned(), key),
            (None, Some(file)) => {
                let name = format!("PP_API_KEY_FILE: {}", file.display());
                let text = std::fs::read_to_string(&file);
                (
                    name.clone(),
                    text.map_err(|error| Failure::Usage(format!("{name}: {error}")))?,
                )
            }
            (None, None) => return Ok(None),
        };
        let key = text.trim().parse();
        key.map(Some)
            .map_err(|error| Failure::Usage(format!("{name}: {error}")))
    }
}
