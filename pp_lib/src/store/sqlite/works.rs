//! Works created, read and searched.

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, OptionalExtension as _, QueryResult, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::rows::{WORK, WorkRow, json_rows, load_within};
use super::{SqliteStore, create, search, trial};
use crate::domain::{CreatedWork, KindName, PART_BYTES, Unique, Work, WorkCode, WorkId};
use crate::store::{NewWork, Result, Search, WorkRows};

#[async_trait]
impl WorkRows for SqliteStore {
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<CreatedWork>>> {
        let Some(first) = works.first().cloned() else {
            return Ok(Vec::new());
        };
        let wanted = works.to_vec();
        self.write_proved(
            wanted.len(),
            move |connection| create::create(connection, &wanted),
            move |connection| trial::create(connection, &first),
        )
        .await
    }

    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<CreatedWork>>> {
        let Some(first) = works.first().cloned() else {
            return Ok(Some(Vec::new()));
        };
        let wanted = works.to_vec();
        let create_all = move |connection: &mut SqliteConnection| {
            let created = connection.transaction(|connection| {
                let works = create::create(connection, &wanted)?
                    .into_iter()
                    .collect::<Option<Vec<CreatedWork>>>();
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

    async fn by_unique(&self, kind: &KindName, unique: &Unique, since: i64) -> Result<Option<Work>> {
        let (kind, unique) = (kind.clone(), unique.clone());
        self.read(move |connection| {
            let row: Option<WorkRow> = sql_query(format!(
                "SELECT {WORK} FROM works
                 WHERE kind = ?1 AND unique_key = ?2 AND deleted_on IS NULL
                   AND (status IN ('pending', 'running') OR updated_on >= ?3)
                 ORDER BY id DESC LIMIT 1"
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(unique.as_str())
            .bind::<BigInt, _>(since.saturating_mul(1000))
            .get_result(connection)
            .optional()?;
            row.map(WorkRow::into_work).transpose()
        })
        .await
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

    async fn count(&self, search: &Search, most: u32) -> Result<u32> {
        let wanted = search.clone();
        self.read(move |connection| search::count(connection, &wanted, most))
            .await
    }
}

fn read_by(connection: &mut SqliteConnection, column: &str, keys: String) -> QueryResult<Vec<Work>> {
    let select = sql_query(format!(
        "SELECT {WORK} FROM works WHERE {column} IN (SELECT value FROM json_each(?)) AND deleted_on IS NULL"
    ));
    let rows = load_within(connection, select.bind::<Text, _>(keys), PART_BYTES, WorkRow::bytes)?;
    rows.into_iter().map(WorkRow::into_work).collect()
}
