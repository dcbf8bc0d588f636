//! The audit: rows written with the changes that they tell of, read, and removed when they are old.

use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::Value;

use super::PostgresStore;
use super::rows::{microseconds, unix_seconds, without_nul};
use crate::domain::{AuditEntry, Json, Principal};
use crate::store::{AuditFilter, AuditLog, Result};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Timestamptz)]
    created_on: PgTimestamp,
    #[diesel(sql_type = Text)]
    principal: String,
    #[diesel(sql_type = Text)]
    action: String,
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = Text)]
    details: String,
}

/// Writes a row, in the transaction of its change.
pub(super) fn record(
    connection: &mut PgConnection,
    by: &Principal,
    action: &str,
    subject: &str,
    details: &Value,
) -> QueryResult<()> {
    sql_query("INSERT INTO audit (principal, action, subject, details) VALUES ($1, $2, $3, $4::json)")
        .bind::<Text, _>(by.to_string())
        .bind::<Text, _>(action)
        .bind::<Text, _>(subject)
        .bind::<Text, _>(details.to_string())
        .execute(connection)
        .map(drop)
}

#[async_trait]
impl AuditLog for PostgresStore {
    async fn audit(&self, filter: &AuditFilter, before: Option<i64>, limit: u16) -> Result<Vec<AuditEntry>> {
        let filter = filter.clone();
        self.run(move |connection| {
            let rows: Vec<Row> = sql_query(
                "SELECT id, created_on, principal, action, subject, details::text AS details FROM audit
                WHERE id < $1 AND ($2 IS NULL OR principal = $2) AND ($3 IS NULL OR action = $3)
                ORDER BY id DESC LIMIT $4",
            )
            .bind::<BigInt, _>(before.unwrap_or(i64::MAX))
            .bind::<Nullable<Text>, _>(filter.principal.as_deref().map(without_nul))
            .bind::<Nullable<Text>, _>(filter.action.as_deref().map(without_nul))
            .bind::<BigInt, _>(i64::from(limit))
            .load(connection)?;
            let entry = |row: Row| AuditEntry {
                id: row.id,
                created_on: unix_seconds(row.created_on),
                principal: row.principal,
                action: row.action,
                subject: row.subject,
                details: Json::accepted(row.details),
            };
            Ok(rows.into_iter().map(entry).collect())
        })
        .await
    }

    async fn purge_audit(&self, kept: Duration, limit: u16) -> Result<u64> {
        let kept = microseconds(kept);
        self.run(move |connection| {
            let purged = sql_query(
                "DELETE FROM audit WHERE id = ANY(ARRAY(
                    SELECT id FROM audit WHERE created_on < now() - $1 * interval '1 microsecond'
                    ORDER BY created_on LIMIT $2 FOR UPDATE SKIP LOCKED
                ))",
            )
            .bind::<BigInt, _>(kept)
            .bind::<BigInt, _>(i64::from(limit))
            .execute(connection)?;
            Ok(purged as u64)
        })
        .await
    }
}
