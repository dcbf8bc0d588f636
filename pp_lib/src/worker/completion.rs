//! Records outcomes in the store: waits while it is unavailable, splits a refused batch, and replaces taken codes.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::domain::Json;
use crate::feed::AnyFeed;
use crate::runtime::{Retry, new_work_code};
use crate::store::{AnyStore, Completed, Completion, Extension, Outcome, StoreError, log_given_up};
use crate::worker::attempt::{Attempt, Attempts};
use crate::worker::remaining::Remaining;

/// The result of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CompletionResult {
    /// The outcome was recorded.
    Applied,
    /// The row is running at this very run, and has these arguments.
    Started(Json),
    /// The row had moved on.
    Superseded,
    /// The store accepts others and will never accept this one, for this reason.
    Refused(String),
    /// The program stopped before the store confirmed the outcome. It may or may not be recorded.
    Abandoned,
}

/// Completes all, with one result for each, in order. An outcome that the store refuses is recorded as failed, in the
/// row and in `all`. Each completion is tried at least once. Retries end when `abandon` is cancelled, or when a newer
/// program has changed the database.
pub(super) async fn complete(
    store: &AnyStore,
    feed: &AnyFeed,
    attempts: &Attempts,
    all: &mut [Completion],
    abandon: &CancellationToken,
) -> Vec<CompletionResult> {
    let mut results = vec![CompletionResult::Abandoned; all.len()];
    let mut retry = Retry::new("recording results");
    let mut remaining = Remaining::new(all, Completion::bytes);
    while let Some(part) = remaining.next() {
        let batch: Vec<Completion> = part.iter().map(|index| all[*index].clone()).collect();
        let began = Instant::now();
        let completed = store.complete(&attempts.kind, &batch).await;
        attempts.meter.committed(batch.len(), began.elapsed());
        match completed {
            Ok(completed) => {
                retry.recovered();
                feed.announce();
                let mut again = Vec::new();
                for (index, completed) in part.into_iter().zip(completed) {
                    match completed {
                        Completed::Applied => {
                            results[index] = CompletionResult::Applied;
                            if let Outcome::Failed { reason } = &all[index].outcome {
                                log_given_up(&all[index].work_code, reason);
                            }
                        }
                        Completed::Started(args) => results[index] = CompletionResult::Started(args),
                        Completed::Superseded => results[index] = CompletionResult::Superseded,
                        Completed::CodeTaken => {
                            all[index].work_code = new_work_code(all[index].work_code.origin());
                            again.push(index);
                        }
                    }
                }
                remaining.again(again);
            }
            Err(StoreError::Rejected(reason)) if part.len() == 1 => match &mut all[part[0]].outcome {
                Outcome::Failed { .. } => results[part[0]] = CompletionResult::Refused(reason),
                outcome => {
                    *outcome = Outcome::Failed {
                        reason: format!("its outcome was refused: {reason}"),
                    };
                    remaining.again(part);
                }
            },
            Err(StoreError::Rejected(reason)) => {
                log::debug!("a batch of {} was refused and is taken apart: {reason}", part.len());
                remaining.halve(part);
            }
            Err(StoreError::Outdated(_)) => break,
            Err(error) => {
                remaining.again(part);
                if !retry.wait(&error, abandon).await {
                    break;
                }
            }
        }
    }
    attempts.meter.ended(all, &results);
    results
}

/// Extends the leases of runs that others end, to the time limit of their kind. What is lost meanwhile is begun again.
pub(super) async fn leave(store: &AnyStore, attempts: &Attempts, left: &[Attempt], abandon: &CancellationToken) {
    let timeout = attempts.policy.borrow().timeout;
    let extensions = left
        .iter()
        .filter_map(|attempt| attempt.extension(&attempts.kind, timeout));
    let extensions: Vec<Extension> = extensions.collect();
    let mut retry = Retry::new("extending leases of runs that others end");
    while !extensions.is_empty() {
        match store.extend_runs(&extensions).await {
            Ok(_) => return retry.recovered(),
            Err(error) => {
                if !retry.wait(&error, abandon).await {
                    return;
                }
            }
        }
    }
}
