//! Reports of workers about their runs: ends and heartbeats, recorded in batches, and the reason where a run is over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::claims::RunToken;
use crate::domain::{Json, KindName, PART_BYTES, Progress, Run, Status, Work, WorkId, is_full, parts};
use crate::feed::AnyFeed;
use crate::kinds::{EndMeter, Failure, Policy, Registry};
use crate::store::{
    AnyStore, Completed, Completion, Extension, Guard, HeldRun, Outcome, Result, RunState, StoreError, log_given_up,
};

/// The most runs of one statement.
const AT_ONCE: usize = 1_000;

/// The end of a run: its result, or why there is none.
pub type RunEnd = std::result::Result<Json, Failure>;

/// The reason why a run is over for its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its lease ran out, and another attempt began or will begin.
    Expired,
    /// The work was cancelled or deleted.
    Cancelled,
    /// The work got other arguments.
    Updated,
    /// The work was started over.
    Redriven,
    /// The run ended already, in another way than this.
    Finished,
}

impl Over {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Updated => "updated",
            Self::Redriven => "redriven",
            Self::Finished => "finished",
        }
    }
}

/// A completion with the number of its report.
type Numbered = (usize, Completion);

/// A run of a work.
type RunKey = (WorkId, Run);

impl RunToken {
    fn key(&self) -> RunKey {
        (self.held.id, self.held.run)
    }
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The run.
    pub run: RunToken,
    /// The longest silence from now on; that of the claim by default.
    pub lease: Option<Duration>,
    /// How far the work is.
    pub progress: Option<Progress>,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Unix second in which the lease ends; `None` if it has ended.
    pub lease_until: Option<i64>,
    /// True if the worker should stop: the work was cancelled, or the run takes longer than its kind allows.
    pub cancel_requested: bool,
}

/// What the reports of workers are recorded with.
#[derive(Clone)]
pub(super) struct Reports {
    pub(super) store: AnyStore,
    pub(super) feed: AnyFeed,
    pub(super) kinds: Registry,
    /// The most bytes of a result.
    pub(super) args_limit: usize,
}

impl Reports {
    /// Records ends of runs. Returns for each the work as it is now, or why the run is over.
    pub(super) async fn end(&self, ends: &[(RunToken, RunEnd)]) -> Result<Vec<std::result::Result<Work, Over>>> {
        let failing = ends.iter().filter(|(_, end)| end.is_err()).map(|(token, _)| token);
        let failing = self.states(failing).await?;
        // A statement takes one run of a work. Others of the same work, which one at most can end, follow in the next one.
        let mut turns: Vec<BTreeMap<&KindName, Vec<Numbered>>> = Vec::new();
        let mut seen: HashSet<&HeldRun> = HashSet::new();
        let mut runs_of: HashMap<WorkId, usize> = HashMap::new();
        for (number, (token, end)) in ends.iter().enumerate() {
            // A run that stands here twice is ended once; the other one is told of it.
            if seen.insert(&token.held) {
                let failures = failing.get(&token.key()).map_or(0, |state| state.failures);
                let outcome = self
                    .policy(token.kind())
                    .outcome(self.args_limit, failures, end.clone());
                let turn = runs_of.entry(token.held.id).or_default();
                if turns.len() == *turn {
                    turns.push(BTreeMap::new());
                }
                turns[*turn]
                    .entry(token.kind())
                    .or_default()
                    .push((number, completion(token, outcome)));
                *turn += 1;
            }
        }
        let mut applied = vec![false; ends.len()];
        for (kind, completions) in turns.into_iter().flatten() {
            for number in self.complete(kind, completions).await? {
                applied[number] = true;
            }
        }
        // A repetition finds what the first one did, so the others are answered from what is there now.
        let others = ends.iter().zip(&applied).filter(|(_, applied)| !**applied);
        let states = self.states(others.map(|((token, _), _)| token)).await?;
        let own = |((token, end), applied): (&(RunToken, RunEnd), &bool)| match states.get(&token.key()) {
            _ if *applied => Ok(token.held.id),
            Some(state) if is_own_end(token, state, end) => Ok(token.held.id),
            state => Err(over(token, state)),
        };
        let answers: Vec<std::result::Result<WorkId, Over>> = ends.iter().zip(&applied).map(own).collect();
        let works = self
            .works(answers.iter().filter_map(|answer| answer.ok()).collect())
            .await?;
        let work_of = |id: WorkId| works.get(&id).cloned().ok_or(Over::Cancelled);
        Ok(answers.into_iter().map(|answer| answer.and_then(work_of)).collect())
    }

    /// Extends leases and stores progress. Returns for each the new lease, or why the run is over.
    pub(super) async fn beat(&self, beats: &[Heartbeat]) -> Result<Vec<std::result::Result<Beat, Over>>> {
        let ends_on = |token: &RunToken| {
            let timeout = self.policy(token.kind()).timeout;
            token
                .began_on
                .saturating_add(i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX))
        };
        let extensions: Vec<Extension> = beats
            .iter()
            .map(|beat| Extension {
                held: beat.run.held.clone(),
                lease: beat.lease.unwrap_or(beat.run.lease),
                ends_on: ends_on(&beat.run),
            })
            .collect();
        let mut until = Vec::with_capacity(beats.len());
        for part in extensions.chunks(AT_ONCE) {
            until.extend(self.store.extend_runs(part).await?);
        }
        let told: HashMap<HeldRun, Progress> = beats
            .iter()
            .zip(&until)
            .filter(|(_, until)| until.is_some())
            .filter_map(|(beat, _)| Some((beat.run.held.clone(), beat.progress.clone()?)))
            .collect();
        let told: Vec<(HeldRun, Progress)> = told.into_iter().collect();
        for part in told.chunks(AT_ONCE) {
            self.store.tell_progress(part).await?;
            self.feed.announce();
        }
        let lost = beats.iter().zip(&until).filter(|(_, until)| until.is_none());
        let states = self.states(lost.map(|(beat, _)| &beat.run)).await?;
        let answer = |(beat, until): (&Heartbeat, Option<i64>)| match until {
            Some(until) => Ok(Beat {
                lease_until: Some(until),
                cancel_requested: until > ends_on(&beat.run),
            }),
            None => match over(&beat.run, states.get(&beat.run.key())) {
                Over::Cancelled => Ok(Beat {
                    lease_until: None,
                    cancel_requested: true,
                }),
                over => Err(over),
            },
        };
        Ok(beats.iter().zip(until).map(answer).collect())
    }

    fn policy(&self, kind: &KindName) -> Policy {
        self.kinds
            .get(kind)
            .map_or(Policy::DEFAULT, |known| known.policy.clone())
    }

    /// Completes runs of a kind. An outcome that the store refuses is recorded as failed. Returns the numbers of those that
    /// took effect.
    async fn complete(&self, kind: &KindName, completions: Vec<Numbered>) -> Result<Vec<usize>> {
        let parts = parts(&completions, AT_ONCE, PART_BYTES, |(_, one)| one.bytes());
        let mut parts: Vec<Vec<Numbered>> = parts.map(<[Numbered]>::to_vec).collect();
        let mut applied = Vec::with_capacity(completions.len());
        while let Some(mut part) = parts.pop() {
            let of_part: Vec<Completion> = part.iter().map(|(_, one)| one.clone()).collect();
            match self.store.complete(kind, &of_part).await {
                Ok(completed) => {
                    self.tell(kind, &of_part, &completed);
                    let numbers = part.iter().zip(&completed);
                    let numbers = numbers.filter(|(_, completed)| **completed == Completed::Applied);
                    applied.extend(numbers.map(|((number, _), _)| *number));
                }
                Err(StoreError::Rejected(reason)) => match &mut part[..] {
                    [(_, one)] if matches!(one.outcome, Outcome::Failed { .. }) => {
                        return Err(StoreError::Rejected(reason));
                    }
                    [(_, one)] => {
                        one.outcome = Outcome::Failed {
                            reason: format!("its outcome was refused: {reason}"),
                        };
                        parts.push(part);
                    }
                    _ => {
                        let rest = part.split_off(part.len() / 2);
                        parts.extend([rest, part]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(applied)
    }

    fn tell(&self, kind: &KindName, part: &[Completion], completed: &[Completed]) {
        let applied = |(_, completed): &(&Completion, &Completed)| **completed == Completed::Applied;
        let outcomes = part.iter().zip(completed).filter(applied).map(|(one, _)| &one.outcome);
        EndMeter::new(kind).ended(outcomes);
        let mut due = false;
        for (one, _) in part.iter().zip(completed).filter(applied) {
            due |= one.outcome.due_in().is_some();
            if let Outcome::Failed { reason } = &one.outcome {
                log_given_up(&one.work_code, reason);
            }
        }
        match due {
            true => self.feed.poke(),
            false => self.feed.announce(),
        }
    }

    async fn states<'a>(&self, tokens: impl Iterator<Item = &'a RunToken>) -> Result<HashMap<RunKey, RunState>> {
        let held: Vec<HeldRun> = tokens.map(|token| token.held.clone()).collect();
        let mut states = HashMap::new();
        for part in held.chunks(AT_ONCE) {
            let of_part = self.store.run_states(part).await?;
            states.extend(of_part.into_iter().map(|state| ((state.id, state.asked), state)));
        }
        Ok(states)
    }

    async fn works(&self, mut ids: Vec<WorkId>) -> Result<HashMap<WorkId, Work>> {
        let mut works: HashMap<WorkId, Work> = HashMap::new();
        ids.sort_unstable();
        ids.dedup();
        while !ids.is_empty() {
            let found = self.store.by_ids(&ids).await?;
            let full = is_full(&found, PART_BYTES, Work::bytes);
            works.extend(found.into_iter().map(|work| (work.id, work)));
            ids.retain(|id| full && !works.contains_key(id));
        }
        Ok(works)
    }
}

fn completion(token: &RunToken, outcome: Outcome) -> Completion {
    Completion {
        message_id: token.message_id.clone(),
        work_code: token.work_code.clone(),
        args: None,
        guard: Guard::Claimed(token.held.run, token.held.claim),
        outcome,
    }
}

/// True if the row is as this end leaves it, and by this run.
fn is_own_end(token: &RunToken, state: &RunState, end: &RunEnd) -> bool {
    let (run, claim) = (token.held.run, token.held.claim);
    let is_own = !state.is_deleted && state.claim == Some(claim) && state.run.generation == run.generation;
    let is_last = state.run.attempt == run.attempt;
    let was_put_off = state.status == Status::Pending && state.run.attempt == run.attempt.saturating_add(1);
    is_own
        && match end {
            Ok(_) => is_last && matches!(state.status, Status::Done | Status::Failed),
            Err(_) => was_put_off || (is_last && matches!(state.status, Status::Failed | Status::Cancelled)),
        }
}

fn over(token: &RunToken, state: Option<&RunState>) -> Over {
    let run = token.held.run;
    match state {
        None => Over::Cancelled,
        Some(state) if state.is_deleted => Over::Cancelled,
        Some(state) if state.run.generation > run.generation => match state.was_redriven {
            true => Over::Redriven,
            false => Over::Updated,
        },
        Some(state) if state.status == Status::Cancelled && state.claim.is_none() => Over::Cancelled,
        Some(state) if state.was_lost => Over::Expired,
        Some(state) if state.claim == Some(token.held.claim) || state.run.attempt > run.attempt => Over::Finished,
        Some(_) => Over::Expired,
    }
}
