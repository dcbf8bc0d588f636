//! The migration of the counters to kinds, there and back, with counters of several kinds.

use diesel::connection::LoadConnection;
use diesel::query_builder::SqlQuery;
use diesel::query_dsl::LoadQuery;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl as _, sql_query};

/// Before the migration: counters without kinds.
const BEFORE: &str = "
    INSERT INTO stat_deltas (origin, status, works) VALUES ('api', 'pending', 2);
    INSERT INTO stat_totals (origin, status, works) VALUES ('api', 'done', 5), ('consumer', 'failed', 1);
    INSERT INTO stat_seconds (second, latency, works) VALUES (1, -1, 4), (1, 7, 2)";

/// After it: the same counters of other kinds, and some that sums do not have.
const AFTER: &str = "
    INSERT INTO stat_deltas (kind, origin, was, status, works) VALUES ('mail', 'api', 'pending', 'done', 3);
    INSERT INTO stat_totals (kind, origin, status, works) VALUES
        ('mail', 'api', 'done', 10), ('bulk', 'api', 'done', 100), ('mail', 'api', 'pending', 20);
    INSERT INTO stat_seconds (second, kind, latency, works) VALUES (1, 'mail', 7, 10), (2, 'mail', 7, 1), (2, 'bulk', 7, 1)";

const DELTAS: &str = "SELECT concat_ws(' ', origin, was, status, works) AS line FROM stat_deltas ORDER BY works";
const TOTALS: &str = "SELECT concat_ws(' ', origin, status, works) AS line FROM stat_totals ORDER BY works";
const SECONDS: &str =
    "SELECT concat_ws(' ', second, latency, works) AS line FROM stat_seconds ORDER BY second, latency";
const KINDS: &str = "SELECT concat_ws(' ', kind, sum(works)) AS line FROM stat_totals GROUP BY kind ORDER BY kind";

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

fn lines<C>(connection: &mut C, sql: &str) -> Vec<String>
where
    C: Connection + LoadConnection,
    SqlQuery: for<'query> LoadQuery<'query, C, Line>,
{
    let lines: Vec<Line> = sql_query(sql).load(connection).unwrap();
    lines.into_iter().map(|line| line.line).collect()
}

/// Goes back and forth on a database with the newest schema.
fn counters_keep_their_works<C>(connection: &mut C, up: &str, down: &str)
where
    C: Connection + LoadConnection,
    SqlQuery: for<'query> LoadQuery<'query, C, Line>,
{
    connection.batch_execute(down).unwrap();
    connection.batch_execute(BEFORE).unwrap();
    connection.batch_execute(up).unwrap();
    assert_eq!(lines(connection, KINDS), ["add_up_to 6"]);
    assert_eq!(lines(connection, TOTALS), ["consumer failed 1", "api done 5"]);
    connection.batch_execute(AFTER).unwrap();
    assert_eq!(lines(connection, KINDS), ["add_up_to 6", "bulk 100", "mail 30"]);

    connection.batch_execute(down).unwrap();
    assert_eq!(lines(connection, DELTAS), ["api pending 2", "api pending done 3"]);
    assert_eq!(
        lines(connection, TOTALS),
        ["consumer failed 1", "api pending 20", "api done 115"]
    );
    assert_eq!(lines(connection, SECONDS), ["1 -1 4", "1 7 12", "2 7 2"]);

    connection.batch_execute(up).unwrap();
    assert_eq!(lines(connection, KINDS), ["add_up_to 136"]);
}

mod embedded {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    use diesel::sqlite::SqliteConnection;

    #[test]
    fn counters_keep_their_works_on_the_way_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite").display().to_string();
        let mut connection = SqliteConnection::establish(&file).unwrap();
        pp_storage::migrate_sqlite(&mut connection).unwrap();
        // Its triggers name the tables that are made anew.
        let later = include_str!("../../migrations/sqlite/0019_push/down.sql");
        connection.batch_execute(later).unwrap();
        super::counters_keep_their_works(
            &mut connection,
            include_str!("../../migrations/sqlite/0013_stats_by_kind/up.sql"),
            include_str!("../../migrations/sqlite/0013_stats_by_kind/down.sql"),
        );
    }
}

mod on_servers {
    use diesel::Connection as _;
    use diesel::pg::PgConnection;

    use crate::store_schema::on_servers::Missing;
    use crate::store_schema::run;

    #[test]
    fn counters_keep_their_works_on_the_way_and_back() {
        let database = Missing::new("stats_by_kind");
        assert_eq!(run(&["migrate"], Some(database.url.as_str())).0, 0);
        let mut connection = PgConnection::establish(database.url.as_str()).unwrap();
        super::counters_keep_their_works(
            &mut connection,
            include_str!("../../migrations/postgres/0013_stats_by_kind/up.sql"),
            include_str!("../../migrations/postgres/0013_stats_by_kind/down.sql"),
        );
    }
}
