//! Prints answers: one JSON document exactly like the API's, which stays stable, or a table for people, which may
//! change.

mod doctor;
mod keys;
mod kinds;
mod paint;
mod stats;
mod workers;

use std::io::{self, Write as _};

use chrono::DateTime;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use pp_lib::domain::{AuditEntry, DeadLetter, Event, KeyInfo, Stats, Status, Work, WorkCode};
use pp_lib::streams::StreamedChange;
use serde::Serialize;
use serde_json::Value;

use crate::commands::Checked;
use crate::failure::one_line;

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For scripts: one JSON document, as the API gives it.
    Json,
}

impl Output {
    pub(crate) fn work(self, work: &Work) -> io::Result<()> {
        match self {
            Self::Json => json(work),
            Self::Table => table(works_table(std::slice::from_ref(work))),
        }
    }

    pub(crate) fn works(self, works: &[Work]) -> io::Result<()> {
        self.list(works, works_table)
    }

    pub(crate) fn events(self, events: &[Event]) -> io::Result<()> {
        self.list(events, events_table)
    }

    pub(crate) fn dead_letters(self, letters: &[DeadLetter]) -> io::Result<()> {
        self.list(letters, letters_table)
    }

    pub(crate) fn kinds(self, kinds: &[Value]) -> io::Result<()> {
        self.list(kinds, kinds::list_table)
    }

    pub(crate) fn kind(self, kind: &Value) -> io::Result<()> {
        match self {
            Self::Json => json(kind),
            Self::Table => table(kinds::one_table(kind)),
        }
    }

    pub(crate) fn workers(self, workers: &[Value]) -> io::Result<()> {
        self.list(workers, workers::list_table)
    }

    pub(crate) fn keys(self, keys: &[KeyInfo]) -> io::Result<()> {
        self.list(keys, keys::list_table)
    }

    pub(crate) fn new_key(self, key: &Value) -> io::Result<()> {
        match self {
            Self::Json => json(key),
            Self::Table => table(keys::new_table(key)),
        }
    }

    pub(crate) fn audit(self, rows: &[AuditEntry]) -> io::Result<()> {
        self.list(rows, keys::audit_table)
    }

    /// Prints a list. An empty one is an empty array, but no table.
    fn list<T: Serialize>(self, items: &[T], table_of: fn(&[T]) -> Table) -> io::Result<()> {
        match self {
            Self::Json => json(items),
            Self::Table if items.is_empty() => Ok(()),
            Self::Table => table(table_of(items)),
        }
    }

    pub(crate) fn stats(self, stats: &Stats) -> io::Result<()> {
        match self {
            Self::Json => json(stats),
            Self::Table => {
                table(stats::works_table(stats))?;
                writeln!(io::stdout().lock())?;
                table(stats::pace_table(stats))?;
                if stats.newest.is_empty() {
                    return Ok(());
                }
                writeln!(io::stdout().lock())?;
                table(works_table(&stats.newest))
            }
        }
    }

    pub(crate) fn change(self, change: &StreamedChange) -> io::Result<()> {
        let status = change.status.map_or("-", Status::as_str);
        let kind = match change.kind.is_add_up_to() {
            true => String::new(),
            false => format!("{} ", change.kind),
        };
        match self {
            Self::Json => json(change),
            Self::Table => line(
                change.created_on,
                &change.work_code,
                status,
                &format!("{kind}{} {}", change.variable, change.value),
            ),
        }
    }

    /// Prints the current state of the watched work.
    pub(crate) fn standing(self, work: &Work) -> io::Result<()> {
        match self {
            Self::Json => json(work),
            Self::Table => line(
                work.updated_on,
                &work.work_code,
                work.status.as_str(),
                &match work.run_at {
                    Some(run_at) => format!("{}, runs at {}", asked(work), time(run_at)),
                    None => asked(work),
                },
            ),
        }
    }

    /// Prints the findings of the doctor.
    pub(crate) fn checked(self, checked: &Checked) -> io::Result<()> {
        match self {
            Self::Json => json(&checked.document()),
            Self::Table => {
                let mut output = io::stdout().lock();
                output.write_all(doctor::text(checked).as_bytes())?;
                output.flush()
            }
        }
    }

    /// Prints the number of items that were changed, or would be. A table format prints nothing for 0.
    pub(crate) fn count(self, done: &str, count: u64, dry_run: bool) -> io::Result<()> {
        let mut output = io::stdout().lock();
        match (self, dry_run) {
            (Self::Json, false) => writeln!(output, r#"{{"{done}":{count}}}"#),
            (Self::Json, true) => writeln!(output, r#"{{"{done}":{count},"dry_run":true}}"#),
            (Self::Table, _) if count == 0 => Ok(()),
            (Self::Table, false) => writeln!(output, "{done}: {count}"),
            (Self::Table, true) => writeln!(output, "would be {done}: {count}"),
        }
    }
}

fn json<T: Serialize + ?Sized>(document: &T) -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut output, document)?;
    output.write_all(b"\n")?;
    output.flush()
}

fn table(mut table: Table) -> io::Result<()> {
    if !paint::is_wanted() {
        table.force_no_tty();
    }
    let mut output = io::stdout().lock();
    for line in table.trim_fmt().lines() {
        writeln!(output, "{}", line.trim_end())?;
    }
    output.flush()
}

/// Prints one line: time, work, status and the change.
fn line(second: i64, work_code: &WorkCode, status: &str, what: &str) -> io::Result<()> {
    let (time, longest) = (time(second), WorkCode::MAX_LENGTH);
    let mut output = io::stdout().lock();
    writeln!(
        output,
        "{time}  {:<longest$}  {}  {}",
        work_code.as_str(),
        paint::status(status, 9),
        one_line(what)
    )?;
    output.flush()
}

/// What a work asks for.
fn asked(work: &Work) -> String {
    match work.add_up_to() {
        Some(bound) => format!("up to {bound}"),
        None => format!("{} {}", work.kind, work.args),
    }
}

/// A table of works. It has a column for the start time if one of the works has a start time, and shows kinds and
/// arguments if one of them is no sum.
fn works_table(works: &[Work]) -> Table {
    const STATUS: usize = 3;
    const RUN_AT: usize = 5;
    let only_sums = works.iter().all(|work| work.add_up_to().is_some());
    let mut columns = vec![
        "ID",
        "WORK CODE",
        if only_sums { "ADD UP TO" } else { "ASKED FOR" },
        "STATUS",
        "RESULT",
        "CREATED (UTC)",
        "UPDATED (UTC)",
        "VERSION",
    ];
    let scheduled = works.iter().any(|work| work.run_at.is_some());
    if scheduled {
        columns.insert(RUN_AT, "RUN AT (UTC)");
    }
    let mut table = plain(&columns);
    align_right(&mut table, if only_sums { &[0, 2, 4] } else { &[0] });
    align_right(&mut table, &[columns.len() - 1]);
    let none = || "-".to_owned();
    table.add_rows(works.iter().map(|work| {
        let mut row = vec![
            work.id.to_string(),
            work.work_code.to_string(),
            match work.add_up_to() {
                Some(bound) if only_sums => bound.to_string(),
                _ => one_line(&format!("{} {}", work.kind, work.args)),
            },
            work.status.to_string(),
            (work.result.as_ref()).map_or_else(none, |result| one_line(result.as_str())),
            time(work.created_on),
            time(work.updated_on),
            work.version.to_string(),
        ];
        if scheduled {
            row.insert(RUN_AT, work.run_at.map_or_else(none, time));
        }
        paint::row(row, STATUS)
    }));
    table
}

fn events_table(events: &[Event]) -> Table {
    let mut table = plain(&["ID", "WORK CODE", "VARIABLE", "VALUE", "CREATED (UTC)"]);
    align_right(&mut table, &[0]);
    table.add_rows(events.iter().map(|event| {
        [
            event.id.to_string(),
            event.work_code.to_string(),
            event.variable.to_string(),
            one_line(&event.value),
            time(event.created_on),
        ]
    }));
    table
}

/// A table of letters. It shows kinds if one of them is of no sum.
fn letters_table(letters: &[DeadLetter]) -> Table {
    const KIND: usize = 4;
    let mut columns = vec![
        "ID",
        "WORK",
        "WORK CODE",
        "ATTEMPTS",
        "DEAD SINCE (UTC)",
        "REASON",
        "MESSAGE",
    ];
    let only_sums = letters.iter().all(|letter| letter.kind.is_add_up_to());
    if !only_sums {
        columns.insert(KIND, "KIND");
    }
    let mut table = plain(&columns);
    align_right(&mut table, &[0, 1, 3]);
    let none = || "-".to_owned();
    table.add_rows(letters.iter().map(|letter| {
        let mut row = vec![
            letter.id.to_string(),
            letter.work_id.map_or_else(none, |id| id.to_string()),
            letter.work_code.as_ref().map_or_else(none, |code| code.to_string()),
            letter.attempts.to_string(),
            time(letter.created_on),
            one_line(&letter.reason),
            letter.body.as_deref().map_or_else(none, beginning),
        ];
        if !only_sums {
            row.insert(KIND, letter.kind.to_string());
        }
        row
    }));
    table
}

/// The first characters of a message, enough to recognize it.
fn beginning(body: &str) -> String {
    const MOST: usize = 40;
    let line = one_line(body);
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for index in columns {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A Unix second in readable form.
fn time(second: i64) -> String {
    DateTime::from_timestamp(second, 0).map_or_else(
        || format!("second {second}"),
        |time| time.format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_readable_and_an_impossible_one_does_not_panic() {
        assert_eq!(time(1_634_115_736), "2021-10-13 09:02:16");
        assert_eq!(time(i64::MAX), format!("second {}", i64::MAX));
    }

    #[test]
    fn an_event_cannot_steer_the_terminal() {
        let event = Event {
            id: 1,
            work_code: "api-bjq8euwsEA".parse().unwrap(),
            variable: "compute/error".parse().unwrap(),
            value: "first\nsecond\x1b[2J".to_owned(),
            created_on: 0,
        };
        let table = events_table(&[event]).trim_fmt();
        assert_eq!(table.lines().count(), 2);
        assert!(table.contains("first second [2J") && !table.contains('\x1b'));
    }
}
