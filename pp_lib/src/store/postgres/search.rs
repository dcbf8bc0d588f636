//! The statements that search works.

use diesel::connection::SimpleConnection as _;
use diesel::pg::data_types::PgTimestamp;
use diesel::pg::{Pg, PgConnection};
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Text, Timestamptz};
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::rows::{Count, WORK, WorkRow, from_unix_seconds, works, works_within};
use crate::domain::{Origin, PAGE_BYTES, Status, Work};
use crate::store::Search;
use crate::store::searching::{AROUND, Conditions, SearchPlan, Since};

/// Each walk has an index in its own order, so a sort would read what the walk does not need. The planner prefers one
/// where it takes a status for rare, as it does before the first `ANALYZE`. Costs of what is switched off set off the
/// JIT compiler.
const WALK: &str = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

#[derive(QueryableByName)]
struct Around {
    #[diesel(sql_type = Array<BigInt>)]
    later: Vec<i64>,
    #[diesel(sql_type = Array<BigInt>)]
    before: Vec<i64>,
}

/// The works that match, newest first.
pub(super) fn search(connection: &mut PgConnection, search: &Search) -> Result<Vec<Work>, Failure> {
    connection.transaction(|connection| within(connection, search))
}

/// The same within a transaction, whose later statements are planned as those of a search.
pub(super) fn within(connection: &mut PgConnection, search: &Search) -> Result<Vec<Work>, Failure> {
    let Some(plan) = search.plan() else {
        return Ok(Vec::new());
    };
    connection.batch_execute(WALK)?;
    let (since, place) = begin(connection, search, &plan)?;
    let (sql, values) = found(search, &plan, since, place, WORK, search.limit.into());
    let rows: Vec<WorkRow> =
        statement(works_within(PAGE_BYTES, &sql, "ORDER BY place DESC"), values).load(connection)?;
    works(rows)
}

/// The number of works that match, at most `most`.
pub(super) fn count(connection: &mut PgConnection, search: &Search, most: u32) -> Result<u32, Failure> {
    let Some(plan) = search.plan() else {
        return Ok(0);
    };
    connection.transaction(|connection| {
        connection.batch_execute(WALK)?;
        let (since, place) = begin(connection, search, &plan)?;
        let (sql, values) = found(search, &plan, since, place, "id", most.into());
        let counted: Count =
            statement(format!("SELECT count(*) AS count FROM ({sql}) AS found"), values).get_result(connection)?;
        Ok(u32::try_from(counted.count).unwrap_or(most))
    })
}

/// The moment in the store's type, and the works around it.
fn begin(
    connection: &mut PgConnection,
    search: &Search,
    plan: &SearchPlan,
) -> QueryResult<(Option<PgTimestamp>, Since)> {
    let since = search.since.map(from_unix_seconds);
    let place = match since {
        Some(since) if !plan.by_code => around(connection, since)?,
        _ => Since::Any,
    };
    Ok((since, place))
}

fn statement(sql: String, values: Vec<Value>) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
    values.into_iter().fold(sql_query(sql).into_boxed::<Pg>(), Value::bind)
}

/// The ids of works around that moment.
fn around(connection: &mut PgConnection, since: PgTimestamp) -> QueryResult<Since> {
    let around: Around = sql_query(
        "SELECT ARRAY(SELECT id FROM works WHERE created_on >= $1 ORDER BY created_on LIMIT $2 + 1) AS later,
            ARRAY(SELECT id FROM works WHERE created_on < $1 ORDER BY created_on DESC LIMIT $2) AS before",
    )
    .bind::<Timestamptz, _>(since)
    .bind::<BigInt, _>(i64::from(AROUND))
    .get_result(connection)?;
    Ok(Since::of(around.later, &around.before))
}

/// The works that match, newest first, at most `limit`, with these columns. The text names statuses and origins, so that
/// partial indexes fit; everything a user typed is bound.
fn found(
    search: &Search,
    plan: &SearchPlan,
    since: Option<PgTimestamp>,
    place: Since,
    columns: &str,
    limit: i64,
) -> (String, Vec<Value>) {
    let mut conditions = Conditions::new('$');
    let limit = conditions.bind(Value::Number(limit));
    if let Some((from, to)) = &plan.codes {
        conditions.and("work_code >=", Value::Text(from.clone()));
        conditions.and("work_code <", Value::Text(to.clone()));
    }
    if let Some(kind) = &search.kind {
        conditions.and("kind =", Value::Text(kind.to_string()));
    }
    if let Some(since) = since {
        conditions.and("created_on >=", Value::Time(since));
    }
    if let Some(before) = search.before {
        conditions.and("id + 0 <", Value::Number(before.0));
    }
    let read_all = plan.by_code || matches!(place, Since::Few(_));
    match place {
        Since::Any => {}
        Since::Few(ids) => conditions.and("id = ANY", Value::Numbers(ids)),
        Since::From(id) => conditions.and("id + 0 >=", Value::Number(id)),
    }
    let Conditions { text, values, .. } = conditions;
    let select = format!("SELECT {columns}, id + 0 AS place FROM works WHERE deleted_on IS NULL{text}");
    let sql = if read_all {
        // As text, so that no index by status is taken for one that fits better.
        let kinds = plan.kinds_in_sql();
        format!("{select} AND status::text || ' ' || origin::text IN ({kinds}) ORDER BY place DESC LIMIT {limit}")
    } else {
        let walk = |(status, origin): &(Status, Origin)| {
            let origin = origin.as_str();
            format!("{select} AND status = '{status}' AND origin = '{origin}' ORDER BY id + 0 DESC LIMIT {limit}")
        };
        match &plan.kinds[..] {
            [one] => walk(one),
            several => {
                let walks: Vec<String> = several.iter().map(|kind| format!("({})", walk(kind))).collect();
                format!("{} ORDER BY place DESC LIMIT {limit}", walks.join(" UNION ALL "))
            }
        }
    };
    (sql, values)
}

enum Value {
    Number(i64),
    Numbers(Vec<i64>),
    Text(String),
    Time(PgTimestamp),
}

impl Value {
    fn bind(query: BoxedSqlQuery<'static, Pg, SqlQuery>, value: Self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        match value {
            Self::Number(number) => query.bind::<BigInt, _>(number),
            Self::Numbers(numbers) => query.bind::<Array<BigInt>, _>(numbers),
            Self::Text(text) => query.bind::<Text, _>(text),
            Self::Time(moment) => query.bind::<Timestamptz, _>(moment),
        }
    }
}
