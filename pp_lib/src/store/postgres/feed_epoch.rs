//! Which feed a database has. One that is new, restored, copied or promoted does not go on from where another one was:
//! its transactions count on from elsewhere, so it gets another epoch, and readers begin anew.

use diesel::pg::PgConnection;
use diesel::sql_types::Bool;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

/// The database and the timeline of the server, as a statement that reads the feed asks for them. A standby has no
/// timeline of its own.
pub(super) const INCARNATION: &str = "
    (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' ||
    CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END";

/// The database, wherever its server is.
const MADE_IN: &str = "
    (SELECT system_identifier FROM pg_control_system()) || '/' ||
    (SELECT oid FROM pg_database WHERE datname = current_database())";

#[derive(QueryableByName)]
struct Current {
    #[diesel(sql_type = Bool)]
    current: bool,
}

/// Makes sure that the epoch is one that was made where this database is now. Events that a restored database has of
/// transactions to come are put before everything that will be written. Writes only where something changes: a program
/// may start while the database is read-only.
pub(super) fn ensure(connection: &mut PgConnection) -> QueryResult<()> {
    let epoch: Current = sql_query(format!(
        "SELECT EXISTS (SELECT FROM feed WHERE made_in = {MADE_IN} AND incarnation = {INCARNATION})
            AND NOT EXISTS (SELECT FROM events WHERE tx >= pg_snapshot_xmax(pg_current_snapshot())) AS current"
    ))
    .get_result(connection)?;
    if epoch.current {
        return Ok(());
    }
    connection.transaction(|connection| {
        // Two that start at once take turns.
        sql_query("LOCK TABLE feed IN SHARE ROW EXCLUSIVE MODE").execute(connection)?;
        let moved = sql_query(format!(
            "INSERT INTO feed (epoch, made_in, incarnation)
            SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
                {MADE_IN}, {INCARNATION}
            ON CONFLICT (one) DO UPDATE SET
                epoch = greatest(excluded.epoch, feed.epoch + 1),
                made_in = excluded.made_in, incarnation = excluded.incarnation
            WHERE feed.made_in <> excluded.made_in OR feed.incarnation <> excluded.incarnation
                OR EXISTS (SELECT FROM events WHERE tx > pg_current_xact_id())"
        ))
        .execute(connection)?;
        if moved > 0 {
            sql_query("UPDATE events SET tx = '3' WHERE tx > pg_current_xact_id()").execute(connection)?;
            sql_query("UPDATE feed SET floor_tx = '0', floor_id = 0 WHERE floor_tx > pg_current_xact_id()")
                .execute(connection)?;
        }
        Ok(())
    })
}
