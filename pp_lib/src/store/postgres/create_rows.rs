//! The statement that creates works, and the arrays it is given.

use std::collections::{HashMap, HashSet};

use diesel::pg::PgConnection;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, Integer, Nullable, Text, Timestamptz};
use diesel::{Connection as _, QueryResult, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::prepared::{OnConflict, Prepared, skipping_at_need};
use super::work_rows::{COLUMNS, Row, from_unix_seconds};
use crate::domain::Work;
use crate::store::NewWork;

/// New works as columns, in the order of `message_id`.
pub(super) struct CreateRows {
    message_ids: Vec<String>,
    codes: Vec<String>,
    origins: Vec<String>,
    bounds: Vec<i32>,
    run_at: Vec<Option<PgTimestamp>>,
}

/// Works by their `message_id`.
type Created = HashMap<String, Work>;

impl CreateRows {
    pub(super) fn new(works: &[NewWork]) -> Self {
        let mut sorted: Vec<&NewWork> = works.iter().collect();
        sorted.sort_unstable_by(|one, other| one.message_id.cmp(&other.message_id));
        let texts = |text: fn(&NewWork) -> &str| sorted.iter().map(|new| text(new).to_owned()).collect();
        Self {
            message_ids: texts(|new| new.message_id.as_str()),
            codes: texts(|new| new.work_code.as_str()),
            origins: texts(|new| new.work_code.origin().as_str()),
            bounds: sorted.iter().map(|new| new.add_up_to.get()).collect(),
            run_at: sorted.iter().map(|new| new.run_at.map(from_unix_seconds)).collect(),
        }
    }
}

/// Inserts them; the works that there are then, whether inserted now or before.
pub(super) fn create(connection: &mut PgConnection, rows: &CreateRows) -> Result<Created, Failure> {
    let inserted = skipping_at_need(connection, |connection, on_conflict| {
        insert(connection, rows, on_conflict)
    })?;
    with_present(connection, rows, inserted)
}

/// Those that were inserted.
fn insert(connection: &mut PgConnection, rows: &CreateRows, on_conflict: OnConflict) -> QueryResult<Vec<Row>> {
    let statement = sql_query(format!(
        "WITH inserted AS (
            INSERT INTO works (work_code, origin, message_id, add_up_to, run_at, due_at)
            SELECT work_code, origin, message_id, add_up_to, run_at, greatest(now(), run_at)
            FROM unnest($1, $2, $3::work_origin[], $4, $5) AS input (message_id, work_code, origin, add_up_to, run_at)
            {}
            RETURNING *
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, 'work/created', add_up_to::text, status FROM inserted WHERE origin = 'api'
        ), counted AS (
            INSERT INTO stat_deltas (origin, status, works)
            SELECT origin, status, count(*) FROM inserted GROUP BY origin, status
        )
        SELECT {COLUMNS} FROM inserted",
        on_conflict.clause()
    ))
    .bind::<Array<Text>, _>(&rows.message_ids)
    .bind::<Array<Text>, _>(&rows.codes)
    .bind::<Array<Text>, _>(&rows.origins)
    .bind::<Array<Integer>, _>(&rows.bounds)
    .bind::<Array<Nullable<Timestamptz>>, _>(&rows.run_at);
    Prepared(statement).load(connection)
}

/// Adds those that were there before.
fn with_present(connection: &mut PgConnection, rows: &CreateRows, mut created: Vec<Row>) -> Result<Created, Failure> {
    if created.len() < rows.message_ids.len() {
        let inserted: HashSet<&str> = created.iter().map(|row| row.message_id.as_str()).collect();
        let skipped: Vec<&String> = (rows.message_ids.iter())
            .filter(|message_id| !inserted.contains(message_id.as_str()))
            .collect();
        let present: Vec<Row> = sql_query(format!("SELECT {COLUMNS} FROM works WHERE message_id = ANY($1)"))
            .bind::<Array<Text>, _>(skipped)
            .load(connection)?;
        created.extend(present);
    }
    created
        .into_iter()
        .map(|mut row| Ok((std::mem::take(&mut row.message_id), row.into_work()?)))
        .collect()
}

/// Inserts all of them or, where another work has one of the codes, none.
pub(super) fn create_all(connection: &mut PgConnection, rows: &CreateRows) -> Result<Option<Created>, Failure> {
    let outcome = connection.transaction(|connection| {
        let inserted = insert(connection, rows, OnConflict::Skip)?;
        let created = with_present(connection, rows, inserted).map_err(Abort::Failed)?;
        if created.len() == rows.message_ids.len() {
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

/// Why a transaction is rolled back.
enum Abort {
    CodeTaken,
    Failed(Failure),
}

impl From<diesel::result::Error> for Abort {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}
