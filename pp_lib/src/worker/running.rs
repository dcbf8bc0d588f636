//! Tracks works that take longer than their batch: extends the leases of their `running` rows and records their
//! outcomes. One task owns them all.

use std::collections::HashMap;
use std::iter;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::domain::{Json, Progress};
use crate::feed::AnyFeed;
use crate::kinds::{Context, Failure};
use crate::log_repeated;
use crate::store::{AnyStore, RunningAttempt};
use crate::worker::attempt::{Attempt, Attempts};
use crate::worker::completion::{CompletionResult, complete, leave};
use crate::worker::consumer::Task;

/// The maximum number of works handed back together.
const BATCH: usize = 1000;

/// The interval at which progress is stored.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// An attempt whose run continues in a task of its own.
pub(super) struct SlowAttempt {
    /// The attempt; its row is recorded as `running`.
    pub(super) attempt: Attempt,
    pub(super) task: Task,
    /// The lane's place, held until completion.
    pub(super) place: OwnedSemaphorePermit,
}

/// Tracks slow works until the channel is closed and all have ended. Once `abandon` is cancelled, it hands works back
/// to the store, including those that still arrive: another worker takes them over at once, and neither a failure nor a
/// lost lease is counted.
pub(super) struct Running {
    pub(super) store: AnyStore,
    pub(super) feed: AnyFeed,
    pub(super) attempts: Attempts,
    pub(super) abandon: CancellationToken,
}

struct Entry {
    attempt: Attempt,
    handle: AbortHandle,
    context: Context,
    _place: OwnedSemaphorePermit,
}

type Ended = JoinSet<Result<Json, Failure>>;

impl Running {
    pub(super) async fn run(self, mut incoming: mpsc::Receiver<SlowAttempt>) {
        let mut entries: HashMap<Id, Entry> = HashMap::new();
        let mut ended = Ended::new();
        let (mut extended, mut reported) = (Instant::now(), Instant::now());
        let mut open = true;
        while open || !entries.is_empty() {
            tokio::select! {
                () = self.abandon.cancelled() => break,
                slow = incoming.recv(), if open => match slow {
                    Some(SlowAttempt { attempt, task: Task { handle: task, context }, place }) => {
                        let handle = task.abort_handle();
                        let id = ended.spawn(async { task.await.unwrap_or_else(|_| Err(cancelled())) }).id();
                        entries.insert(id, Entry { attempt, handle, context, _place: place });
                    }
                    None => open = false,
                },
                Some(first) = ended.join_next_with_id() => {
                    let all = iter::once(first).chain(iter::from_fn(|| ended.try_join_next_with_id()));
                    let finished: Vec<_> = all
                        .filter_map(Result::ok)
                        .filter_map(|(id, result)| entries.remove(&id).map(|entry| (entry, result)))
                        .collect();
                    self.record(finished).await;
                }
                () = sleep_until(extended + self.lease() / 3), if !entries.is_empty() => {
                    self.extend(&entries).await;
                    extended = Instant::now();
                }
                () = sleep_until(reported + REPORT_INTERVAL), if !entries.is_empty() => {
                    self.report(&entries).await;
                    reported = Instant::now();
                }
            }
        }
        self.hand_back_all(entries, incoming).await;
    }

    fn lease(&self) -> Duration {
        self.attempts.policy.borrow().lease
    }

    async fn record(&self, finished: Vec<(Entry, Result<Json, Failure>)>) {
        let (mut ended, mut completions, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, result) in finished {
            match self.attempts.judge(&entry.attempt, result) {
                Some(outcome) => {
                    completions.push(entry.attempt.completion(outcome));
                    ended.push(entry);
                }
                None => left.push(entry.attempt),
            }
        }
        leave(&self.store, &self.attempts, &left, &self.abandon).await;
        let results = complete(&self.store, &self.feed, &self.attempts, &mut completions, &self.abandon).await;
        let mut unrecorded = Vec::new();
        for ((result, entry), completion) in results.into_iter().zip(&ended).zip(&completions) {
            match result {
                CompletionResult::Refused(reason) => {
                    log_repeated!(Error, "a result was refused", "{}: {reason}", completion.work_code);
                }
                CompletionResult::Abandoned => unrecorded.push(entry.attempt.lease()),
                CompletionResult::Applied | CompletionResult::Started(_) | CompletionResult::Superseded => {}
            }
        }
        self.hand_back(unrecorded).await;
    }

    /// Extends all leases. A lost lease aborts the computation: the work was cancelled, changed or rescued.
    async fn extend(&self, entries: &HashMap<Id, Entry>) {
        let (runs, handles): (Vec<RunningAttempt>, Vec<&AbortHandle>) = entries
            .values()
            .map(|entry| (entry.attempt.lease(), &entry.handle))
            .unzip();
        match self.store.extend_leases(&self.attempts.kind, &runs, self.lease()).await {
            Ok(mine) => mine
                .iter()
                .zip(handles)
                .filter(|(mine, _)| !**mine)
                .for_each(|(_, handle)| handle.abort()),
            Err(error) => log_repeated!(Warn, "leases were not extended", "{} of them: {error}", runs.len()),
        }
    }

    /// Stores the progress that handlers have told since the last time.
    async fn report(&self, entries: &HashMap<Id, Entry>) {
        let told = entries.values().filter_map(|entry| {
            let progress = entry.context.take_progress()?;
            Some((entry.attempt.lease(), progress))
        });
        let told: Vec<(RunningAttempt, Progress)> = told.collect();
        if told.is_empty() {
            return;
        }
        match self.store.report_progress(&self.attempts.kind, &told).await {
            Ok(_) => self.feed.announce(),
            Err(error) => log_repeated!(Warn, "progress was not stored", "of {} works: {error}", told.len()),
        }
    }

    /// Hands back the works under way, then those that the lanes recorded as `running` before they noticed the stop.
    async fn hand_back_all(&self, entries: HashMap<Id, Entry>, mut incoming: mpsc::Receiver<SlowAttempt>) {
        let hand_back = |entry: Entry| {
            entry.handle.abort();
            entry.attempt.lease()
        };
        self.hand_back(entries.into_values().map(hand_back).collect()).await;
        let mut late = Vec::new();
        while incoming.recv_many(&mut late, BATCH).await > 0 {
            let hand_back = |slow: SlowAttempt| {
                slow.task.handle.abort();
                slow.attempt.lease()
            };
            self.hand_back(late.drain(..).map(hand_back).collect()).await;
        }
    }

    async fn hand_back(&self, runs: Vec<RunningAttempt>) {
        if runs.is_empty() {
            return;
        }
        match self.store.hand_back(&self.attempts.kind, &runs).await {
            Ok(rows) => {
                self.feed.poke();
                log::info!("{rows} works under way were handed back");
            }
            Err(error) => log::warn!(
                "{} works under way wait for their leases to run out: {error}",
                runs.len()
            ),
        }
    }
}

/// The result of an aborted computation. Its completion is superseded, because the row has moved on.
fn cancelled() -> Failure {
    Failure::retry("cancelled")
}
