//! The statements that search works.

use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel::{QueryResult, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::rows::{Count, Id, WORK, WorkRow, json_rows, load_within};
use crate::domain::{PAGE_BYTES, Status, Work};
use crate::store::Search;
use crate::store::searching::{AROUND, Conditions, SearchPlan, Since};

/// The works that match, newest first.
pub(super) fn search(connection: &mut SqliteConnection, search: &Search) -> QueryResult<Vec<Work>> {
    let Some(plan) = search.plan() else {
        return Ok(Vec::new());
    };
    let (since, place) = begin(connection, search, &plan)?;
    let statement = statement(text(search, &plan, since, place));
    let rows = load_within(connection, statement, PAGE_BYTES, WorkRow::bytes)?;
    rows.into_iter().map(WorkRow::into_work).collect()
}

/// The number of works that match, at most `most`.
pub(super) fn count(connection: &mut SqliteConnection, search: &Search, most: u32) -> QueryResult<u32> {
    let Some(plan) = search.plan() else {
        return Ok(0);
    };
    let (since, place) = begin(connection, search, &plan)?;
    let (found, values) = found(search, &plan, since, place, most.into());
    let counted: Count =
        statement((format!("SELECT count(*) AS count FROM ({found})"), values)).get_result(connection)?;
    Ok(u32::try_from(counted.count).unwrap_or(most))
}

/// The moment in the store's unit, and the works around it.
fn begin(connection: &mut SqliteConnection, search: &Search, plan: &SearchPlan) -> QueryResult<(Option<i64>, Since)> {
    let since = search.since.map(|since| since.saturating_mul(1000));
    let place = match since {
        Some(since) if !plan.by_code => around(connection, since)?,
        _ => Since::Any,
    };
    Ok((since, place))
}

/// The ids of works around that moment.
fn around(connection: &mut SqliteConnection, since: i64) -> QueryResult<Since> {
    let mut ids = |side: &str, order: &str, limit: i32| {
        let ids: QueryResult<Vec<Id>> = sql_query(format!(
            "SELECT id FROM works INDEXED BY works_created_on WHERE created_on {side} ? ORDER BY created_on {order} LIMIT ?"
        ))
        .bind::<BigInt, _>(since)
        .bind::<Integer, _>(limit)
        .load(connection);
        ids.map(|ids| ids.into_iter().map(|row| row.id).collect::<Vec<i64>>())
    };
    let later = ids(">=", "ASC", i32::from(AROUND) + 1)?;
    Ok(Since::of(later, &ids("<", "DESC", i32::from(AROUND))?))
}

fn statement((sql, values): (String, Vec<Value>)) -> BoxedSqlQuery<'static, Sqlite, SqlQuery> {
    values
        .into_iter()
        .fold(sql_query(sql).into_boxed::<Sqlite>(), Value::bind)
}

/// The text of a search, and the values in the order of its parameters.
fn text(search: &Search, plan: &SearchPlan, since: Option<i64>, place: Since) -> (String, Vec<Value>) {
    let (found, values) = found(search, plan, since, place, search.limit.into());
    let sql = format!("SELECT {WORK} FROM works WHERE id IN ({found}) ORDER BY id DESC");
    (sql, values)
}

/// The ids of the works that match, at most `limit`. The index of each walk is named: SQLite knows nothing of how the
/// rows are spread, and would else guess. Rows are read only where a condition needs them.
fn found(search: &Search, plan: &SearchPlan, since: Option<i64>, place: Since, limit: i64) -> (String, Vec<Value>) {
    let read_all = plan.by_code || matches!(place, Since::Few(_));
    // Behind a plus a column is no reason to choose its index.
    let plus = if read_all { "+" } else { "" };
    let mut conditions = Conditions::new('?');
    let limit = conditions.bind(Value::Number(limit));
    if let Some((from, to)) = &plan.codes {
        conditions.and("work_code >=", Value::Text(from.clone()));
        conditions.and("work_code <", Value::Text(to.clone()));
    }
    if let Some(kind) = &search.kind {
        conditions.and("kind =", Value::Text(kind.to_string()));
    }
    if let Some(since) = since {
        conditions.and(&format!("{plus}created_on >="), Value::Number(since));
    }
    if let Some(before) = search.before {
        conditions.and(&format!("{plus}id <"), Value::Number(before.0));
    }
    match place {
        Since::Any => {}
        Since::Few(ids) => {
            let ids = conditions.bind(Value::Text(json_rows(ids.iter().map(|id| json!(id)))));
            conditions.text += &format!(" AND id IN (SELECT value FROM json_each({ids}))");
        }
        Since::From(id) => conditions.and("id >=", Value::Number(id)),
    }
    let Conditions { text, values, .. } = conditions;
    let found = if read_all {
        let kinds = plan.kinds_in_sql();
        format!(
            "SELECT id FROM works WHERE deleted_on IS NULL AND status || ' ' || origin IN ({kinds}){text}
             ORDER BY +id DESC"
        )
    } else {
        format!("{} ORDER BY id DESC", walks(search, plan, &text, &limit))
    };
    (format!("{found} LIMIT {limit}"), values)
}

enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    fn bind(query: BoxedSqlQuery<'static, Sqlite, SqlQuery>, value: Self) -> BoxedSqlQuery<'static, Sqlite, SqlQuery> {
        match value {
            Self::Number(number) => query.bind::<BigInt, _>(number),
            Self::Text(text) => query.bind::<Text, _>(text),
        }
    }
}

/// The ids of each kind, as many as a page may need.
fn walks(search: &Search, plan: &SearchPlan, conditions: &str, limit: &str) -> String {
    let of_other_kind = search.kind.as_ref().is_some_and(|kind| !kind.is_add_up_to());
    let walks: Vec<String> = (plan.kinds.iter())
        .map(|(status, origin)| {
            let (index, those) = match of_other_kind {
                true => ("works_kind", "kind <> 'add_up_to' AND deleted_on IS NULL"),
                false => index(*status),
            };
            let origin = origin.as_str();
            format!(
                "SELECT id FROM (SELECT id FROM works INDEXED BY {index}
                     WHERE {those} AND status = '{status}' AND origin = '{origin}'{conditions}
                     ORDER BY id DESC LIMIT {limit})"
            )
        })
        .collect();
    walks.join(" UNION ALL ")
}

/// The index that a status stands in, and its own condition, which a statement has to repeat.
fn index(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Done => ("works_done", "deleted_on IS NULL"),
        Status::Pending | Status::Running => ("works_open", "status IN ('pending', 'running')"),
        Status::Failed | Status::Cancelled => (
            "works_ended",
            "status IN ('failed', 'cancelled') AND deleted_on IS NULL",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::SqliteStore;
    use diesel::QueryableByName;

    use super::*;
    use crate::domain::{WorkCodePrefix, WorkId};

    #[derive(QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    /// The plan of a statement, in SQLite's words. It does not depend on the rows.
    fn explain(connection: &mut SqliteConnection, search: &Search, place: Since) -> Vec<String> {
        let plan = search.plan().unwrap();
        let (sql, values) = text(search, &plan, search.since, place);
        let explained = sql_query(format!("EXPLAIN QUERY PLAN {sql}")).into_boxed::<Sqlite>();
        let steps: Vec<Step> = values
            .into_iter()
            .fold(explained, Value::bind)
            .load(connection)
            .unwrap();
        steps.into_iter().map(|step| step.detail).collect()
    }

    fn searches() -> Vec<Search> {
        let mut searches = Vec::new();
        let statuses = Status::ALL.map(|status| Some((status, true)));
        for status in [&statuses[..], &[None, Some((Status::Done, false))]].concat() {
            for code in ["", "api-", "consumer-a", "api-ab", "api-abcdefghij"] {
                for since in [None, Some(5)] {
                    for before in [None, Some(WorkId(7))] {
                        for kind in [None, Some("add_up_to"), Some("other")] {
                            searches.push(Search {
                                work_code: WorkCodePrefix::parse(code),
                                kind: kind.map(|kind| kind.parse().unwrap()),
                                status,
                                since,
                                before,
                                limit: 50,
                            });
                        }
                    }
                }
            }
        }
        searches
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_of_any_search_is_found_by_indexes_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let checked = store.read(|reader| {
            for search in searches() {
                let by_code = search.plan().unwrap().by_code;
                let places = match search.since {
                    Some(_) if !by_code => vec![Since::Few(vec![1, 2]), Since::From(3)],
                    _ => vec![Since::Any],
                };
                for place in places {
                    let walks = !by_code && !matches!(place, Since::Few(_));
                    let plan = explain(reader, &search, place.clone());
                    for step in plan.iter().filter(|step| step.contains(" works")) {
                        let good = [
                            "SEARCH works USING INTEGER PRIMARY KEY (rowid=?)",
                            "SEARCH works USING COVERING INDEX works_done (origin=?",
                            "SEARCH works USING INDEX works_done (origin=?",
                            "SEARCH works USING COVERING INDEX works_open (status=? AND origin=?",
                            "SEARCH works USING INDEX works_open (status=? AND origin=?",
                            "SEARCH works USING COVERING INDEX works_ended (status=? AND origin=?",
                            "SEARCH works USING INDEX works_ended (status=? AND origin=?",
                            "SEARCH works USING COVERING INDEX works_kind (kind=? AND status=? AND origin=?",
                            "SEARCH works USING INDEX works_kind (kind=? AND status=? AND origin=?",
                        ];
                        let codes = "SEARCH works USING INDEX sqlite_autoindex_works_1 (work_code>? AND work_code<?)";
                        let good = good.iter().any(|good| step.starts_with(good)) || by_code && step == codes;
                        assert!(good, "{search:?} {place:?}: {plan:#?}");
                    }
                    // Without a sort behind it a walk stops when the page is full.
                    let stops =
                        |pair: &[String]| !pair[0].contains("origin=?") || pair[1].starts_with("SCAN (subquery");
                    assert!(!walks || plan.windows(2).all(stops), "{search:?} {place:?}: {plan:#?}");
                }
            }
            Ok(())
        });
        checked.await.unwrap();
    }
}
