//! Works as the API serves them: their creation, look-up and search.

use async_trait::async_trait;
use diesel::sql_types::{Array, BigInt, Text};
use diesel::{RunQueryDsl as _, sql_query};

use super::prepared::Prepared;
use super::rows::{WORK, column, sorted, works};
use super::{PostgresStore, create, search, trial};
use crate::domain::{Work, WorkCode, WorkId};
use crate::store::{NewWork, Result, Search, WorkRows};

#[async_trait]
impl WorkRows for PostgresStore {
    async fn create(&self, new: &[NewWork]) -> Result<Vec<Option<Work>>> {
        let Some(first) = new.first().cloned() else {
            return Ok(Vec::new());
        };
        let rows = sorted(new, NewWork::key);
        let works = self
            .run_proved(
                new.len(),
                move |connection| create::create(connection, &rows),
                move |connection| trial::create(connection, &first),
            )
            .await?;
        Ok(new.iter().map(|new| works.get(&key_of(new)).cloned()).collect())
    }

    async fn create_all(&self, new: &[NewWork]) -> Result<Option<Vec<Work>>> {
        let Some(first) = new.first().cloned() else {
            return Ok(Some(Vec::new()));
        };
        let rows = sorted(new, NewWork::key);
        let works = self
            .run_proved(
                1,
                move |connection| create::create_all(connection, &rows),
                move |connection| trial::create(connection, &first),
            )
            .await?;
        // Without a work for each there is none.
        Ok(works.and_then(|works| {
            let work = |new: &NewWork| works.get(&key_of(new)).cloned();
            new.iter().map(work).collect()
        }))
    }

    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>> {
        let ids = column(ids, |id| id.0);
        let select = format!("SELECT {WORK} FROM works WHERE id = ANY($1) AND deleted_on IS NULL");
        self.run(move |connection| {
            let statement = sql_query(&select).bind::<Array<BigInt>, _>(&ids);
            works(Prepared(statement).load(connection)?)
        })
        .await
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>> {
        let codes = column(codes, |code| code.as_str().to_owned());
        let select = format!("SELECT {WORK} FROM works WHERE work_code = ANY($1) AND deleted_on IS NULL");
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
}

fn key_of(new: &NewWork) -> (String, String) {
    let (message_id, kind) = new.key();
    (message_id.to_owned(), kind.to_owned())
}
