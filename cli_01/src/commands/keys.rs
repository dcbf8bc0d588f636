//! Makes, lists and revokes API keys, and shows the audit.

use pp_lib::domain::{ApiKeyId, KeyLabel, Scopes, WorksPerDay};
use pp_lib::store::AuditFilter;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

/// An action on keys, or a look at the audit.
#[derive(Debug)]
pub(crate) enum Keys {
    Create {
        name: KeyLabel,
        scopes: Scopes,
        works_per_day: Option<WorksPerDay>,
    },
    List,
    Revoke(ApiKeyId),
    Audit {
        filter: AuditFilter,
        before: Option<i64>,
        limit: u16,
    },
}

pub(super) fn keys(works: &dyn Works, what: &Keys, output: Output) -> Result<(), Failure> {
    match what {
        Keys::Create {
            name,
            scopes,
            works_per_day,
        } => output.new_key(&works.create_key(name, scopes, *works_per_day)?)?,
        Keys::List => {
            let keys = works.keys()?;
            output.keys(&keys)?;
            if keys.is_empty() {
                return Err(Failure::NotFound("there are no keys".to_owned()));
            }
        }
        Keys::Revoke(id) => works.revoke_key(*id)?,
        Keys::Audit { filter, before, limit } => {
            let rows = works.audit(filter, *before, *limit)?;
            output.audit(&rows)?;
            if rows.is_empty() {
                return Err(Failure::NotFound("the audit has no such rows".to_owned()));
            }
        }
    }
    Ok(())
}
