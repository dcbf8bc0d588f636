//! Who asks the API: readers that ask again as soon as they are answered, and clients that post by the clock.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::http::Connection;

/// One read.
pub(super) struct Read {
    pub(super) sent: Instant,
    pub(super) taken: Duration,
    pub(super) status: u16,
    pub(super) hit: bool,
}

/// One work that was asked for.
pub(super) struct Posted {
    pub(super) id: i64,
    /// When it was to be asked for: who is late because answers are late counts that in.
    pub(super) due: Instant,
    pub(super) answered: Instant,
}

/// Makes works; their ids.
pub(super) async fn create(port: u16, works: usize) -> Result<Arc<[i64]>> {
    let body = Value::from(vec![serde_json::json!({}); works]).to_string();
    let reply = Connection::open(port).await?.post("/work/bulk", &body).await?;
    ensure!(reply.status == 200, "works are not created: {}", reply.status);
    let created: Vec<Value> = serde_json::from_slice(&reply.body)?;
    let ids = created.iter().map(|work| work["id"].as_i64());
    ids.collect::<Option<_>>().context("a work without an id")
}

/// Reads works at random on so many connections until the end, each one after the other.
pub(super) async fn read(port: u16, works: &Arc<[i64]>, connections: usize, end: Instant) -> Result<Vec<Read>> {
    let readers = (0..connections).map(|_| tokio::spawn(read_on_one(port, works.clone(), end)));
    let reads = try_join_all(readers).await?.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(reads.into_iter().flatten().collect())
}

async fn read_on_one(port: u16, works: Arc<[i64]>, end: Instant) -> Result<Vec<Read>> {
    let mut connection = Connection::open(port).await?;
    let mut reads = Vec::new();
    while Instant::now() < end {
        let id = works[rand::rng().random_range(0..works.len())];
        let sent = Instant::now();
        let reply = connection.get(&format!("/work/{id}")).await?;
        let taken = sent.elapsed();
        let (status, hit) = (reply.status, reply.hit);
        if status == 200 {
            let work: Value = serde_json::from_slice(&reply.body)?;
            ensure!(work["id"] == id, "the answer is another work: {work}");
        } else {
            ensure!(status >= 500, "a read is answered with {status}");
        }
        reads.push(Read {
            sent,
            taken,
            status,
            hit,
        });
    }
    Ok(reads)
}

/// Posts works on so many connections, together so many a second, by a clock that waits for nobody.
pub(super) async fn post(
    port: u16,
    clients: u32,
    per_second: u32,
    time: Duration,
    body: &'static str,
) -> Result<Vec<Posted>> {
    let interval = Duration::from_secs(clients.into()) / per_second;
    let begin = Instant::now() + Duration::from_millis(200);
    let each = (0..clients).map(|client| {
        let first = begin + interval * client / clients;
        tokio::spawn(post_on_one(port, first, interval, begin + time, body))
    });
    let posted = try_join_all(each).await?.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(posted.into_iter().flatten().collect())
}

async fn post_on_one(port: u16, first: Instant, interval: Duration, end: Instant, body: &str) -> Result<Vec<Posted>> {
    let mut connection = Connection::open(port).await?;
    let (mut due, mut posted) = (first, Vec::new());
    while due < end {
        sleep_until(due).await;
        let reply = connection.post("/work", body).await?;
        let answered = Instant::now();
        ensure!(reply.status == 200, "a work is answered with {}", reply.status);
        let work: Value = serde_json::from_slice(&reply.body)?;
        let id = work["id"].as_i64().context("a work without an id")?;
        posted.push(Posted { id, due, answered });
        due += interval;
    }
    Ok(posted)
}
