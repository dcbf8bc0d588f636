//! What telling of a commit costs those who commit: not at all, within the statement, and PP's way after it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use pp_lib::feed::Feed as _;
use pp_lib::feed::postgres::PostgresFeed;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, NoTls};

use super::stand::Stand;
use super::statistics::rate;
use super::{Line, Plan};

const COMMITTERS: [u32; 6] = [1, 2, 4, 8, 16, 32];
const TIME: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);
/// Like PP's own events.
const TABLE: &str = "CREATE TABLE lines (tx xid8 NOT NULL DEFAULT pg_current_xact_id(), \
     id bigint GENERATED ALWAYS AS IDENTITY, work_id bigint NOT NULL, variable text NOT NULL, value text NOT NULL, \
     created_on timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (tx, id))";
const INSERT: &str = "INSERT INTO lines (work_id, variable, value) VALUES (42, 'compute/result', '1275')";

/// Who is told of a commit.
#[derive(Clone, Copy)]
enum Told {
    Nobody,
    InTheStatement,
    AfterTheCommit,
}

pub(super) fn measure(stand: &Stand, _: &Plan) -> Result<Vec<Line>> {
    let place = stand.place("poke")?;
    let database = &place.database;
    let mut lines = stand.runtime.block_on(async {
        connect(database).await?.batch_execute(TABLE).await?;
        let mut lines = Vec::new();
        for committers in COMMITTERS {
            let silent = commits(database, committers, Told::Nobody).await?;
            for (how, told) in [
                ("NOTIFY in the statement", Told::InTheStatement),
                ("PP's poke", Told::AfterTheCommit),
            ] {
                let rate = commits(database, committers, told).await?;
                let what = format!("commits of {committers} at once, {how}");
                lines.push(Line::new(what, "/s", vec![rate]).limit("telling nobody", &[silent]));
            }
        }
        anyhow::Ok(lines)
    })?;
    stand.leave(place)?;
    let note = format!(
        "autocommit INSERT of one row, closed loop, {} s each, two sessions listen: pg_notify in the statement, \
         PostgresFeed::poke() after it",
        TIME.as_secs()
    );
    lines[0].notes.push(note);
    Ok(lines)
}

/// How many a second.
async fn commits(database: &str, committers: u32, told: Told) -> Result<f64> {
    let (teller, listener) = (PostgresFeed::connect(database)?, PostgresFeed::connect(database)?);
    let mut heard = listener.watch();
    // Whoever is connected is woken once.
    let connected = [teller.watch(), listener.watch()].map(async |mut waiter| waiter.changed().await);
    let all = futures_util::future::join_all(connected);
    timeout(PATIENCE, all).await.context("the feed does not connect")?;
    heard.changed().await;
    let statement = match told {
        Told::InTheStatement => {
            format!("WITH line AS ({INSERT} RETURNING 1) SELECT pg_notify('pp_changed', '') FROM line")
        }
        Told::Nobody | Told::AfterTheCommit => INSERT.to_owned(),
    };
    let after = || {
        if matches!(told, Told::AfterTheCommit) {
            teller.poke();
        }
    };
    let clients = try_join_all((0..committers).map(|_| connect(database))).await?;
    let begun = Instant::now();
    let each = clients
        .iter()
        .map(|client| commit(client, &statement, begun + TIME, &after));
    let counts = try_join_all(each).await?;
    let rate = rate(counts.iter().sum(), begun.elapsed());
    if !matches!(told, Told::Nobody) {
        let heard = timeout(PATIENCE, heard.changed()).await;
        ensure!(heard.is_ok(), "the listener heard nothing");
    }
    Ok(rate)
}

async fn commit(client: &Client, statement: &str, end: Instant, after: &impl Fn()) -> Result<usize> {
    let statement = client.prepare(statement).await?;
    let mut count = 0;
    while Instant::now() < end {
        client.execute(&statement, &[]).await?;
        after();
        count += 1;
    }
    Ok(count)
}

async fn connect(database: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
