//! Copying works and their events from a database of the project that PP grew out of.
//!
//! That project has two tables, `works` and `events`, which belong together by the work's code; its sums leave out the
//! bound, and its rows hardly ever become done. So a work is done here when its events have the right sum. All others are
//! pending: PP computes them, and an attempt that came to nothing, or to another number, is among their events.

mod postgres;
mod source;
mod sqlite;

use std::collections::HashSet;

use diesel::pg::PgConnection;
use diesel::sqlite::SqliteConnection;

use self::source::{Told, Work};

/// How many works are read and written together.
const BATCH: i64 = 2_000;
/// How many of the works that are left out are named.
const NAMED: usize = 10;
/// The origins of works, as they stand before the dash of a code.
const ORIGINS: [&str; 2] = ["api", "consumer"];
/// How many letters and digits follow it.
const RANDOM_LENGTH: usize = 10;

/// A PP database to copy into, with a current schema.
pub enum Target {
    /// On PostgreSQL.
    Postgres(PgConnection),
    /// In a file of SQLite.
    Sqlite(SqliteConnection),
}

/// Why works were not copied, or not all of them; what was copied before stays, and a new call goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The database to copy from is not one of that project, or does not answer.
    #[error("--from: {0}")]
    Source(String),
    /// The database to copy into did not take them.
    #[error("PP_DATABASE_URL: {0}")]
    Target(String),
}

/// What was copied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Works that were copied now.
    pub works: u64,
    /// Events that were written for them.
    pub events: u64,
    /// How many of the works are done.
    pub done: u64,
    /// Works that were there already, by their code.
    pub present: u64,
    /// How many works PP cannot have: with a code of another form, or a bound below 1.
    pub left_out: u64,
    /// The first ids of those.
    pub left_out_ids: Vec<i64>,
}

/// A row of PP and its events, in order.
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

/// An event of PP; `status` is that of the work afterwards. Moments are Unix microseconds.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    variable: &'static str,
    value: String,
    status: &'static str,
    created_on: i64,
}

/// What one batch came to.
struct Written {
    works: u64,
    events: u64,
    done: u64,
}

/// Copies what is not there yet.
///
/// # Errors
/// When one of the databases does not do its part.
pub fn import(source: &mut PgConnection, target: &mut Target) -> Result<Imported, ImportError> {
    let from = |error: diesel::result::Error| ImportError::Source(error.to_string());
    let into = |error: diesel::result::Error| ImportError::Target(error.to_string());
    let highest = source::highest_id(source).map_err(from)?;
    if let Target::Postgres(connection) = target {
        // Before the first row: services may be creating works meanwhile.
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
        let told = source::told(source, &works).map_err(from)?;
        let mut rows = Vec::with_capacity(works.len());
        let mut codes = HashSet::with_capacity(works.len());
        for work in works {
            let events = told.get(&work.work_code).map_or(&[][..], Vec::as_slice);
            let id = work.id;
            match row(work, events) {
                // Nothing there keeps two works from having one code.
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

/// What a work is in PP; nothing where PP cannot have it.
fn row(work: Work, told: &[Told]) -> Option<Row> {
    let (origin, random) = work.work_code.split_once('-')?;
    let origin = ORIGINS.into_iter().find(|known| *known == origin)?;
    let well_formed = random.len() == RANDOM_LENGTH && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !well_formed || work.add_up_to < 1 {
        return None;
    }
    let bound = i64::from(work.add_up_to);
    let sum = bound * (bound + 1) / 2;
    let (done, mut events) = computed(told, sum);
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
    let attempted = !told_of_compute(told).is_empty();
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

fn told_of_compute(told: &[Told]) -> Vec<&Told> {
    told.iter()
        .filter(|told| told.variable.starts_with("compute/"))
        .collect()
}

/// Whether the events have the right sum, and how PP tells of the attempt.
fn computed(told: &[Told], sum: i64) -> (bool, Vec<Event>) {
    let told = told_of_compute(told);
    let (Some(first), Some(last)) = (told.first(), told.last()) else {
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
    let result = told.iter().find(|told| told.variable == "compute/result");
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
    let stop = told
        .iter()
        .find(|told| told.variable == "compute/stop")
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

    fn told(variable: &str, value: &str, created_on: i64) -> Told {
        Told {
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
    fn the_right_sum_among_the_events_makes_a_work_done() {
        let events = [
            told("compute/start", "", 1_100),
            told("compute/stop", "", 1_200),
            told("compute/result", "10", 1_300),
        ];
        let row = row(work("consumer-0123456789", 4), &events).unwrap();
        assert_eq!((row.status, row.result, row.attempt), ("done", Some(10), 1));
        let expected = ["compute/start=@1100", "compute/stop=@1200", "compute/result=10@1300"];
        assert_eq!(in_words(&row), expected);
    }

    #[test]
    fn a_sum_that_leaves_out_the_bound_is_an_attempt_that_failed() {
        let events = [
            told("compute/start", "", 1_100),
            told("compute/stop", "", 1_200),
            told("compute/result", "6", 1_300),
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
    fn what_was_created_or_only_begun_is_computed() {
        let created = row(work("api-0123456789", 4), &[]).unwrap();
        assert_eq!((created.status, created.attempt), ("pending", 1));
        assert_eq!(in_words(&created), ["work/created=4@1000"]);
        let begun = row(work("consumer-0123456789", 4), &[told("compute/start", "", 1_100)]).unwrap();
        assert_eq!((begun.status, begun.attempt), ("pending", 2));
        let expected = [
            "compute/start=@1100",
            "compute/error=imported: the attempt did not end@1100",
        ];
        assert_eq!(in_words(&begun), expected);
    }

    #[test]
    fn what_pp_cannot_have_is_left_out() {
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
