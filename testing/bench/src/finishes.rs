//! The time from the moment at which a work was due until it is done: works begin by a clock that waits for nobody, and
//! whether they are done is asked of the database every millisecond.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use pp_chaos::ledger;

use super::{Line, Samples};

/// How often the database is asked.
const LOOK: Duration = Duration::from_millis(1);
/// The longest that the last work may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Works at the beginning that are not counted: connections open, statements are planned.
const WARMING: Duration = Duration::from_secs(1);

/// By what a work is known.
#[derive(Clone, Copy)]
pub(super) enum Key {
    MessageId,
    WorkCode,
}

/// A work that has begun: its key, and when it was due.
pub(super) type Begun = (String, Instant);

/// Begins works for so long, so many a second; the times until they were done. `begin` tells the key of its work as soon
/// as it is known, and ends with an error if the work was not taken.
pub(super) async fn times<F, W>(database: &str, per_second: u32, time: Duration, key: Key, begin: F) -> Result<Samples>
where
    F: Fn(UnboundedSender<Begun>, Instant) -> W,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let client = ledger::client(database).await?;
    let done = match key {
        Key::MessageId => "SELECT message_id FROM works WHERE message_id = ANY($1) AND status = 'done'",
        Key::WorkCode => "SELECT work_code FROM works WHERE work_code = ANY($1) AND status = 'done'",
    };
    let done = client.prepare(done).await?;
    let (sender, mut begun) = unbounded_channel();
    let (first, mut beginnings) = (Instant::now() + LOOK * 10, JoinSet::new());
    let counted = first + WARMING;
    let looking = async {
        let (mut waiting, mut times) = (HashMap::new(), Vec::new());
        loop {
            let nothing_new = loop {
                match begun.try_recv() {
                    Ok((key, due)) => drop(waiting.insert(key, due)),
                    Err(nothing_new) => break nothing_new,
                }
            };
            if waiting.is_empty() && nothing_new == TryRecvError::Disconnected {
                return anyhow::Ok(Samples::from_iter(times));
            }
            let keys: Vec<&String> = waiting.keys().collect();
            let rows = match keys.is_empty() {
                true => Vec::new(),
                false => client.query(&done, &[&keys]).await?,
            };
            let now = Instant::now();
            for row in rows {
                let key: String = row.try_get(0)?;
                if let Some(due) = waiting.remove(&key)
                    && due >= counted
                {
                    times.push(now - due);
                }
            }
            ensure!(now < counted + time + LIMIT, "{} works are not done", waiting.len());
            sleep(LOOK).await;
        }
    };
    let beginning = async {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let mut due = first;
        while due < counted + time {
            sleep_until(due).await;
            beginnings.spawn(begin(sender.clone(), due));
            due += interval;
        }
        drop(sender);
        while let Some(ended) = beginnings.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    let (times, ()) = tokio::try_join!(looking, beginning)?;
    Ok(times)
}

/// Lines for the half and for nearly all of several runs' times.
pub(super) fn lines(what: &str, runs: &[Samples], note: impl Into<String>) -> [Line; 2] {
    let line = |percent| {
        let values = runs.iter().map(|times| times.milliseconds(percent)).collect();
        Line::new(format!("{what}: p{percent}"), "ms", values)
    };
    [line(50).note(note), line(99)]
}
