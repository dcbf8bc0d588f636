//! A client of the live stream that remembers when it first read of each work, or of its result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pp_lib::domain::Variable;
use pp_lib::streams::StreamedChange;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::http::Stream;
use super::load::Posted;

type Seen = Arc<Mutex<HashMap<i64, Instant>>>;

/// The stream is followed for as long as this lives.
pub(super) struct Watcher {
    seen: Seen,
    task: JoinHandle<Result<()>>,
}

impl Watcher {
    /// Remembers the first change of each work.
    pub(super) async fn start(port: u16) -> Result<Self> {
        Self::of(port, |_| true).await
    }

    /// Remembers the result of each work.
    pub(super) async fn of_results(port: u16) -> Result<Self> {
        Self::of(port, |change| change.variable == Variable::ComputeResult).await
    }

    async fn of(port: u16, is_remembered: fn(&StreamedChange) -> bool) -> Result<Self> {
        let mut stream = Stream::open(port, "/stream").await?;
        let seen = Seen::default();
        let remembered = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let change = stream.change().await?;
                if is_remembered(&change) {
                    locked(&remembered).entry(change.work_id.0).or_insert_with(Instant::now);
                }
            }
        });
        Ok(Self { seen, task })
    }

    /// The time from each work's answer to the reading; zero if it was read before.
    pub(super) async fn times(&self, posted: &[Posted], limit: Duration) -> Result<Vec<Duration>> {
        let deadline = Instant::now() + limit;
        loop {
            let times: Vec<Duration> = {
                let seen = locked(&self.seen);
                let read = posted.iter().filter_map(|one| Some((one, seen.get(&one.id)?)));
                read.map(|(one, read)| read.saturating_duration_since(one.answered))
                    .collect()
            };
            if times.len() == posted.len() {
                return Ok(times);
            }
            ensure!(!self.task.is_finished(), "the stream was cut");
            if Instant::now() > deadline {
                bail!("the stream told of {} of {} works", times.len(), posted.len());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
