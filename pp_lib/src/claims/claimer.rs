//! Gives due works to workers that wait for them: one task for a process, which claims for all of them together.
//!
//! It sleeps until the feed says that something is due, the next work falls due, or somebody begins to wait. So a
//! thousand waiting workers cost nothing, and one new work goes to one of them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::claims::{ClaimsError, metrics};
use crate::domain::{KindName, WorkerName, is_full};
use crate::feed::AnyFeed;
use crate::kinds::Registry;
use crate::log_repeated;
use crate::store::{AnyStore, CLAIMED_BYTES, ClaimedRun, Place, Result, RunningAttempt};

/// The longest time between two looks at what is due, in case a wake-up was lost.
const POLL: Duration = Duration::from_secs(1);
/// The time after which works that others hold for a moment are asked for again.
const HELD_BY_OTHERS: Duration = Duration::from_millis(20);
/// The most works that one statement claims.
const MOST_PLACES: usize = 1_000;
/// The kinds of which one statement reads what is due.
const KINDS_AT_ONCE: usize = 1_000;

/// A worker that waits for works.
pub(super) struct Waiting {
    /// The kinds that it does, in order.
    pub(super) kinds: Vec<KindName>,
    pub(super) worker: WorkerName,
    pub(super) lease: Duration,
    pub(super) max: usize,
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<std::result::Result<Vec<ClaimedRun>, ClaimsError>>,
}

/// The task.
pub(super) struct Claimer {
    pub(super) store: AnyStore,
    pub(super) feed: AnyFeed,
    pub(super) kinds: Registry,
    pub(super) incoming: mpsc::Receiver<Waiting>,
    pub(super) waiting: VecDeque<Waiting>,
}

impl Claimer {
    /// Answers workers until `stop` is cancelled; then those that still wait get nothing, and nobody may wait any more.
    pub(super) async fn run(&mut self, stop: CancellationToken) {
        let (mut due, mut changes) = (self.feed.listen(), self.kinds.changes());
        let mut next_look = Instant::now();
        while !stop.is_cancelled() {
            let first_end = self.waiting.iter().map(|one| one.until).min();
            let next = first_end.map_or(next_look, |end| end.min(next_look));
            let idle = self.waiting.is_empty();
            let look = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                come = self.incoming.recv() => match come {
                    Some(one) => {
                        self.waiting.push_back(one);
                        true
                    }
                    None => break,
                },
                () = due.changed(), if !idle => true,
                Ok(()) = changes.changed(), if !idle => true,
                () = sleep_until(next), if !idle => next == next_look,
            };
            while let Ok(one) = self.incoming.try_recv() {
                self.waiting.push_back(one);
            }
            self.waiting.retain(|one| !one.reply.is_closed());
            if look && !self.waiting.is_empty() {
                next_look = Instant::now() + self.look().await;
            }
            self.end_waits(Instant::now());
            metrics::waiting(self.waiting.len());
        }
        self.incoming.close();
        while let Ok(one) = self.incoming.try_recv() {
            self.waiting.push_back(one);
        }
        self.waiting.drain(..).for_each(|one| drop(one.answer(Vec::new())));
    }

    /// Claims what is due for those that wait. Returns the time until the next look. An error is the answer for all.
    async fn look(&mut self) -> Duration {
        match self.claim_all().await {
            Ok(pause) => pause,
            Err(error) => {
                log_repeated!(Warn, "claims of workers", "{error}");
                for one in self.waiting.drain(..) {
                    let _ = one.reply.send(Err(error.clone().into()));
                }
                POLL
            }
        }
    }

    async fn claim_all(&mut self) -> Result<Duration> {
        // Workers with the same kinds are served by one statement, the first first.
        let mut groups: BTreeMap<Vec<KindName>, VecDeque<Waiting>> = BTreeMap::new();
        for one in std::mem::take(&mut self.waiting) {
            groups.entry(one.kinds.clone()).or_default().push_back(one);
        }
        // Of many groups only those are asked for that have something due. One group is asked for at once.
        let due = match groups.len() {
            1 => Ok(None),
            _ => self.until_due(groups.keys().flatten()).await.map(Some),
        };
        let mut failed = due.as_ref().err().cloned();
        let is_due = |kind: &KindName| match &due {
            Ok(Some(due)) => due.get(kind) == Some(&Duration::ZERO),
            Ok(None) | Err(_) => true,
        };
        for (kinds, mut group) in groups {
            let of_group: Vec<KindName> = kinds.into_iter().filter(is_due).collect();
            let mut more = !of_group.is_empty();
            while more && failed.is_none() && !group.is_empty() {
                match self.claim_for(&of_group, &mut group).await {
                    Ok(may_have_more) => more = may_have_more,
                    Err(error) => failed = Some(error),
                }
            }
            self.waiting.extend(group);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let kinds = self.waiting.iter().flat_map(|one| &one.kinds);
        let next = self.until_due(kinds).await?.into_values().min().unwrap_or(POLL);
        // What is due now is held by others.
        Ok(next.clamp(HELD_BY_OTHERS, POLL))
    }

    /// The kinds of these that have pending works, and the time until the first of each is due.
    async fn until_due(&self, kinds: impl Iterator<Item = &KindName>) -> Result<HashMap<KindName, Duration>> {
        let kinds: HashSet<&KindName> = kinds.collect();
        let kinds: Vec<KindName> = kinds.into_iter().cloned().collect();
        let mut due = HashMap::new();
        for part in kinds.chunks(KINDS_AT_ONCE) {
            due.extend(self.store.until_due(part).await?);
        }
        Ok(due)
    }

    /// Claims works for the first of a group and answers those that got some. Returns whether more may be due.
    async fn claim_for(&self, kinds: &[KindName], group: &mut VecDeque<Waiting>) -> Result<bool> {
        let places: Vec<Place> = group
            .iter()
            .flat_map(|one| {
                std::iter::repeat_with(|| Place {
                    worker: one.worker.clone(),
                    lease: one.lease,
                    claim: rand::random(),
                })
                .take(one.max)
            })
            .take(MOST_PLACES)
            .collect();
        let mut runs = self.store.claim_runs(kinds, &places).await?;
        let bytes = usize::try_from(CLAIMED_BYTES).unwrap_or(usize::MAX);
        let may_have_more = runs.len() == places.len() || is_full(&runs, bytes, |run| run.args.bytes());
        self.feed.announce();
        metrics::claimed(&runs);
        let mut order: Vec<i64> = places.into_iter().map(|place| place.claim).collect();
        while !runs.is_empty() {
            let Some(one) = group.pop_front() else { break };
            let own: HashSet<i64> = order.drain(..one.max.min(order.len())).collect();
            let (mine, others) = runs.into_iter().partition(|run| own.contains(&run.claim));
            runs = others;
            if let Some(undelivered) = one.answer(mine) {
                hand_back(&self.store, &self.feed, undelivered).await;
            }
        }
        Ok(may_have_more)
    }

    fn end_waits(&mut self, now: Instant) {
        if self.waiting.iter().any(|one| one.until <= now) {
            let (over, still) = std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|one| one.until <= now);
            self.waiting = still;
            let over: VecDeque<Waiting> = over;
            over.into_iter().for_each(|one| drop(one.answer(Vec::new())));
        }
    }
}

/// Makes works pending again that did not get to their worker.
pub(super) async fn hand_back(store: &AnyStore, feed: &AnyFeed, runs: Vec<ClaimedRun>) {
    let mut by_kind: BTreeMap<KindName, Vec<RunningAttempt>> = BTreeMap::new();
    for ClaimedRun {
        kind, message_id, run, ..
    } in runs
    {
        by_kind
            .entry(kind)
            .or_default()
            .push(RunningAttempt { message_id, run });
    }
    for (kind, attempts) in by_kind {
        if let Err(error) = store.hand_back(&kind, &attempts).await {
            log_repeated!(Warn, "works of workers that left wait for their leases", "{error}");
        }
    }
    feed.poke();
}

impl Waiting {
    /// Answers; returns the runs of a worker that has left.
    fn answer(self, runs: Vec<ClaimedRun>) -> Option<Vec<ClaimedRun>> {
        self.reply.send(Ok(runs)).err()?.ok().filter(|runs| !runs.is_empty())
    }
}
