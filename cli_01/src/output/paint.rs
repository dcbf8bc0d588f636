//! Colours by status. They are only on a terminal, and not where `NO_COLOR` is set.

use std::env;
use std::io::{self, IsTerminal as _};

use clap::builder::styling::AnsiColor;
use comfy_table::{Cell, Color};

/// True if standard output takes colours.
pub(super) fn is_wanted() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// The row of a table with the status in this column in its colour.
pub(super) fn row(row: Vec<String>, status: usize) -> Vec<Cell> {
    let cell = |(column, text): (usize, String)| match colour(&text).filter(|_| column == status) {
        Some((_, colour)) => Cell::new_owned(text).fg(colour),
        None => Cell::new_owned(text),
    };
    row.into_iter().enumerate().map(cell).collect()
}

/// A status in its colour, filled up to this width.
pub(super) fn status(text: &str, width: usize) -> String {
    match colour(text).filter(|_| is_wanted()) {
        Some((colour, _)) => {
            let style = colour.on_default();
            format!("{style}{text:<width$}{style:#}")
        }
        None => format!("{text:<width$}"),
    }
}

/// The colour of a status of works, of kinds, of workers or of findings.
fn colour(status: &str) -> Option<(AnsiColor, Color)> {
    Some(match status {
        "done" | "served" | "idle" | "ok" => (AnsiColor::Green, Color::DarkGreen),
        "running" | "at work" | "note" => (AnsiColor::Cyan, Color::DarkCyan),
        "pending" | "paused" => (AnsiColor::Yellow, Color::DarkYellow),
        "failed" | "no worker" | "wrong" | "unavailable" => (AnsiColor::Red, Color::DarkRed),
        "cancelled" | "gone" | "undeclared" => (AnsiColor::BrightBlack, Color::DarkGrey),
        _ => return None,
    })
}
