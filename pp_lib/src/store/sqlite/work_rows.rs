//! Works created, read and searched.

use std::collections::HashMap;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::super::{NewWork, Result, Search, WorkRows};
use super::deltas::{self, Moved};
use super::{NOW, SqliteStore, json_rows, search, trial, unexpected};
use crate::domain::{AddUpTo, Work, WorkCode, WorkId};

/// The columns of a [`WorkRow`].
pub(super) const COLUMNS: &str =
    "id, work_code, message_id, add_up_to, created_on, updated_on, status, result, version, run_at";

#[derive(QueryableByName)]
pub(super) struct WorkRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Integer)]
    add_up_to: i32,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
    #[diesel(sql_type = BigInt)]
    updated_on: i64,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    result: Option<i64>,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    run_at: Option<i64>,
}

impl WorkRow {
    pub(super) fn into_work(self) -> QueryResult<Work> {
        Ok(Work {
            id: WorkId(self.id),
            work_code: self.work_code.parse().map_err(|_| unexpected("work_code"))?,
            add_up_to: AddUpTo::try_from(i64::from(self.add_up_to)).map_err(|_| unexpected("add_up_to"))?,
            created_on: self.created_on.div_euclid(1000),
            updated_on: self.updated_on.div_euclid(1000),
            status: self.status.parse().map_err(|()| unexpected("status"))?,
            result: self.result,
            version: self.version,
            run_at: self.run_at.map(|run_at| run_at.div_euclid(1000)),
        })
    }
}

#[async_trait]
impl WorkRows for SqliteStore {
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<Work>>> {
        let Some(first) = works.first().cloned() else {
            return Ok(Vec::new());
        };
        let wanted = works.to_vec();
        self.write_proved(
            wanted.len(),
            move |connection| create(connection, &wanted),
            move |connection| trial::create(connection, &first),
        )
        .await
    }

    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<Work>>> {
        let Some(first) = works.first().cloned() else {
            return Ok(Some(Vec::new()));
        };
        let wanted = works.to_vec();
        let create_all = move |connection: &mut SqliteConnection| {
            let created = connection.transaction(|connection| {
                let works = create(connection, &wanted)?.into_iter().collect::<Option<Vec<Work>>>();
                // What was inserted beside one whose code is taken is taken back.
                works.ok_or(diesel::result::Error::RollbackTransaction)
            });
            match created {
                Ok(works) => Ok(Some(works)),
                Err(diesel::result::Error::RollbackTransaction) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.write_proved(1, create_all, move |connection| trial::create(connection, &first))
            .await
    }

    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>> {
        let ids = json_rows(ids.iter().map(|id| json!(id)));
        self.read(move |connection| read_by(connection, "id", ids)).await
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>> {
        let codes = json_rows(codes.iter().map(|code| json!(code)));
        self.read(move |connection| read_by(connection, "work_code", codes))
            .await
    }

    async fn search(&self, search: &Search) -> Result<Vec<Work>> {
        let wanted = search.clone();
        self.read(move |connection| search::search(connection, &wanted)).await
    }
}

pub(super) fn create(connection: &mut SqliteConnection, works: &[NewWork]) -> QueryResult<Vec<Option<Work>>> {
    let input = json_rows(works.iter().map(|work| {
        json!([
            work.work_code,
            work.work_code.origin().as_str(),
            work.message_id.as_str(),
            work.add_up_to,
            work.run_at.map(|run_at| run_at.saturating_mul(1000))
        ])
    }));
    // `WHERE true` tells the parser that ON CONFLICT is not a join's ON.
    let inserted: Vec<WorkRow> = sql_query(format!(
        "INSERT INTO works (work_code, origin, message_id, add_up_to, run_at, due_at)
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, max({NOW}, coalesce(value ->> 4, 0))
         FROM json_each(?) WHERE true
         ON CONFLICT DO NOTHING RETURNING {COLUMNS}"
    ))
    .bind::<Text, _>(input)
    .load(connection)?;
    sql_query(
        "INSERT INTO events (work_id, generation, variable, value, status)
         SELECT works.id, generation, 'work/created', add_up_to, status
         FROM json_each(?) AS input JOIN works ON works.id = input.value WHERE origin = 'api' ORDER BY works.id",
    )
    .bind::<Text, _>(json_rows(inserted.iter().map(|row| json!(row.id))))
    .execute(connection)?;
    deltas::record(connection, inserted.iter().map(|row| Moved::new(row.id)))?;

    let mut rows: HashMap<String, WorkRow> = by_message_id(inserted);
    if rows.len() < works.len() {
        let skipped = works.iter().filter(|work| !rows.contains_key(work.message_id.as_str()));
        let skipped = json_rows(skipped.map(|work| json!(work.message_id.as_str())));
        rows.extend(by_message_id(rows_by(connection, "message_id", skipped, "true")?));
    }
    works
        .iter()
        .map(|work| {
            rows.remove(work.message_id.as_str())
                .map(WorkRow::into_work)
                .transpose()
        })
        .collect()
}

fn by_message_id(rows: Vec<WorkRow>) -> HashMap<String, WorkRow> {
    rows.into_iter().map(|row| (row.message_id.clone(), row)).collect()
}

fn read_by(connection: &mut SqliteConnection, column: &str, keys: String) -> QueryResult<Vec<Work>> {
    rows_by(connection, column, keys, "deleted_on IS NULL")?
        .into_iter()
        .map(WorkRow::into_work)
        .collect()
}

fn rows_by(connection: &mut SqliteConnection, column: &str, keys: String, and: &str) -> QueryResult<Vec<WorkRow>> {
    sql_query(format!(
        "SELECT {COLUMNS} FROM works WHERE {column} IN (SELECT value FROM json_each(?)) AND {and}"
    ))
    .bind::<Text, _>(keys)
    .load(connection)
}
