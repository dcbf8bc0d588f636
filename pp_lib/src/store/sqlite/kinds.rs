//! The kinds: declarations and settings over them.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{OptionalExtension as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::SqliteStore;
use super::audit;
use super::dispatch::PENDING_KINDS;
use super::rows::{Count, NOW, json_rows, parsed, unix_seconds};
use crate::domain::{Json, KindName, Principal, SigningSecret};
use crate::store::kinds::{KindRow, KindRows, MOST_KINDS, WORKER_SEEN_WITHIN};
use crate::store::{Changed, Result};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    declared: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    declared_on: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    replaced: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    replaced_on: Option<i64>,
    #[diesel(sql_type = Text)]
    overrides: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    worker_seen_on: Option<i64>,
    #[diesel(sql_type = Bool)]
    has_worker: bool,
    #[diesel(sql_type = Bool)]
    has_secret: bool,
}

impl Row {
    fn into_kind(self) -> QueryResult<KindRow> {
        let dated = |json: Option<String>, on: Option<i64>| {
            json.map(|json| (Json::accepted(json), on.map(unix_seconds).unwrap_or_default()))
        };
        Ok(KindRow {
            name: parsed("name", self.name.parse())?,
            declared: dated(self.declared, self.declared_on),
            replaced: dated(self.replaced, self.replaced_on),
            overrides: Json::accepted(self.overrides),
            version: self.version,
            worker_seen_on: self.worker_seen_on.map(unix_seconds),
            has_worker: self.has_worker,
            has_secret: self.has_secret,
        })
    }
}

/// The columns of a [`Row`].
fn columns() -> String {
    format!(
        "name, declared, declared_on, replaced, replaced_on, overrides, version, worker_seen_on,
         coalesce(worker_seen_on > {NOW} - {WORKER_SEEN_WITHIN} * 1000, 0) AS has_worker,
         EXISTS (SELECT 1 FROM kind_secrets WHERE kind = name) AS has_secret"
    )
}

#[async_trait]
impl KindRows for SqliteStore {
    async fn declare(&self, by: &Principal, kind: &KindName, declaration: &Json) -> Result<Option<KindRow>> {
        let (by, kind, declaration) = (by.clone(), kind.clone(), declaration.clone());
        self.write(move |connection| {
            let changed = sql_query(format!(
                "INSERT INTO kinds (name, declared, declared_on)
                 SELECT ?1, ?2, {NOW}
                 WHERE (SELECT count(*) FROM kinds) < {MOST_KINDS} OR EXISTS (SELECT 1 FROM kinds WHERE name = ?1)
                 ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, declared_on = {NOW},
                     replaced = kinds.declared, replaced_on = iif(kinds.declared IS NOT NULL, {NOW}, NULL),
                     version = kinds.version + 1
                 WHERE kinds.declared IS NOT excluded.declared"
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(declaration.as_str())
            .execute(connection)?;
            let declared = by_name(connection, &kind)?;
            if let Some(row) = declared.as_ref().filter(|_| changed > 0) {
                let details = json!({"version": row.version});
                audit::record(connection, &by, "kind.declare", &format!("kind/{kind}"), &details)?;
            }
            Ok(declared)
        })
        .await
    }

    async fn set_overrides(
        &self,
        by: &Principal,
        kind: &KindName,
        overrides: &Json,
        version: Option<i64>,
    ) -> Result<Changed<KindRow>> {
        let (by, kind, overrides) = (by.clone(), kind.clone(), overrides.clone());
        self.write(move |connection| {
            let changed = sql_query(
                "UPDATE kinds SET overrides = ?2, version = version + 1
                 WHERE name = ?1 AND (?3 IS NULL OR version = ?3)",
            )
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(overrides.as_str())
            .bind::<Nullable<BigInt>, _>(version)
            .execute(connection)?;
            Ok(match by_name(connection, &kind)? {
                Some(row) if changed > 0 => {
                    let details = json!({"version": row.version, "policy": row.overrides});
                    audit::record(connection, &by, "kind.set", &format!("kind/{kind}"), &details)?;
                    Changed::Applied(row)
                }
                Some(_) => Changed::OtherVersion,
                None => Changed::Missing,
            })
        })
        .await
    }

    async fn kinds(&self) -> Result<Vec<KindRow>> {
        self.read(|connection| {
            let rows: Vec<Row> = sql_query(format!(
                "WITH RECURSIVE {PENDING_KINDS}
                 SELECT {} FROM kinds
                 UNION ALL
                 SELECT kind, NULL, NULL, NULL, NULL, '{{}}', 0, NULL, 0, 0 FROM pending_kinds
                 WHERE kind IS NOT NULL AND NOT EXISTS (SELECT 1 FROM kinds WHERE name = kind)
                 ORDER BY 1",
                columns()
            ))
            .load(connection)?;
            rows.into_iter().map(Row::into_kind).collect()
        })
        .await
    }

    async fn kinds_revision(&self) -> Result<i64> {
        self.read(|connection| {
            // Each change adds one to the sum, and kinds stay.
            let revision: Count =
                sql_query("SELECT coalesce(sum(version), 0) AS count FROM kinds").get_result(connection)?;
            Ok(revision.count)
        })
        .await
    }

    async fn set_secret(
        &self,
        by: &Principal,
        kind: &KindName,
        secret: &SigningSecret,
        keep: Duration,
    ) -> Result<Changed<Option<i64>>> {
        let (by, kind, secret) = (by.clone(), kind.clone(), secret.clone());
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        self.write(move |connection| {
            let changed = sql_query(format!(
                "INSERT INTO kind_secrets (kind, secret) SELECT name, ?2 FROM kinds WHERE name = ?1
                 ON CONFLICT (kind) DO UPDATE SET secret = excluded.secret, set_on = {NOW},
                     previous = kind_secrets.secret, previous_until = {NOW} + ?3
                 WHERE kind_secrets.secret <> excluded.secret"
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(secret.expose())
            .bind::<BigInt, _>(keep)
            .execute(connection)?;
            if changed > 0 {
                sql_query("UPDATE kinds SET version = version + 1 WHERE name = ?")
                    .bind::<Text, _>(kind.as_str())
                    .execute(connection)?;
                if let Some(row) = by_name(connection, &kind)? {
                    let details = json!({"version": row.version});
                    audit::record(connection, &by, "kind.secret", &format!("kind/{kind}"), &details)?;
                }
            }
            let found = found_secrets(connection, &kind)?;
            Ok(found.map_or(Changed::Missing, |row| {
                Changed::Applied(row.previous_until.map(unix_seconds))
            }))
        })
        .await
    }

    async fn secrets(&self, kind: &KindName) -> Result<Vec<SigningSecret>> {
        let kind = kind.clone();
        self.read(move |connection| {
            let found = found_secrets(connection, &kind)?;
            let texts = found.into_iter().flat_map(|row| [Some(row.secret), row.previous]);
            texts.flatten().map(|text| parsed("secret", text.try_into())).collect()
        })
        .await
    }

    async fn worker_seen(&self, kinds: &[KindName]) -> Result<u64> {
        let kinds = json_rows(kinds.iter().map(|kind| kind.as_str().into()));
        self.write(move |connection| {
            sql_query(format!(
                "UPDATE kinds SET worker_seen_on = {NOW}
                 WHERE name IN (SELECT value FROM json_each(?)) AND (declared IS NOT NULL OR name = 'add_up_to')"
            ))
            .bind::<Text, _>(&kinds)
            .execute(connection)
            .map(|seen| seen as u64)
        })
        .await
    }
}

#[derive(QueryableByName)]
struct Secrets {
    #[diesel(sql_type = Text)]
    secret: String,
    #[diesel(sql_type = Nullable<Text>)]
    previous: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    previous_until: Option<i64>,
}

fn found_secrets(connection: &mut SqliteConnection, kind: &KindName) -> QueryResult<Option<Secrets>> {
    sql_query(format!(
        "SELECT secret, iif(previous_until > {NOW}, previous, NULL) AS previous, previous_until
         FROM kind_secrets WHERE kind = ?"
    ))
    .bind::<Text, _>(kind.as_str())
    .get_result(connection)
    .optional()
}

fn by_name(connection: &mut SqliteConnection, kind: &KindName) -> QueryResult<Option<KindRow>> {
    let row: Option<Row> = sql_query(format!("SELECT {} FROM kinds WHERE name = ?", columns()))
        .bind::<Text, _>(kind.as_str())
        .get_result(connection)
        .optional()?;
    row.map(Row::into_kind).transpose()
}
