//! Clients of the API that send their requests by the clock.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::http::Connection;

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

/// Posts works on so many connections, together so many a second, by a clock that waits for nobody.
pub(super) async fn post(port: u16, clients: u32, per_second: u32, time: Duration) -> Result<Vec<Posted>> {
    by_the_clock(clients, per_second, time, move |clock| async move {
        let mut connection = Connection::open(port).await?;
        let mut posted = Vec::new();
        while let Some(due) = clock.next(posted.len()).await {
            let reply = connection.post("/work", "{}").await?;
            let answered = Instant::now();
            ensure!(reply.status == 200, "a work is answered with {}", reply.status);
            let Created { id } = serde_json::from_slice(&reply.body)?;
            posted.push(Posted { id, due, answered });
        }
        Ok(posted)
    })
    .await
}

/// Demands works in the same way; how long each answer took, from when it was due.
pub(super) async fn demand(port: u16, clients: u32, per_second: u32, time: Duration) -> Result<Vec<Duration>> {
    by_the_clock(clients, per_second, time, move |clock| async move {
        let mut connection = Connection::open(port).await?;
        let mut times = Vec::new();
        while let Some(due) = clock.next(times.len()).await {
            let reply = connection.post("/work/demand", "{}").await?;
            times.push(due.elapsed());
            ensure!(reply.status == 202, "a demand is answered with {}", reply.status);
        }
        Ok(times)
    })
    .await
}

/// Reads these paths at random in the same way; how long each answer took, from when it was due. None may be empty.
pub(super) async fn get(
    port: u16,
    clients: u32,
    per_second: u32,
    time: Duration,
    paths: Arc<[String]>,
) -> Result<Vec<Duration>> {
    by_the_clock(clients, per_second, time, move |clock| {
        let paths = paths.clone();
        async move {
            let mut connection = Connection::open(port).await?;
            let mut times = Vec::new();
            while let Some(due) = clock.next(times.len()).await {
                let path = &paths[rand::rng().random_range(0..paths.len())];
                let reply = connection.get(path).await?;
                times.push(due.elapsed());
                ensure!(reply.status == 200, "{path} is answered with {}", reply.status);
                ensure!(reply.body.len() > 2, "{path} finds nothing");
            }
            Ok(times)
        }
    })
    .await
}

/// What is read of a work that was created.
#[derive(serde::Deserialize)]
struct Created {
    id: i64,
}

/// When a client's requests are due.
#[derive(Clone, Copy)]
struct Clock {
    first: Instant,
    interval: Duration,
    end: Instant,
}

impl Clock {
    /// Waits until the request after so many others is due; nothing at the end.
    async fn next(self, number: usize) -> Option<Instant> {
        let due = self.first + self.interval.mul_f64(number as f64);
        if due >= self.end {
            return None;
        }
        sleep_until(due).await;
        Some(due)
    }
}

async fn by_the_clock<T, F, W>(clients: u32, per_second: u32, time: Duration, client: F) -> Result<Vec<T>>
where
    F: Fn(Clock) -> W + Send + Clone + 'static,
    W: Future<Output = Result<Vec<T>>> + Send + 'static,
    T: Send + 'static,
{
    let interval = Duration::from_secs(clients.into()) / per_second.max(1);
    let begin = Instant::now() + Duration::from_millis(200);
    let each = (0..clients).map(|number| {
        tokio::spawn(client(Clock {
            first: begin + interval * number / clients,
            interval,
            end: begin + time,
        }))
    });
    let found = try_join_all(each).await?.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}
