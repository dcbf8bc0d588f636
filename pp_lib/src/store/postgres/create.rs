//! The statement that creates works.

use std::collections::{HashMap, HashSet};

use diesel::pg::PgConnection;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz};
use diesel::{Connection as _, QueryResult, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::prepared::{OnConflict, Prepared, skipping_at_need};
use super::rows::{WORK, WorkRow, column, from_unix_seconds};
use crate::domain::Work;
use crate::store::NewWork;

/// Works by their `message_id` and kind.
type Created = HashMap<(String, String), Work>;

/// Inserts works that are sorted by `message_id` and kind; returns the works there are then, inserted now or before.
pub(super) fn create(connection: &mut PgConnection, works: &[NewWork]) -> Result<Created, Failure> {
    let inserted = skipping_at_need(connection, |connection, on_conflict| {
        insert(connection, works, on_conflict)
    })?;
    with_present(connection, works, inserted)
}

/// Inserts all of them or, where another work has one of the codes, none.
pub(super) fn create_all(connection: &mut PgConnection, works: &[NewWork]) -> Result<Option<Created>, Failure> {
    let outcome = connection.transaction(|connection| {
        let inserted = insert(connection, works, OnConflict::Skip)?;
        let created = with_present(connection, works, inserted).map_err(Abort::Failed)?;
        if created.len() == works.len() {
            Ok(created)
        } else {
            Err(Abort::CodeTaken)
        }
    });
    match outcome {
        Ok(created) => Ok(Some(created)),
        Err(Abort::CodeTaken) => Ok(None),
        Err(Abort::Failed(failure)) => Err(failure),
    }
}

/// Returns the rows that were inserted.
fn insert(connection: &mut PgConnection, works: &[NewWork], on_conflict: OnConflict) -> QueryResult<Vec<WorkRow>> {
    let statement = sql_query(format!(
        "WITH inserted AS (
            INSERT INTO works (kind, work_code, origin, message_id, args, run_at, due_at)
            SELECT kind, work_code, origin, message_id, args::json, run_at, greatest(now(), run_at)
            FROM unnest($1, $2, $3, $4::work_origin[], $5, $6)
                AS input (message_id, kind, work_code, origin, args, run_at)
            {}
            RETURNING *
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, 'work/created',
                CASE kind WHEN 'add_up_to' THEN args ->> 'add_up_to' ELSE args::text END, status
            FROM inserted WHERE origin = 'api'
        ), counted AS (
            INSERT INTO stat_deltas (kind, origin, status, works)
            SELECT kind, origin, status, count(*) FROM inserted GROUP BY kind, origin, status
        )
        SELECT {WORK} FROM inserted",
        on_conflict.clause()
    ))
    .bind::<Array<Text>, _>(column(works, |work| work.message_id.as_str()))
    .bind::<Array<Text>, _>(column(works, |work| work.kind.as_str()))
    .bind::<Array<Text>, _>(column(works, |work| work.work_code.as_str()))
    .bind::<Array<Text>, _>(column(works, |work| work.work_code.origin().as_str()))
    .bind::<Array<Text>, _>(column(works, |work| work.args.as_str()))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(works, |work| work.run_at.map(from_unix_seconds)));
    Prepared(statement).load(connection)
}

/// Adds the works that were there before.
fn with_present(
    connection: &mut PgConnection,
    works: &[NewWork],
    mut created: Vec<WorkRow>,
) -> Result<Created, Failure> {
    if created.len() < works.len() {
        let inserted: HashSet<(&str, &str)> = created.iter().map(WorkRow::key).collect();
        let mut skipped = column(works, NewWork::key);
        skipped.retain(|key| !inserted.contains(key));
        let present: Vec<WorkRow> = sql_query(format!(
            "SELECT {WORK} FROM works JOIN unnest($1, $2) AS skipped (message_id, kind) USING (message_id, kind)"
        ))
        .bind::<Array<Text>, _>(column(&skipped, |(message_id, _)| *message_id))
        .bind::<Array<Text>, _>(column(&skipped, |(_, kind)| *kind))
        .load(connection)?;
        created.extend(present);
    }
    created
        .into_iter()
        .map(|row| {
            let (message_id, kind) = row.key();
            Ok(((message_id.to_owned(), kind.to_owned()), row.into_work()?))
        })
        .collect()
}

/// The reason to roll back.
enum Abort {
    CodeTaken,
    Failed(Failure),
}

impl From<diesel::result::Error> for Abort {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}
