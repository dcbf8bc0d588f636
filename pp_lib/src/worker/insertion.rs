//! Inserts rows for demands that are not computed at once: they ask to run later, or to be the only unfinished work with
//! their `unique`. The dispatcher sends the rows when they are due.

use tokio_util::sync::CancellationToken;

use crate::feed::AnyFeed;
use crate::runtime::{Retry, new_work_code};
use crate::store::{AnyStore, NewWork, StoreError};
use crate::worker::completion::CompletionResult;
use crate::worker::remaining::Remaining;

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
    let mut remaining = Remaining::new(&all, NewWork::bytes);
    while let Some(part) = remaining.next() {
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
                remaining.again(again);
            }
            Err(StoreError::Rejected(reason)) if part.len() == 1 => {
                results[part[0]] = CompletionResult::Refused(reason);
            }
            Err(StoreError::Rejected(_)) => remaining.halve(part),
            Err(StoreError::Outdated(_)) => break,
            Err(error) => {
                remaining.again(part);
                if !retry.wait(&error, abandon).await {
                    break;
                }
            }
        }
    }
    results
}
