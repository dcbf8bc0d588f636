//! What the commands print: lines, and a table of plain columns for people and for `grep`.
//!
//! A reader that went away (`make status | head -1`) is no error, and must not end a command half way.

use std::io::Write as _;

/// Prints one line.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints the rows with each column as wide as its widest cell.
pub fn table(rows: &[[String; 4]]) {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let (first, second, third) = (width(0), width(1), width(2));
    for [name, what, place, state] in rows {
        line(&format!("{name:<first$}  {what:<second$}  {place:<third$}  {state}"));
    }
}
