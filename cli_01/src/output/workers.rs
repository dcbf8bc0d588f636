//! Workers as a table.

use comfy_table::Table;
use serde_json::Value;

use super::{paint, plain, time};
use crate::failure::one_line;

/// Workers, each with its kinds in one row and a row for each running work.
pub(super) fn list_table(workers: &[Value]) -> Table {
    let mut table = plain(&[
        "WORKER",
        "STATE",
        "SEEN (UTC)",
        "WORK",
        "KIND",
        "SINCE (UTC)",
        "ATTEMPT",
        "PROGRESS",
    ]);
    for worker in workers {
        let works = worker["works"].as_array().map(Vec::as_slice).unwrap_or_default();
        let state = match (&worker["is_there"], works) {
            (Value::Bool(false), _) => "gone",
            (_, []) => "idle",
            _ => "at work",
        };
        let kinds: Vec<&str> = worker["kinds"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let row = vec![
            text(&worker["name"]),
            state.to_owned(),
            moment(&worker["seen_on"]),
            String::new(),
            one_line(&kinds.join(" ")),
            moment(&worker["since"]),
            String::new(),
            String::new(),
        ];
        table.add_row(paint::row(row, 1));
        for work in works {
            let progress = work["progress"].as_u64().map(|percent| format!("{percent} % "));
            table.add_row([
                String::new(),
                String::new(),
                moment(&work["seen_on"]),
                text(&work["id"]),
                text(&work["kind"]),
                moment(&work["since"]),
                text(&work["attempt"]),
                format!("{}{}", progress.unwrap_or_default(), text(&work["note"])),
            ]);
        }
    }
    table
}

fn moment(value: &Value) -> String {
    value.as_i64().map(time).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => one_line(text),
        other => other.to_string(),
    }
}
