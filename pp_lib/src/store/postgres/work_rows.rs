//! Works as the API serves them: their creation, look-up and search.

use async_trait::async_trait;
use diesel::pg::Pg;
use diesel::pg::data_types::PgTimestamp;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::create_rows::{self, CreateRows};
use super::failure::Failure;
use super::prepared::Prepared;
use super::trial;
use crate::domain::{Origin, PrefixSelection, Work, WorkCode, WorkCodePrefix, WorkId};
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
    id: i64,
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
    pub(super) fn into_work(self) -> std::result::Result<Work, Failure> {
        let id = self.id;
        Ok(Work {
            id: WorkId(id),
            work_code: parsed(id, self.work_code.parse())?,
            add_up_to: parsed(id, i64::from(self.add_up_to).try_into())?,
            created_on: unix_seconds(self.created_on),
            updated_on: unix_seconds(self.updated_on),
            status: parsed(id, self.status.parse())?,
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
    moment.0 + EPOCH_SECONDS * 1_000_000
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
        self.run(move |connection| match selected(&search) {
            None => Ok(Vec::new()),
            Some(query) => works(query.load(connection)?),
        })
        .await
    }
}

/// The statement for a search, or nothing when nothing can match.
///
/// Names of statuses and origins are the program's own and stand in the text, so that partial indexes are seen to fit;
/// whatever a user typed is bound.
fn selected(search: &Search) -> Option<BoxedSqlQuery<'static, Pg, SqlQuery>> {
    let mut query = sql_query(format!("SELECT {COLUMNS} FROM works WHERE deleted_on IS NULL")).into_boxed::<Pg>();
    let mut bound = 0;
    let mut next = |condition: &str| {
        bound += 1;
        format!("{condition} ${bound}")
    };
    match search.work_code.as_ref().map(WorkCodePrefix::selection) {
        None | Some(PrefixSelection::All) => {}
        Some(PrefixSelection::Nothing) => return None,
        Some(PrefixSelection::Origin(origin)) => query = query.sql(of_origin(origin)),
        Some(PrefixSelection::Codes { from, to }) => {
            // Where many codes share a prefix, the index by origin finds the newest ones without reading all of them.
            let origin = Origin::ALL
                .into_iter()
                .find(|origin| from.starts_with(origin.as_str()))?;
            query = query
                .sql(of_origin(origin))
                .sql(next(" AND work_code >="))
                .bind::<Text, _>(from.to_owned())
                .sql(next(" AND work_code <"))
                .bind::<Text, _>(to);
        }
    }
    if let Some((status, within)) = search.status {
        let operator = if within { "=" } else { "<>" };
        query = query.sql(format!(" AND status {operator} '{status}'"));
    }
    if let Some(since) = search.since {
        let since = from_unix_seconds(since);
        query = query.sql(next(" AND created_on >=")).bind::<Timestamptz, _>(since);
    }
    if let Some(before) = search.before {
        query = query.sql(next(" AND id <")).bind::<BigInt, _>(before.0);
    }
    let query = query.sql(next(" ORDER BY id DESC LIMIT"));
    Some(query.bind::<BigInt, _>(i64::from(search.limit)))
}

fn of_origin(origin: Origin) -> String {
    format!(" AND origin = '{}'", origin.as_str())
}
