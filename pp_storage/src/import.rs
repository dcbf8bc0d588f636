//! Copies works and their events from a database of the original project.
//!
//! That project has two tables, `works` and `events`, related by the work's code. Its sums leave out the bound, and its
//! rows hardly ever become done. A work is therefore done here if its events contain the right sum. All others are
//! pending,
//! and PP computes them. A failed attempt or a wrong result stays among their events.

mod postgres;
mod source;
mod sqlite;

use std::collections::HashSet;

use diesel::pg::PgConnection;
use diesel::sqlite::SqliteConnection;

use self::source::{SourceEvent, Work};

/// The number of works read and written together.
const BATCH: i64 = 2_000;
/// The maximum number of skipped works whose ids are reported.
const NAMED: usize = 10;
/// The origins of works, which precede the dash of a code.
const ORIGINS: [&str; 2] = ["api", "consumer"];
/// The number of letters and digits after the dash.
const RANDOM_LENGTH: usize = 10;

/// A PP database to copy into, with a current schema.
pub enum Target {
    /// A PostgreSQL database.
    Postgres(PgConnection),
    /// A SQLite file.
    Sqlite(SqliteConnection),
}

/// The reason why not all works were copied. Copied works stay, and a new call continues from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source is not a database of the original project, or does not answer.
    #[error("--from: {0}")]
    Source(String),
    /// The target did not accept the works.
    #[error("PP_DATABASE_URL: {0}")]
    Target(String),
}

/// The numbers of an import.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Newly copied works.
    pub works: u64,
    /// Events of the copied works.
    pub events: u64,
    /// Copied works that are done.
    pub done: u64,
    /// Works whose code already existed.
    pub present: u64,
    /// Skipped works, which have another form of code or a bound below 1.
    pub left_out: u64,
    /// The first ids of skipped works.
    pub left_out_ids: Vec<i64>,
}

/// A row of PP with its events in order.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    id: i64,
    work_code: String,
    origin: &'static str,
    add_up_to: i32,
    status: &'static str,
    result: Option<i64>,
    attempt: i32,
    created_on: i64,
    updated_on: i64,
    events: Vec<Event>,
}

/// An event of PP. `status` is the status of the work afterwards. Times are Unix microseconds.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    variable: &'static str,
    value: String,
    status: &'static str,
    created_on: i64,
}

/// The numbers of one batch.
struct Written {
    works: u64,
    events: u64,
    done: u64,
}

/// Copies all works whose code does not exist yet.
///
/// # Errors
/// One of the databases fails.
pub fn import(source: &mut PgConnection, target: &mut Target) -> Result<Imported, ImportError> {
    let from = |error: diesel::result::Error| ImportError::Source(error.to_string());
    let into = |error: diesel::result::Error| ImportError::Target(error.to_string());
    let highest = source::highest_id(source).map_err(from)?;
    if let Target::Postgres(connection) = target {
        // The ids are reserved before the first row, because services may be creating works at the same time.
        postgres::reserve(connection, highest).map_err(into)?;
    }
    let mut imported = Imported::default();
    let mut last = i64::MIN;
    loop {
        let works = source::works(source, last, BATCH).map_err(from)?;
        let Some(newest) = works.last() else {
            return Ok(imported);
        };
        last = newest.id;
        let histories = source::histories(source, &works).map_err(from)?;
        let mut rows = Vec::with_capacity(works.len());
        let mut codes = HashSet::with_capacity(works.len());
        for work in works {
            let events = histories.get(&work.work_code).map_or(&[][..], Vec::as_slice);
            let id = work.id;
            match row(work, events) {
                // The source does not prevent two works with the same code.
                Some(row) if !codes.insert(row.work_code.clone()) => imported.present += 1,
                Some(row) => rows.push(row),
                None => {
                    imported.left_out += 1;
                    if imported.left_out_ids.len() < NAMED {
                        imported.left_out_ids.push(id);
                    }
                }
            }
        }
        let offered = rows.len() as u64;
        let written = match target {
            Target::Postgres(connection) => postgres::write(connection, &rows),
            Target::Sqlite(connection) => sqlite::write(connection, &rows),
        };
        let Written { works, events, done } = written.map_err(into)?;
        imported.works += works;
        imported.events += events;
        imported.done += done;
        imported.present += offered - works;
    }
}

/// The row of PP for a work, or `None` if PP cannot have it.
fn row(work: Work, history: &[SourceEvent]) -> Option<Row> {
    let (origin, random) = work.work_code.split_once('-')?;
    let origin = ORIGINS.into_iter().find(|known| *known == origin)?;
    let well_formed = random.len() == RANDOM_LENGTH && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !well_formed || work.add_up_to < 1 {
        return None;
    }
    let bound = i64::from(work.add_up_to);
    let sum = bound * (bound + 1) / 2;
    let (done, mut events) = computed(history, sum);
    if origin == "api" {
        events.insert(
            0,
            Event {
                variable: "work/created",
                value: bound.to_string(),
                status: "pending",
                created_on: work.created_on,
            },
        );
    }
    let attempted = !compute_events(history).is_empty();
    Some(Row {
        id: work.id,
        origin,
        add_up_to: work.add_up_to,
        status: if done { "done" } else { "pending" },
        result: done.then_some(sum),
        attempt: 1 + i32::from(attempted && !done),
        created_on: work.created_on,
        updated_on: work.updated_on.max(work.created_on),
        events,
        work_code: work.work_code,
    })
}

fn compute_events(history: &[SourceEvent]) -> Vec<&SourceEvent> {
    history
        .iter()
        .filter(|event| event.variable.starts_with("compute/"))
        .collect()
}

/// True if the events contain the right sum, and PP's events for the attempt.
fn computed(history: &[SourceEvent], sum: i64) -> (bool, Vec<Event>) {
    let history = compute_events(history);
    let (Some(first), Some(last)) = (history.first(), history.last()) else {
        return (false, Vec::new());
    };
    let start = |status| Event {
        variable: "compute/start",
        value: String::new(),
        status,
        created_on: first.created_on,
    };
    let end = |variable, value, status, created_on| Event {
        variable,
        value,
        status,
        created_on,
    };
    let result = history.iter().find(|event| event.variable == "compute/result");
    let Some(result) = result.filter(|result| result.value.parse() == Ok(sum)) else {
        let why = match result {
            Some(result) => format!("imported: its result {} is not the sum {sum}", result.value),
            None => "imported: the attempt did not end".to_owned(),
        };
        return (
            false,
            vec![start("pending"), end("compute/error", why, "pending", last.created_on)],
        );
    };
    let stop = history
        .iter()
        .find(|event| event.variable == "compute/stop")
        .unwrap_or(result);
    (
        true,
        vec![
            start("done"),
            end("compute/stop", String::new(), "done", stop.created_on),
            end("compute/result", sum.to_string(), "done", result.created_on),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(code: &str, add_up_to: i32) -> Work {
        Work {
            id: 7,
            work_code: code.to_owned(),
            add_up_to,
            created_on: 1_000,
            updated_on: 2_000,
        }
    }

    fn event(variable: &str, value: &str, created_on: i64) -> SourceEvent {
        SourceEvent {
            variable: variable.to_owned(),
            value: value.to_owned(),
            created_on,
        }
    }

    fn in_words(row: &Row) -> Vec<String> {
        let words = |event: &Event| format!("{}={}@{}", event.variable, event.value, event.created_on);
        row.events.iter().map(words).collect()
    }

    #[test]
    fn a_work_with_the_right_sum_is_done() {
        let events = [
            event("compute/start", "", 1_100),
            event("compute/stop", "", 1_200),
            event("compute/result", "10", 1_300),
        ];
        let row = row(work("consumer-0123456789", 4), &events).unwrap();
        assert_eq!((row.status, row.result, row.attempt), ("done", Some(10), 1));
        let expected = ["compute/start=@1100", "compute/stop=@1200", "compute/result=10@1300"];
        assert_eq!(in_words(&row), expected);
    }

    #[test]
    fn a_sum_without_the_bound_is_a_failed_attempt() {
        let events = [
            event("compute/start", "", 1_100),
            event("compute/stop", "", 1_200),
            event("compute/result", "6", 1_300),
        ];
        let row = row(work("consumer-0123456789", 4), &events).unwrap();
        assert_eq!((row.status, row.result, row.attempt), ("pending", None, 2));
        let expected = [
            "compute/start=@1100",
            "compute/error=imported: its result 6 is not the sum 10@1300",
        ];
        assert_eq!(in_words(&row), expected);
    }

    #[test]
    fn a_work_without_a_result_is_pending() {
        let created = row(work("api-0123456789", 4), &[]).unwrap();
        assert_eq!((created.status, created.attempt), ("pending", 1));
        assert_eq!(in_words(&created), ["work/created=4@1000"]);
        let begun = row(work("consumer-0123456789", 4), &[event("compute/start", "", 1_100)]).unwrap();
        assert_eq!((begun.status, begun.attempt), ("pending", 2));
        let expected = [
            "compute/start=@1100",
            "compute/error=imported: the attempt did not end@1100",
        ];
        assert_eq!(in_words(&begun), expected);
    }

    #[test]
    fn an_invalid_work_is_skipped() {
        for code in [
            "",
            "api",
            "api-",
            "foo-0123456789",
            "api-012345678",
            "api-01234567%9",
            "consumer-01234567890",
        ] {
            assert_eq!(row(work(code, 4), &[]), None, "{code}");
        }
        for bound in [0, -1, i32::MIN] {
            assert_eq!(row(work("api-0123456789", bound), &[]), None, "{bound}");
        }
    }
}
