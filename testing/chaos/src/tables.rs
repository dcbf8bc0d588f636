//! Reads the evidence of a distributed system from PostgreSQL's tables, with SQL of its own, so that a mistake of PP's
//! own reading does not hide one of its writing.

use anyhow::{Context as _, Result};
use tokio_postgres::{Client, Row as SqlRow};

use super::asks::Ask;
use super::evidence::{Evidence, Letter, Row};
use super::told::Told;
use crate::ledger;

/// How many works are read at once.
const PAGE: i64 = 20_000;

/// What is still missing before a round can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Works that are neither done nor failed.
    pub unfinished: i64,
    /// Demands without a work.
    pub demands: i64,
    /// Message ids of unreadable messages without a dead letter.
    pub letters: i64,
    /// Redriven messages that were not sent yet.
    pub redriven: i64,
}

impl Missing {
    /// Whether there is nothing to wait for.
    pub fn nothing(self) -> bool {
        let Self {
            unfinished,
            demands,
            letters,
            redriven,
        } = self;
        unfinished == 0 && demands == 0 && letters == 0 && redriven == 0
    }
}

/// A view into the tables.
pub struct Tables {
    client: Client,
}

impl Tables {
    /// Connects; the connection lives in a task of the current runtime.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub async fn connect(url: &str) -> Result<Self> {
        Ok(Self {
            client: ledger::client(url).await?,
        })
    }

    /// What is missing of what was told, and of all works there are.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn missing(&self, told: &Told) -> Result<Missing> {
        let ((kinds, ids), codes, unreadable) = (told.messages(), told.codes(), &told.unreadable);
        let sql = "
            SELECT (SELECT count(*) FROM works WHERE status IN ('pending', 'running')),
                   (SELECT count(*) FROM unnest($4::text[], $1::text[]) AS asked (kind, id)
                    WHERE NOT EXISTS (SELECT FROM works WHERE works.kind = asked.kind AND message_id = asked.id))
                   + (SELECT count(*) FROM unnest($2::text[]) AS asked (code)
                      WHERE NOT EXISTS (SELECT FROM works WHERE work_code = asked.code)),
                   (SELECT count(*) FROM unnest($3::text[]) AS asked (id)
                    WHERE NOT EXISTS (SELECT FROM dead_letters WHERE message_id = asked.id AND work_id IS NULL)),
                   (SELECT count(*) FROM dead_letters WHERE due_at IS NOT NULL)";
        let row = self.client.query_one(sql, &[&ids, &codes, unreadable, &kinds]).await?;
        Ok(Missing {
            unfinished: row.try_get(0)?,
            demands: row.try_get(1)?,
            letters: row.try_get(2)?,
            redriven: row.try_get(3)?,
        })
    }

    /// Terminates every other session of this database; how many.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn terminate_others(&self) -> Result<i64> {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE pid <> pg_backend_pid() AND datname = current_database()";
        Ok(self.client.query_one(sql, &[]).await?.try_get(0)?)
    }

    /// Runs statements, as an operator would.
    ///
    /// # Errors
    /// When the server refuses them.
    pub async fn run(&self, statements: &str) -> Result<()> {
        Ok(self.client.batch_execute(statements).await?)
    }

    /// Works with ids above `above`, their events, and all dead letters. The calls of handlers are elsewhere.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn evidence(&self, above: i64) -> Result<Evidence> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let last = rows.last().map_or(above, |row| row.id);
            let page = self.page(last).await?;
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        let orphans = "SELECT count(*) FROM events WHERE work_id > $1 \
                       AND NOT EXISTS (SELECT FROM works WHERE works.id = work_id)";
        let orphans = self.client.query_one(orphans, &[&above]).await?.try_get(0)?;
        let begun_again = "SELECT count(*) FROM events WHERE variable = 'work/redriven'";
        let begun_again = self.client.query_one(begun_again, &[]).await?.try_get(0)?;
        Ok(Evidence {
            rows,
            letters: self.letters().await?,
            calls: Vec::new(),
            shows_deleted: true,
            orphans,
            begun_again: Some(begun_again),
        })
    }

    async fn page(&self, above: i64) -> Result<Vec<Row>> {
        let sql = "
            SELECT id, message_id, args::text, status::text, (result #>> '{}')::bigint, generation,
                   extract(epoch FROM updated_on)::float8,
                   (SELECT array_agg(events.generation ORDER BY events.id) FROM events WHERE work_id = works.id),
                   (SELECT array_agg(
                        split_part(variable::text, '/', 2)
                        || CASE WHEN variable IN ('compute/result', 'work/updated') THEN '=' || value ELSE '' END
                        ORDER BY events.id)
                    FROM events WHERE work_id = works.id),
                   work_code, deleted_on IS NOT NULL, kind
            FROM works WHERE id > $1 ORDER BY id LIMIT $2";
        let rows = self.client.query(sql, &[&above, &PAGE]).await?;
        rows.iter().map(row).collect()
    }

    async fn letters(&self) -> Result<Vec<Letter>> {
        let sql = "SELECT work_id, generation, message_id, kind FROM dead_letters";
        let rows = self.client.query(sql, &[]).await?;
        let letter = |row: &SqlRow| {
            Ok(Letter {
                work_id: row.try_get(0)?,
                generation: row.try_get(1)?,
                message_id: row.try_get(2)?,
                kind: row.try_get(3)?,
            })
        };
        rows.iter().map(letter).collect()
    }
}

fn row(row: &SqlRow) -> Result<Row> {
    let generations: Vec<i32> = row.try_get::<_, Option<_>>(7)?.unwrap_or_default();
    let words: Vec<String> = row.try_get::<_, Option<_>>(8)?.unwrap_or_default();
    let (kind, args): (&str, &str) = (row.try_get(11)?, row.try_get(2)?);
    Ok(Row {
        id: row.try_get(0)?,
        work_code: row.try_get(9)?,
        deleted: row.try_get(10)?,
        message_id: row.try_get(1)?,
        ask: Ask::of(kind, args).with_context(|| format!("no run asks for {kind} {args}"))?,
        status: row.try_get(3)?,
        result: row.try_get(4)?,
        generation: row.try_get(5)?,
        updated_on: row.try_get(6)?,
        history: generations.into_iter().zip(words).collect(),
    })
}
