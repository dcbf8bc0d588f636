//! Large tables, made by PostgreSQL itself: finished works with their three events, as if they had been there for long.
//!
//! Skewed as life is: the oldest tenth came over the API, all others as messages. So the newest works of one origin lie far
//! behind those of the other.

use anyhow::Result;

use pp_chaos::ledger;

/// Puts so many works into the empty tables. Indexes are made after the rows, which takes a fraction of the time.
pub(super) async fn fill(database: &str, works: i64) -> Result<()> {
    let client = ledger::client(database).await?;
    client
        .batch_execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        .await?;
    let indexes: Vec<(String, String)> = client
        .query(INDEXES, &[])
        .await?
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_>>()?;
    for (remove, _) in &indexes {
        client.batch_execute(remove).await?;
    }
    client.execute(WORKS, &[&works]).await?;
    client.execute(EVENTS, &[&works]).await?;
    for (_, make) in &indexes {
        client.batch_execute(make).await?;
    }
    client.batch_execute(COUNTERS).await?;
    // Each on its own, for none of them runs within a transaction.
    for statement in ["VACUUM ANALYZE works", "VACUUM ANALYZE events", "CHECKPOINT"] {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

/// How each index of works and events is removed and made again; those of constraints with their constraint.
const INDEXES: &str = "
    SELECT CASE WHEN owner.conname IS NULL THEN format('DROP INDEX %s', indexrelid::regclass)
            ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', indrelid::regclass, owner.conname) END,
        CASE WHEN owner.conname IS NULL THEN pg_get_indexdef(indexrelid)
            ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', indrelid::regclass, owner.conname,
                pg_get_constraintdef(owner.oid)) END
    FROM pg_index LEFT JOIN pg_constraint AS owner ON owner.conindid = indexrelid AND owner.contype IN ('p', 'u')
    WHERE indrelid IN ('works'::regclass, 'events'::regclass)";

/// Codes are random in their first four digits and counted in the others, which keeps them different.
const WORKS: &str = r#"
    INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result, version, created_on, updated_on)
    SELECT g, 'add_up_to', CASE WHEN g <= $1 / 10 THEN 'api-' ELSE 'consumer-' END || substr(md5(g::text), 1, 4) || lpad(to_hex(g), 6, '0'),
        CASE WHEN g <= $1 / 10 THEN 'api' ELSE 'consumer' END::work_origin, md5(g::text), '{"add_up_to":10}', 'done', '55', 2, at, at
    FROM generate_series(1, $1::bigint) AS g, LATERAL (SELECT now() - ($1 - g) * interval '1 ms' AS at) AS moment"#;

const EVENTS: &str = "
    INSERT INTO events (work_id, created_on, generation, variable, value, status)
    SELECT g, at, 1, variable, value, 'done'
    FROM generate_series(1, $1::bigint) AS g, LATERAL (SELECT now() - ($1 - g) * interval '1 ms' AS at) AS moment,
        (VALUES ('compute/start'::event_variable, ''), ('compute/stop', ''), ('compute/result', '55'))
            AS told (variable, value)";

/// Ids go on behind them, and the counters know them.
const COUNTERS: &str = "
    SELECT setval(pg_get_serial_sequence('works', 'id'), max(id)) FROM works;
    DELETE FROM stat_totals;
    INSERT INTO stat_totals (kind, origin, status, works)
    SELECT kind, origin, status, count(*) FROM works GROUP BY kind, origin, status";
