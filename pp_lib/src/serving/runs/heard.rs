//! Tells the store which workers were heard of: all of a process together, and each at most every few seconds.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::domain::{KindName, WorkerName};
use crate::runtime::Retry;
use crate::store::{AnyStore, Result};

/// The interval of writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time for which a worker needs no other note.
const NOTED_FOR: Duration = Duration::from_secs(5);
/// The most workers that a process keeps in mind. Others are noted once there is room.
const MOST: usize = 10_000;

/// The workers that a process heard of lately.
#[derive(Default)]
pub(super) struct Heard(Mutex<HashMap<WorkerName, Note>>);

struct Note {
    kinds: Vec<KindName>,
    /// The time of the last write; `None` while it is to be written.
    written: Option<Instant>,
}

impl Heard {
    /// Notes that a worker asked for works of these kinds.
    pub(super) fn note(&self, worker: &WorkerName, kinds: &[KindName]) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.get(worker).is_some_and(|note| {
            note.kinds == kinds && note.written.is_none_or(|written| written.elapsed() < NOTED_FOR)
        });
        if !known && (notes.len() < MOST || notes.contains_key(worker)) {
            let note = Note {
                kinds: kinds.to_vec(),
                written: None,
            };
            notes.insert(worker.clone(), note);
        }
    }

    /// Writes notes until `stop` is cancelled.
    pub(super) async fn run(&self, store: &AnyStore, stop: &CancellationToken) {
        let mut retry = Retry::new("noting workers");
        while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
            match self.write(store).await {
                Ok(()) => retry.recovered(),
                Err(error) => {
                    retry.wait(&error, stop).await;
                }
            }
        }
    }

    async fn write(&self, store: &AnyStore) -> Result<()> {
        let mut unwritten: Vec<(WorkerName, Vec<KindName>)> = Vec::new();
        {
            let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            notes.retain(|_, note| note.written.is_none_or(|written| written.elapsed() < NOTED_FOR));
            for (worker, note) in notes.iter_mut().filter(|(_, note)| note.written.is_none()) {
                unwritten.push((worker.clone(), note.kinds.clone()));
                note.written = Some(Instant::now());
            }
        }
        if unwritten.is_empty() {
            return Ok(());
        }
        let kinds: BTreeSet<KindName> = unwritten.iter().flat_map(|(_, kinds)| kinds.iter().cloned()).collect();
        store.workers_heard(&unwritten).await?;
        store.worker_seen(&kinds.into_iter().collect::<Vec<_>>()).await?;
        Ok(())
    }
}
