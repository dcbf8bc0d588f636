//! Fills columns of existing works before a migration that needs them, in parts that are committed one by one. An
//! interrupted fill goes on with the next start.

use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Nullable};
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

/// The migration that needs the arguments of all works as JSON.
pub(super) const NEEDED_BY: &str = "0010";

/// Works that one statement fills: few enough to finish within seconds.
const AT_ONCE: i64 = 10_000;

/// Works between two lines of progress.
const TOLD_EVERY: i64 = 200_000;

#[derive(QueryableByName)]
struct Part {
    /// The last id looked at; none behind the last work.
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
    #[diesel(sql_type = BigInt)]
    filled: i64,
}

/// Writes arguments and results of sums as JSON. `progress` gets a line when it takes long.
pub(super) fn fill(connection: &mut PgConnection, progress: &mut dyn FnMut(String)) -> QueryResult<()> {
    let (mut after, mut filled, mut told) = (i64::MIN, 0, 0);
    loop {
        let part: Part = sql_query(
            "WITH part AS MATERIALIZED (
                SELECT id FROM works WHERE id > $1 ORDER BY id LIMIT $2
            ), filled AS (
                UPDATE works SET
                    args = ('{\"add_up_to\":' || old_add_up_to || '}')::json, result = to_json(old_result)
                -- A range rather than a join: a join may read all works before these, for each part.
                WHERE id > $1 AND id <= (SELECT max(id) FROM part) AND args IS NULL
                RETURNING id
            )
            SELECT (SELECT max(id) FROM part) AS last, (SELECT count(*) FROM filled) AS filled",
        )
        .bind::<BigInt, _>(after)
        .bind::<BigInt, _>(AT_ONCE)
        .get_result(connection)?;
        let Some(last) = part.last else {
            return Ok(());
        };
        (after, filled) = (last, filled + part.filled);
        if filled - told >= TOLD_EVERY {
            progress(format!(
                "arguments and results of {filled} works were written as JSON, up to work {last}"
            ));
            told = filled;
        }
    }
}
