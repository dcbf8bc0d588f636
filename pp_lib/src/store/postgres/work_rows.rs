//! Works as the API serves them: their creation, look-up and search.

use async_trait::async_trait;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::create_rows::{self, CreateRows};
use super::failure::Failure;
use super::prepared::Prepared;
use super::{search, trial};
use crate::domain::{Status, Work, WorkCode, WorkId};
use crate::store::{NewWork, Result, Search, WorkRows};

/// Seconds and microseconds from the Unix epoch to PostgreSQL's, the first day of 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

/// The columns of a [`Row`].
pub(super) const COLUMNS: &str =
    "id, message_id, work_code, add_up_to, status::text AS status, result, version, created_on, updated_on, run_at";

/// A row, before its texts are parsed.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Text)]
    pub(super) message_id: String,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Integer)]
    pub(super) add_up_to: i32,
    #[diesel(sql_type = Text)]
    pub(super) status: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    result: Option<i64>,
    #[diesel(sql_type = BigInt)]
    pub(super) version: i64,
    #[diesel(sql_type = Timestamptz)]
    created_on: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    updated_on: PgTimestamp,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    run_at: Option<PgTimestamp>,
}

impl Row {
    pub(super) fn status(&self) -> std::result::Result<Status, Failure> {
        parsed(self.id, self.status.parse())
    }

    pub(super) fn into_work(self) -> std::result::Result<Work, Failure> {
        let id = self.id;
        Ok(Work {
            id: WorkId(id),
            work_code: parsed(id, self.work_code.parse())?,
            add_up_to: parsed(id, i64::from(self.add_up_to).try_into())?,
            created_on: unix_seconds(self.created_on),
            updated_on: unix_seconds(self.updated_on),
            status: self.status()?,
            result: self.result,
            version: self.version,
            run_at: self.run_at.map(unix_seconds),
        })
    }
}

/// What the schema's constraints let through parses, so long as nobody changed them.
pub(super) fn parsed<T, E>(id: i64, value: std::result::Result<T, E>) -> std::result::Result<T, Failure> {
    value.map_err(|_| Failure::Unreadable(format!("the row of work {id} is not one that this program writes")))
}

pub(super) fn unix_seconds(moment: PgTimestamp) -> i64 {
    moment.0.div_euclid(1_000_000) + EPOCH_SECONDS
}

pub(super) fn unix_microseconds(moment: PgTimestamp) -> i64 {
    moment.0.saturating_add(EPOCH_SECONDS * 1_000_000)
}

/// A moment of the years that PostgreSQL knows; what is beyond them is as good as their ends.
pub(super) fn from_unix_seconds(moment: i64) -> PgTimestamp {
    const THE_YEAR_1: i64 = -62_135_596_800;
    const THE_YEAR_10000: i64 = 253_402_300_800;
    PgTimestamp((moment.clamp(THE_YEAR_1, THE_YEAR_10000) - EPOCH_SECONDS) * 1_000_000)
}

pub(super) fn from_unix_microseconds(moment: i64) -> PgTimestamp {
    PgTimestamp(moment.saturating_sub(EPOCH_SECONDS * 1_000_000))
}

fn works(rows: Vec<Row>) -> std::result::Result<Vec<Work>, Failure> {
    rows.into_iter().map(Row::into_work).collect()
}

#[async_trait]
impl WorkRows for PostgresStore {
    async fn create(&self, new: &[NewWork]) -> Result<Vec<Option<Work>>> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let rows = CreateRows::new(new);
        let first = new[0].clone();
        let works = self
            .run_proved(
                new.len(),
                move |connection| create_rows::create(connection, &rows),
                move |connection| trial::create(connection, &first),
            )
            .await?;
        Ok(new
            .iter()
            .map(|new| works.get(new.message_id.as_str()).cloned())
            .collect())
    }

    async fn create_all(&self, new: &[NewWork]) -> Result<Option<Vec<Work>>> {
        let Some(first) = new.first().cloned() else {
            return Ok(Some(Vec::new()));
        };
        let rows = CreateRows::new(new);
        let works = self
            .run_proved(
                1,
                move |connection| create_rows::create_all(connection, &rows),
                move |connection| trial::create(connection, &first),
            )
            .await?;
        // Without a work for each there is none.
        Ok(works.and_then(|works| {
            let work = |new: &NewWork| works.get(new.message_id.as_str()).cloned();
            new.iter().map(work).collect()
        }))
    }

    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let select = format!("SELECT {COLUMNS} FROM works WHERE id = ANY($1) AND deleted_on IS NULL");
        self.run(move |connection| {
            let statement = sql_query(&select).bind::<Array<BigInt>, _>(&ids);
            works(Prepared(statement).load(connection)?)
        })
        .await
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>> {
        let codes: Vec<String> = codes.iter().map(|code| code.as_str().to_owned()).collect();
        let select = format!("SELECT {COLUMNS} FROM works WHERE work_code = ANY($1) AND deleted_on IS NULL");
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
