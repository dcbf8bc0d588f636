//! Inserts rows for demands that are not computed at once: they ask to run later, or to be the only unfinished work with
//! their `unique`. The dispatcher sends the rows when they are due.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use crate::feed::AnyFeed;
use crate::runtime::{Retry, new_work_code};
use crate::store::{AnyStore, NewWork, StoreError};
use crate::worker::completion::CompletionResult;

/// Inserts all, with one result for each, in order. A work that is there already, or is joined to an unfinished one, is
/// inserted as well. Retries end when `abandon` is cancelled, or when a newer program has changed the database.
pub(super) async fn insert(
    store: &AnyStore,
    feed: &AnyFeed,
    mut all: Vec<NewWork>,
    abandon: &CancellationToken,
) -> Vec<CompletionResult> {
    let mut results = vec![CompletionResult::Abandoned; all.len()];
    let mut retry = Retry::new("inserting works");
    let mut parts = VecDeque::from([(0..all.len()).collect::<Vec<usize>>()]);
    while let Some(part) = parts.pop_front() {
        if part.is_empty() {
            continue;
        }
        let batch: Vec<NewWork> = part.iter().map(|index| all[*index].clone()).collect();
        match store.create(&batch).await {
            Ok(created) => {
                retry.recovered();
                feed.poke();
                let mut again = Vec::new();
                for (index, created) in part.into_iter().zip(created) {
                    match created {
                        Some(_) => results[index] = CompletionResult::Applied,
                        None => {
                            all[index].work_code = new_work_code(all[index].work_code.origin());
                            again.push(index);
                        }
                    }
                }
                parts.push_front(again);
            }
            Err(StoreError::Rejected(reason)) if part.len() == 1 => {
                results[part[0]] = CompletionResult::Refused(reason);
            }
            Err(StoreError::Rejected(_)) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.push_front(second.to_vec());
                parts.push_front(first.to_vec());
            }
            Err(StoreError::Outdated(_)) => break,
            Err(error) => {
                parts.push_front(part);
                if !retry.wait(&error, abandon).await {
                    break;
                }
            }
        }
    }
    results
}
