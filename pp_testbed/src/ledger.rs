//! What was asked for against what stands in the database: lost, duplicated, or exactly once.
//!
//! It reads the tables with SQL of its own, so that a mistake of PP's own reading does not hide one of its writing.

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::{Client, NoTls};

/// A view into the database of a system under test.
pub struct Ledger {
    client: Client,
}

/// What the database holds of works without an API origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Works that are done with the right sum.
    pub done: i64,
    /// Works that are anything else.
    pub unfinished: i64,
    /// Works whose events are not start, stop and result, each once and in this order, after failed attempts only.
    pub wrong_history: i64,
    /// Events that belong to no work.
    pub orphans: i64,
    /// All events.
    pub events: i64,
}

impl Ledger {
    /// Connects; the connection lives in a task of the current runtime.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub async fn connect(url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .context("cannot reach PostgreSQL")?;
        tokio::spawn(connection);
        Ok(Self { client })
    }

    /// Makes a database beside the one of the URL; the new one's URL.
    ///
    /// # Errors
    /// When there is one of that name, or the server refuses.
    pub async fn create_database(url: &str, name: &str) -> Result<String> {
        ensure!(
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "a plain name"
        );
        let admin = Self::connect(url).await?;
        admin.client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let mut url = url::Url::parse(url)?;
        url.set_path(name);
        Ok(url.into())
    }

    /// How many works were ever inserted or tried to: cheap, and never less than how many there are.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn highest_id(&self) -> Result<i64> {
        self.number("SELECT coalesce(max(id), 0) FROM works").await
    }

    /// How many works are done.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn done(&self) -> Result<i64> {
        self.number("SELECT count(*) FROM works WHERE status = 'done'").await
    }

    /// Seconds from when the first work was created until now, by the database's clock.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn seconds_since_first(&self) -> Result<f64> {
        let sql = "SELECT extract(epoch FROM clock_timestamp() - min(created_on))::float8 FROM works";
        Ok(self.client.query_one(sql, &[]).await?.try_get(0)?)
    }

    /// Everything, counted.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn account(&self) -> Result<Account> {
        let sql = "
            WITH history AS (
                SELECT work_id, string_agg(split_part(variable::text, '/', 2), ' ' ORDER BY id) AS told
                FROM events WHERE variable::text LIKE 'compute/%' GROUP BY work_id
            )
            SELECT count(*) FILTER (WHERE right_sum), count(*) FILTER (WHERE NOT right_sum),
                   count(*) FILTER (WHERE coalesce(told, '') !~ '^(start error )*start stop result$'),
                   (SELECT count(*) FROM events WHERE NOT EXISTS (SELECT FROM works WHERE works.id = work_id)),
                   (SELECT count(*) FROM events)
            FROM (
                SELECT id, status = 'done' AND result = add_up_to::bigint * (add_up_to::bigint + 1) / 2 AS right_sum
                FROM works
            ) AS works LEFT JOIN history ON history.work_id = works.id";
        let row = self.client.query_one(sql, &[]).await?;
        Ok(Account {
            done: row.try_get(0)?,
            unfinished: row.try_get(1)?,
            wrong_history: row.try_get(2)?,
            orphans: row.try_get(3)?,
            events: row.try_get(4)?,
        })
    }

    /// Of these identities, those that have no work. More than one work for one is ruled out by the schema, and shows
    /// in [`Account::done`].
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn lost(&self, message_ids: &[String]) -> Result<Vec<String>> {
        let sql = "SELECT id FROM unnest($1::text[]) AS asked (id) WHERE NOT EXISTS \
                   (SELECT FROM works WHERE message_id = asked.id)";
        let rows = self.client.query(sql, &[&message_ids]).await?;
        rows.into_iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn number(&self, sql: &str) -> Result<i64> {
        Ok(self.client.query_one(sql, &[]).await?.try_get(0)?)
    }
}
