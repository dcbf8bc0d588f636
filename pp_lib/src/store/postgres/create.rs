//! The statement that creates works.

use std::collections::{BTreeSet, HashMap, HashSet};

use diesel::pg::PgConnection;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz};
use diesel::{Connection as _, QueryResult, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::prepared::{OnConflict, Prepared, skipping_at_need};
use super::rows::{WORK, WorkRow, column, from_unix_seconds, sorted};
use crate::domain::{CreatedWork, WebUrl, Work};
use crate::store::NewWork;

/// The answers by `message_id` and kind.
pub(super) type Created = HashMap<(String, String), CreatedWork>;

/// The works in the order in which an insert waits for others.
pub(super) fn in_order(works: &[NewWork]) -> Vec<NewWork> {
    sorted(works, |work| (work.unique_key(), work.key()))
}

/// Inserts works that are [`in_order`]; returns the works there are then, inserted now or before.
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
            INSERT INTO works (kind, work_code, origin, message_id, args, run_at, due_at, unique_key, notify)
            SELECT kind, work_code, origin, message_id, args::json, run_at, greatest(now(), run_at), unique_key,
                coalesce(notify, (SELECT '' FROM kinds WHERE name = kind AND kinds.notify IS NOT NULL))
            FROM unnest($1, $2, $3, $4::work_origin[], $5, $6, $7, $8)
                AS input (message_id, kind, work_code, origin, args, run_at, unique_key, notify)
            {}
            RETURNING *
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, 'work/created',
                CASE kind WHEN 'add_up_to' THEN args ->> 'add_up_to' ELSE args::text END, status
            FROM inserted WHERE origin <> 'consumer'
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
    .bind::<Array<Nullable<Timestamptz>>, _>(column(works, |work| work.run_at.map(from_unix_seconds)))
    .bind::<Array<Nullable<Text>>, _>(column(works, |work| work.unique_key().map(|(_, unique)| unique)))
    .bind::<Array<Nullable<Text>>, _>(column(works, |work| work.notify.as_ref().map(WebUrl::as_str)));
    Prepared(statement).load(connection)
}

/// Adds the works that were there before: those with the same identity, else those with the same `unique`.
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
    let mut answers = Created::with_capacity(works.len());
    for row in created {
        let (message_id, kind) = row.key();
        let key = (message_id.to_owned(), kind.to_owned());
        let created = CreatedWork {
            work: row.into_work()?,
            duplicate: false,
        };
        answers.insert(key, created);
    }
    add_duplicates(connection, works, &mut answers)?;
    Ok(answers)
}

/// Adds the unfinished works whose `unique` is that of works without an answer.
fn add_duplicates(connection: &mut PgConnection, works: &[NewWork], answers: &mut Created) -> Result<(), Failure> {
    let unanswered = |work: &&NewWork| !answers.contains_key(&key_of(work));
    let unanswered: Vec<&NewWork> = works.iter().filter(unanswered).collect();
    let keys: BTreeSet<(&str, &str)> = unanswered.iter().filter_map(|work| work.unique_key()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let keys: Vec<(&str, &str)> = keys.into_iter().collect();
    let rows: Vec<WorkRow> = sql_query(format!(
        "SELECT {WORK} FROM works JOIN unnest($1, $2) AS held (kind, unique_key) USING (kind, unique_key)
        WHERE status IN ('pending', 'running')"
    ))
    .bind::<Array<Text>, _>(column(&keys, |(kind, _)| *kind))
    .bind::<Array<Text>, _>(column(&keys, |(_, unique)| *unique))
    .load(connection)?;
    let holders = rows
        .into_iter()
        .map(WorkRow::into_work)
        .collect::<Result<Vec<Work>, _>>()?;
    for work in unanswered {
        let holds = |held: &&Work| held.kind == work.kind && held.unique == work.unique;
        if let Some(held) = holders.iter().find(holds) {
            let duplicate = CreatedWork {
                work: held.clone(),
                duplicate: true,
            };
            answers.insert(key_of(work), duplicate);
        }
    }
    Ok(())
}

/// The key of a work's answer.
pub(super) fn key_of(new: &NewWork) -> (String, String) {
    let (message_id, kind) = new.key();
    (message_id.to_owned(), kind.to_owned())
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
