//! API keys and the audit as tables.

use comfy_table::Table;
use pp_lib::domain::{AuditEntry, KeyInfo};
use serde_json::Value;

use super::{plain, time};
use crate::failure::one_line;

/// Keys, one in a row.
pub(super) fn list_table(keys: &[KeyInfo]) -> Table {
    let mut table = plain(&[
        "ID",
        "NAME",
        "SCOPES",
        "WORKS/DAY",
        "CREATED (UTC)",
        "BY",
        "REVOKED (UTC)",
    ]);
    for key in keys {
        table.add_row([
            key.id.to_string(),
            one_line(key.name.as_str()),
            key.scopes.to_string(),
            key.works_per_day.map(|bound| bound.to_string()).unwrap_or_default(),
            time(key.created_on),
            one_line(&key.created_by),
            key.revoked_on.map(time).unwrap_or_default(),
        ]);
    }
    table
}

/// A key that was just made, with its secret.
pub(super) fn new_table(key: &Value) -> Table {
    let mut table = plain(&["ID", "NAME", "SCOPES", "KEY"]);
    let text = |name: &str| match &key[name] {
        Value::String(text) => one_line(text),
        other => other.to_string(),
    };
    table.add_row(["id", "name", "scopes", "key"].map(text));
    table
}

/// The audit, a change in each row.
pub(super) fn audit_table(rows: &[AuditEntry]) -> Table {
    let mut table = plain(&["ID", "TIME (UTC)", "PRINCIPAL", "ACTION", "SUBJECT", "DETAILS"]);
    for row in rows {
        table.add_row([
            row.id.to_string(),
            time(row.created_on),
            one_line(&row.principal),
            one_line(&row.action),
            one_line(&row.subject),
            one_line(row.details.as_str()),
        ]);
    }
    table
}
