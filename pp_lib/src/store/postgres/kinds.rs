//! The kinds: declarations and settings over them.

use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{OptionalExtension as _, QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::dispatch::PENDING_KINDS;
use super::failure::Failure;
use super::rows::{Count, column, microseconds, parsed, unix_seconds};
use crate::domain::{Json, KindName, Principal, SigningSecret};
use crate::store::kinds::{KindRow, KindRows, MOST_KINDS, WORKER_SEEN_WITHIN};
use crate::store::{Changed, Result};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    declared: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    declared_on: Option<PgTimestamp>,
    #[diesel(sql_type = Nullable<Text>)]
    replaced: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    replaced_on: Option<PgTimestamp>,
    #[diesel(sql_type = Text)]
    overrides: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    worker_seen_on: Option<PgTimestamp>,
    #[diesel(sql_type = Bool)]
    has_worker: bool,
    #[diesel(sql_type = Bool)]
    has_secret: bool,
}

impl Row {
    fn into_kind(self) -> std::result::Result<KindRow, Failure> {
        let dated = |json: Option<String>, on: Option<PgTimestamp>| {
            json.map(|json| (Json::accepted(json), on.map(unix_seconds).unwrap_or_default()))
        };
        Ok(KindRow {
            name: parsed(0, self.name.parse())?,
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

#[derive(QueryableByName)]
struct SecretSet {
    #[diesel(sql_type = Nullable<BigInt>)]
    previous_until: Option<i64>,
}

#[derive(QueryableByName)]
struct Secrets {
    #[diesel(sql_type = Text)]
    secret: String,
    #[diesel(sql_type = Nullable<Text>)]
    previous: Option<String>,
}

/// The columns of a [`Row`].
fn columns() -> String {
    format!(
        "name, declared::text AS declared, declared_on, replaced::text AS replaced, replaced_on,
        overrides::text AS overrides, version, worker_seen_on,
        coalesce(worker_seen_on > now() - interval '{WORKER_SEEN_WITHIN} s', false) AS has_worker,
        EXISTS (SELECT FROM kind_secrets WHERE kind = name) AS has_secret"
    )
}

/// The part of a statement that tells the audit of the changed kinds. The principal is `$3`.
fn audited(changed: &str, action: &str, details: &str) -> String {
    format!(
        "audited AS (
            INSERT INTO audit (principal, action, subject, details)
            SELECT $3, '{action}', 'kind/' || name, {details} FROM {changed}
        )"
    )
}

#[async_trait]
impl KindRows for PostgresStore {
    async fn declare(&self, by: &Principal, kind: &KindName, declaration: &Json) -> Result<Option<KindRow>> {
        let (by, kind, declaration) = (by.to_string(), kind.clone(), declaration.clone());
        self.run(move |connection| {
            let declared: Option<Row> = sql_query(format!(
                "WITH declared AS (INSERT INTO kinds (name, declared, declared_on)
                SELECT $1, $2::json, now()
                WHERE (SELECT count(*) FROM kinds) < {MOST_KINDS} OR EXISTS (SELECT FROM kinds WHERE name = $1)
                ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, declared_on = now(),
                    replaced = kinds.declared, replaced_on = CASE WHEN kinds.declared IS NOT NULL THEN now() END,
                    version = kinds.version + 1
                WHERE kinds.declared::text IS DISTINCT FROM excluded.declared::text
                RETURNING *
                ), {}
                SELECT {} FROM declared",
                audited("declared", "kind.declare", "json_build_object('version', version)"),
                columns()
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(declaration.as_str())
            .bind::<Text, _>(&by)
            .get_result(connection)
            .optional()?;
            match declared {
                Some(row) => row.into_kind().map(Some),
                None => by_name(connection, &kind),
            }
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
        let (by, kind, overrides) = (by.to_string(), kind.clone(), overrides.clone());
        self.run(move |connection| {
            let changed: Option<Row> = sql_query(format!(
                "WITH changed AS (
                    UPDATE kinds SET overrides = $2::json, version = version + 1
                    WHERE name = $1 AND ($4 IS NULL OR version = $4)
                    RETURNING *
                ), {}
                SELECT {} FROM changed",
                audited(
                    "changed",
                    "kind.set",
                    "json_build_object('version', version, 'policy', overrides)"
                ),
                columns()
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(overrides.as_str())
            .bind::<Text, _>(&by)
            .bind::<Nullable<BigInt>, _>(version)
            .get_result(connection)
            .optional()?;
            if let Some(row) = changed {
                return row.into_kind().map(Changed::Applied);
            }
            Ok(match by_name(connection, &kind)? {
                // A repetition after a lost reply finds its own settings one version further.
                Some(row)
                    if version.is_some_and(|version| row.version == version + 1) && row.overrides == overrides =>
                {
                    Changed::Applied(row)
                }
                Some(_) => Changed::OtherVersion,
                None => Changed::Missing,
            })
        })
        .await
    }

    async fn kinds(&self) -> Result<Vec<KindRow>> {
        self.run(|connection| {
            let rows: Vec<Row> = sql_query(format!(
                "WITH RECURSIVE {PENDING_KINDS}
                SELECT {} FROM kinds
                UNION ALL
                SELECT kind, NULL, NULL, NULL, NULL, '{{}}', 0, NULL, false, false FROM pending_kinds
                WHERE kind IS NOT NULL AND NOT EXISTS (SELECT FROM kinds WHERE name = kind)
                ORDER BY 1",
                columns()
            ))
            .load(connection)?;
            rows.into_iter().map(Row::into_kind).collect()
        })
        .await
    }

    async fn kinds_revision(&self) -> Result<i64> {
        self.run(|connection| {
            // Each change adds one to the sum, and kinds stay.
            let revision: Count =
                sql_query("SELECT coalesce(sum(version), 0)::bigint AS count FROM kinds").get_result(connection)?;
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
        let (by, kind, secret, keep) = (by.to_string(), kind.clone(), secret.clone(), microseconds(keep));
        self.run(move |connection| {
            let set: Option<SecretSet> = sql_query(format!(
                "WITH changed AS (
                    INSERT INTO kind_secrets (kind, secret) SELECT name, $2 FROM kinds WHERE name = $1
                    ON CONFLICT (kind) DO UPDATE SET secret = excluded.secret, set_on = now(),
                        previous = kind_secrets.secret, previous_until = now() + $4 * interval '1 microsecond'
                    WHERE kind_secrets.secret <> excluded.secret
                    RETURNING kind, previous_until
                ), bumped AS (
                    UPDATE kinds SET version = version + 1 FROM changed WHERE name = kind RETURNING name, version
                ), {}
                SELECT extract(epoch FROM previous_until)::bigint AS previous_until FROM changed
                UNION ALL
                SELECT extract(epoch FROM previous_until)::bigint FROM kind_secrets
                WHERE kind = $1 AND NOT EXISTS (SELECT FROM changed)",
                audited("bumped", "kind.secret", "json_build_object('version', version)"),
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(secret.expose())
            .bind::<Text, _>(&by)
            .bind::<BigInt, _>(keep)
            .get_result(connection)
            .optional()?;
            Ok(set.map_or(Changed::Missing, |set| Changed::Applied(set.previous_until)))
        })
        .await
    }

    async fn secrets(&self, kind: &KindName) -> Result<Vec<SigningSecret>> {
        let kind = kind.clone();
        self.run(move |connection| {
            let found: Option<Secrets> = sql_query(
                "SELECT secret, CASE WHEN previous_until > now() THEN previous END AS previous
                FROM kind_secrets WHERE kind = $1",
            )
            .bind::<Text, _>(kind.as_str())
            .get_result(connection)
            .optional()?;
            let texts = found.into_iter().flat_map(|row| [Some(row.secret), row.previous]);
            texts.flatten().map(|text| parsed(0, text.try_into())).collect()
        })
        .await
    }

    async fn worker_seen(&self, kinds: &[KindName]) -> Result<u64> {
        let kinds = column(kinds, ToString::to_string);
        self.run(move |connection| {
            let seen = sql_query(
                "UPDATE kinds SET worker_seen_on = now() WHERE name = ANY(ARRAY(
                    SELECT name FROM kinds WHERE name = ANY($1) AND (declared IS NOT NULL OR name = 'add_up_to')
                    ORDER BY name FOR NO KEY UPDATE
                ))",
            )
            .bind::<Array<Text>, _>(&kinds)
            .execute(connection)?;
            Ok(seen as u64)
        })
        .await
    }
}

fn by_name(connection: &mut PgConnection, kind: &KindName) -> std::result::Result<Option<KindRow>, Failure> {
    let row: Option<Row> = sql_query(format!("SELECT {} FROM kinds WHERE name = $1", columns()))
        .bind::<Text, _>(kind.as_str())
        .get_result(connection)
        .optional()?;
    row.map(Row::into_kind).transpose()
}
