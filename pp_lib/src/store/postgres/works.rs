//! Works as the API serves them: their creation, look-up and search.

use async_trait::async_trait;
use diesel::sql_types::{Array, BigInt, Text, Timestamptz};
use diesel::{OptionalExtension as _, RunQueryDsl as _, sql_query};

use super::prepared::Prepared;
use super::rows::{WORK, WorkRow, column, from_unix_seconds, works, works_within};
use super::{PostgresStore, create, search, trial};
use crate::domain::{CreatedWork, KindName, PART_BYTES, Unique, Work, WorkCode, WorkId};
use crate::store::{NewWork, Result, Search, WorkRows};

#[async_trait]
impl WorkRows for PostgresStore {
    async fn create(&self, new: &[NewWork]) -> Result<Vec<Option<CreatedWork>>> {
        let Some(first) = new.first().cloned() else {
            return Ok(Vec::new());
        };
        let rows = create::in_order(new);
        let works = self
            .run_proved(
                new.len(),
                move |connection| create::create(connection, &rows),
                move |connection| trial::create(connection, &first),
            )
            .await?;
        Ok(new.iter().map(|new| works.get(&create::key_of(new)).cloned()).collect())
    }

    async fn create_all(&self, new: &[NewWork]) -> Result<Option<Vec<CreatedWork>>> {
        let Some(first) = new.first().cloned() else {
            return Ok(Some(Vec::new()));
        };
        let rows = create::in_order(new);
        let works = self
            .run_proved(
                1,
                move |connection| create::create_all(connection, &rows),
                move |connection| trial::create(connection, &first),
            )
            .await?;
        // Without a work for each there is none.
        Ok(works.and_then(|works| {
            let work = |new: &NewWork| works.get(&create::key_of(new)).cloned();
            new.iter().map(work).collect()
        }))
    }

    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>> {
        let ids = column(ids, |id| id.0);
        let select = select_by("id", ids.len());
        self.run(move |connection| {
            let statement = sql_query(&select).bind::<Array<BigInt>, _>(&ids);
            works(Prepared(statement).load(connection)?)
        })
        .await
    }

    async fn by_unique(&self, kind: &KindName, unique: &Unique, since: i64) -> Result<Option<Work>> {
        let (kind, unique) = (kind.clone(), unique.clone());
        let select = format!(
            "SELECT {WORK} FROM works
            WHERE kind = $1 AND unique_key = $2 AND deleted_on IS NULL
                AND (status IN ('pending', 'running') OR updated_on >= $3)
            ORDER BY id DESC LIMIT 1"
        );
        self.run(move |connection| {
            let statement = sql_query(&select)
                .bind::<Text, _>(kind.as_str())
                .bind::<Text, _>(unique.as_str())
                .bind::<Timestamptz, _>(from_unix_seconds(since));
            let row: Option<WorkRow> = statement.get_result(connection).optional()?;
            row.map(WorkRow::into_work).transpose()
        })
        .await
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>> {
        let codes = column(codes, |code| code.as_str().to_owned());
        let select = select_by("work_code", codes.len());
        self.run(move |connection| {
            let statement = sql_query(&select).bind::<Array<Text>, _>(&codes);
            works(Prepared(statement).load(connection)?)
        })
        .await
    }

    async fn search(&self, search: &Search) -> Result<Vec<Work>> {
        let search = search.clone();
        self.run(move |connection| search::search(connection, &search)).await
    }

    async fn count(&self, search: &Search, most: u32) -> Result<u32> {
        let search = search.clone();
        self.run(move |connection| search::count(connection, &search, most))
            .await
    }
}

/// So few works have not more than [`PART_BYTES`], whatever they are.
const FEW: usize = 4;

/// A select of works by their keys. What many works have is summed up on the way.
fn select_by(column: &str, keys: usize) -> String {
    let select = format!("SELECT {WORK} FROM works WHERE {column} = ANY($1) AND deleted_on IS NULL");
    match keys <= FEW {
        true => select,
        false => works_within(PART_BYTES, &select, ""),
    }
}
