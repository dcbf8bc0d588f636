//! Kinds as tables.

use comfy_table::Table;
use serde_json::Value;

use super::{paint, plain, time};
use crate::failure::one_line;

/// Kinds, one in a row.
pub(super) fn list_table(kinds: &[Value]) -> Table {
    let mut table = plain(&[
        "KIND",
        "STATE",
        "PENDING",
        "RUNNING",
        "FAILED",
        "WORKER SEEN (UTC)",
        "ATTEMPTS",
        "TIMEOUT",
        "PLACES",
    ]);
    for kind in kinds {
        let policy = &kind["policy"];
        let row = vec![
            one_line(&text(&kind["name"])),
            state(kind).to_owned(),
            text(&kind["works"]["pending"]),
            text(&kind["works"]["running"]),
            text(&kind["works"]["failed"]),
            seen(kind),
            text(&policy["max_attempts"]),
            text(&policy["timeout"]),
            text(&policy["places"]),
        ];
        table.add_row(paint::row(row, 1));
    }
    table
}

/// One kind, a setting in each row, with a mark where an operator has set it.
pub(super) fn one_table(kind: &Value) -> Table {
    let mut table = plain(&["SETTING", "VALUE", ""]);
    let mut row = |name: &str, value: String, mark: &str| {
        table.add_row([name.to_owned(), value, mark.to_owned()]);
    };
    row("kind", text(&kind["name"]), "");
    row("state", state(kind).to_owned(), "");
    row("worker seen", seen(kind), "");
    for (name, value) in kind["policy"].as_object().into_iter().flatten() {
        let mark = match kind["overrides"].get(name) {
            Some(_) => "set by an operator",
            None => "",
        };
        row(name, one_line(&text(value)), mark);
    }
    if let Some(on) = kind["replaced_on"].as_i64() {
        row("declared anew", time(on), "");
    }
    table
}

fn state(kind: &Value) -> &'static str {
    match (&kind["is_declared"], &kind["policy"]["paused"], &kind["has_worker"]) {
        (Value::Bool(false), ..) => "undeclared",
        (_, Value::Bool(true), _) => "paused",
        (.., Value::Bool(false)) => "no worker",
        _ => "served",
    }
}

fn seen(kind: &Value) -> String {
    kind["worker_seen_on"].as_i64().map_or_else(|| "never".to_owned(), time)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
