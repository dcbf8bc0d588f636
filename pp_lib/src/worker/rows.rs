//! A lane that claims its works from the store, where they pass no broker.

use std::time::Duration;

use super::attempt::Attempt;
use super::group_result::GroupResult;
use super::isolation;
use super::lane::RunningLane;
use crate::claims::{ClaimRuns, Claims};
use crate::log_repeated;
use crate::runtime::{Part, Retry, new_consumer_name};
use crate::store::{ClaimedRun, Result, RunningAttempt};

/// The longest wait of one claim.
const WAIT: Duration = Duration::from_secs(60);

impl RunningLane<'_> {
    /// Claims works and does them, as many at once as there are free places.
    pub(super) async fn take_rows(&self, claims: &Claims, part: Part) {
        let mut retry = Retry::shown("claiming works", part);
        let worker = self.consumer.worker.clone().unwrap_or_else(new_consumer_name);
        while !self.stop.is_cancelled() {
            if self.stop.run_until_cancelled(self.places.acquire()).await.is_none() {
                return;
            }
            let free = self.places.available_permits().max(1);
            let wanted = ClaimRuns {
                kinds: vec![self.consumer.attempts.kind.clone()],
                worker: worker.clone(),
                max: u16::try_from(free).unwrap_or(u16::MAX),
                wait: WAIT,
                lease: self.consumer.attempts.policy.borrow().lease,
            };
            match claims.claim(wanted, self.stop.cancelled()).await {
                Ok(runs) => {
                    retry.recovered();
                    self.do_all(runs).await;
                }
                Err(error) => {
                    retry.wait(&error, self.stop).await;
                }
            }
        }
    }

    /// Does works in groups. One that may have crashed a worker is done apart from the others.
    async fn do_all(&self, runs: Vec<ClaimedRun>) {
        let attempts = runs.into_iter().map(Attempt::of_run).collect();
        for (place, mut group) in isolation::attempt_groups(attempts).into_iter().enumerate() {
            if place > 0 {
                group = match self.still_held(group).await {
                    Ok(group) => group,
                    Err(error) => {
                        log_repeated!(Warn, "claimed works wait for their leases to run out", "{error}");
                        continue;
                    }
                };
            }
            let _guard = self.consumer.group_lock.acquire(&group).await;
            let mut result = GroupResult::default();
            self.record(group, &mut result).await;
            for (_, reason) in &result.refused {
                log_repeated!(Error, "a result was refused", "{reason}");
            }
        }
    }

    /// Those of a group that waited for others whose leases still hold; they are extended.
    async fn still_held(&self, group: Vec<Attempt>) -> Result<Vec<Attempt>> {
        let (store, of_kind) = (&self.consumer.store, &self.consumer.attempts);
        let lease = of_kind.policy.borrow().lease;
        let held: Vec<RunningAttempt> = group.iter().map(Attempt::lease).collect();
        let held = store.extend_leases(&of_kind.kind, &held, lease).await?;
        Ok(group
            .into_iter()
            .zip(held)
            .filter_map(|(one, held)| held.then_some(one))
            .collect())
    }
}
