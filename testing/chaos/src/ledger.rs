//! What was asked for against what stands in the database: lost, duplicated, or exactly once.
//!
//! It reads the tables with SQL of its own, so that a mistake of PP's own reading does not hide one of its writing.

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::{Client, NoTls};

/// A view into the database of a system under test.
pub struct Ledger {
    client: Client,
}

/// What the database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Works that are done with the right sum.
    pub done: i64,
    /// Works that are anything else.
    pub unfinished: i64,
    /// Works whose events are not start, stop and result, each once and in this order, after failed attempts only, and
    /// after created where it came over the API.
    pub wrong_history: i64,
    /// Attempts that ended with an error, or with their worker.
    pub failed_attempts: i64,
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
        Ok(Self {
            client: client(url).await?,
        })
    }

    /// Makes a database beside the one of the URL; the new one's URL.
    ///
    /// # Errors
    /// When there is one of that name, or the server refuses.
    pub async fn create_database(url: &str, name: &str) -> Result<String> {
        ensure_plain(name)?;
        let admin = Self::connect(url).await?;
        admin.client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let mut url = url::Url::parse(url)?;
        url.set_path(name);
        Ok(url.into())
    }

    /// Removes a database that [`Self::create_database`] made, whoever is connected to it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_database(url: &str, name: &str) -> Result<()> {
        ensure_plain(name)?;
        let admin = Self::connect(url).await?;
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        Ok(admin.client.batch_execute(&sql).await?)
    }

    /// Terminates every session of this database whose program calls itself so; how many there were.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn terminate(&self, application_name: &str) -> Result<u64> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = $1";
        Ok(self.client.query(sql, &[&application_name]).await?.len() as u64)
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

    /// How many works with higher ids than this are done.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn done_above(&self, id: i64) -> Result<i64> {
        let sql = "SELECT count(*) FROM works WHERE id > $1 AND status = 'done'";
        Ok(self.client.query_one(sql, &[&id]).await?.try_get(0)?)
    }

    /// When the first work with a higher id than this was created, in Unix seconds by the database's clock.
    ///
    /// # Errors
    /// When there is none, or the server does not answer.
    pub async fn first_above(&self, id: i64) -> Result<f64> {
        let sql = "SELECT extract(epoch FROM min(created_on))::float8 FROM works WHERE id > $1";
        Ok(self.client.query_one(sql, &[&id]).await?.try_get(0)?)
    }

    /// In how many transactions the events of works with higher ids than this were written.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn transactions_above(&self, id: i64) -> Result<i64> {
        let sql = "SELECT count(DISTINCT tx) FROM events WHERE work_id > $1";
        Ok(self.client.query_one(sql, &[&id]).await?.try_get(0)?)
    }

    /// Everything, counted.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn account(&self) -> Result<Account> {
        self.account_above(0).await
    }

    /// What belongs to works with higher ids than this, counted.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn account_above(&self, id: i64) -> Result<Account> {
        let sql = "
            WITH history AS (
                SELECT work_id, string_agg(split_part(variable::text, '/', 2), ' ' ORDER BY id) AS told
                FROM events WHERE work_id > $1 GROUP BY work_id
            )
            SELECT count(*) FILTER (WHERE right_sum), count(*) FILTER (WHERE NOT right_sum),
                   count(*) FILTER (WHERE coalesce(told, '') !~
                       CASE WHEN from_api THEN '^created (start error )*start stop result$'
                            ELSE '^(start error )*start stop result$' END),
                   (SELECT count(*) FROM events WHERE variable = 'compute/error' AND work_id > $1),
                   (SELECT count(*) FROM events
                    WHERE work_id > $1 AND NOT EXISTS (SELECT FROM works WHERE works.id = work_id)),
                   (SELECT count(*) FROM events WHERE work_id > $1)
            FROM (
                SELECT id, starts_with(work_code, 'api-') AS from_api,
                       status = 'done' AND (result #>> '{}')::bigint = bound * (bound + 1) / 2 AS right_sum
                FROM works CROSS JOIN LATERAL (SELECT (args ->> 'add_up_to')::bigint) AS asked (bound) WHERE id > $1
            ) AS works LEFT JOIN history ON history.work_id = works.id";
        let row = self.client.query_one(sql, &[&id]).await?;
        Ok(Account {
            done: row.try_get(0)?,
            unfinished: row.try_get(1)?,
            wrong_history: row.try_get(2)?,
            failed_attempts: row.try_get(3)?,
            orphans: row.try_get(4)?,
            events: row.try_get(5)?,
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

    /// How many works are claimed by a dispatcher, and neither sent nor due.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn held(&self) -> Result<i64> {
        self.number("SELECT count(*) FROM works WHERE status = 'pending' AND due_at > now()")
            .await
    }

    /// How many dead letters are kept.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn dead_letters(&self) -> Result<i64> {
        self.number("SELECT count(*) FROM dead_letters").await
    }

    /// Bodies and reasons of the messages that nobody could read.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn dead_messages(&self) -> Result<Vec<(Vec<u8>, String)>> {
        let sql = "SELECT body, reason FROM dead_letters WHERE work_id IS NULL ORDER BY id";
        let rows = self.client.query(sql, &[]).await?;
        rows.into_iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }

    async fn number(&self, sql: &str) -> Result<i64> {
        Ok(self.client.query_one(sql, &[]).await?.try_get(0)?)
    }
}

/// A connection, which lives in a task of the current runtime.
///
/// # Errors
/// When the server does not let it in.
pub async fn client(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("cannot reach PostgreSQL")?;
    tokio::spawn(connection);
    Ok(client)
}

/// A name that needs no quotes.
fn ensure_plain(name: &str) -> Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    ensure!(plain, "not a plain name: {name}");
    Ok(())
}
