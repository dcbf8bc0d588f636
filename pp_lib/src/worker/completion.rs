//! Bringing outcomes into the store, whatever it takes: waiting while it is away, taking a batch apart when something
//! in it is refused, and a new code when one is taken.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use crate::feed::AnyFeed;
use crate::runtime::{Retry, new_work_code};
use crate::store::{AnyStore, Completed, Completion, Outcome, StoreError, log_given_up};

/// What became of a completion in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It took effect.
    Applied,
    /// The row had moved on.
    Superseded,
    /// The store takes others like it, and will never take this one; its words.
    Refused(String),
    /// The program was stopped, or is to stop, before the store took it; nothing is known about it.
    Abandoned,
}

/// Completes all; one ending for each, in order. What the store will not take as it is, is recorded as failed, so that its
/// row tells of it; the completion then says so. Each is tried once at least; the store is not waited for any more once
/// `abandon` is cancelled, or when a newer program has changed the database.
pub(super) async fn complete(
    store: &AnyStore,
    feed: &AnyFeed,
    all: &mut [Completion],
    abandon: &CancellationToken,
) -> Vec<Ending> {
    let mut endings = vec![Ending::Abandoned; all.len()];
    let mut patience = Retry::new("recording results");
    let mut parts = VecDeque::from([(0..all.len()).collect::<Vec<usize>>()]);
    while let Some(part) = parts.pop_front() {
        if part.is_empty() {
            continue;
        }
        let batch: Vec<Completion> = part.iter().map(|index| all[*index].clone()).collect();
        match store.complete(&batch).await {
            Ok(completed) => {
                patience.recovered();
                feed.announce();
                let mut again = Vec::new();
                for (index, completed) in part.into_iter().zip(completed) {
                    match completed {
                        Completed::Applied => {
                            endings[index] = Ending::Applied;
                            if let Outcome::Failed { reason } = &all[index].outcome {
                                log_given_up(&all[index].work_code, reason);
                            }
                        }
                        Completed::Superseded => endings[index] = Ending::Superseded,
                        Completed::CodeTaken => {
                            all[index].work_code = new_work_code(all[index].work_code.origin());
                            again.push(index);
                        }
                    }
                }
                parts.push_front(again);
            }
            Err(StoreError::Rejected(reason)) if part.len() == 1 => match &mut all[part[0]].outcome {
                Outcome::Failed { .. } => endings[part[0]] = Ending::Refused(reason),
                outcome => {
                    *outcome = Outcome::Failed {
                        reason: format!("its outcome was refused: {reason}"),
                    };
                    parts.push_front(part);
                }
            },
            Err(StoreError::Rejected(reason)) => {
                log::debug!("a batch of {} was refused and is taken apart: {reason}", part.len());
                let (first, second) = part.split_at(part.len() / 2);
                parts.push_front(second.to_vec());
                parts.push_front(first.to_vec());
            }
            Err(StoreError::Outdated(_)) => break,
            Err(error) => {
                parts.push_front(part);
                if !patience.wait(&error, abandon).await {
                    break;
                }
            }
        }
    }
    endings
}
