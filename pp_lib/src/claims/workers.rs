//! The workers and what they work on, for operators.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{KindName, Work, WorkCode, WorkId, WorkerName};
use crate::store::{AnyStore, Result, RunningWork, WorkerRow};

/// A worker, as its JSON shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SeenWorker {
    /// Its name.
    pub name: WorkerName,
    /// The kinds that it asked for last, or has handlers for.
    pub kinds: Vec<KindName>,
    /// True if it was heard of a short time ago.
    pub is_there: bool,
    /// Unix second in which it was heard of first; null if only its works are known.
    pub since: Option<i64>,
    /// Unix second in which it was heard of last.
    pub seen_on: i64,
    /// What it works on, the longest first.
    pub works: Vec<SeenRun>,
}

/// A running work, as its JSON shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SeenRun {
    /// The work.
    pub id: WorkId,
    /// Its code.
    pub work_code: WorkCode,
    /// Its kind.
    pub kind: KindName,
    /// The attempt, from 1.
    pub attempt: i32,
    /// Unix second in which the attempt began.
    pub since: i64,
    /// Unix second in which the worker was heard of last about it.
    pub seen_on: i64,
    /// Unix second in which the lease ends.
    pub lease_until: i64,
    /// How far it is, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// The worker's words for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The workers, the one that was heard of last first, each with its running works. At most `limit` of each.
///
/// # Errors
/// The store cannot be asked.
pub async fn workers(store: &AnyStore, limit: u16) -> Result<Vec<SeenWorker>> {
    Ok(joined(store.workers(limit).await?, store.running_works(limit).await?))
}

fn joined(workers: Vec<WorkerRow>, running: Vec<RunningWork>) -> Vec<SeenWorker> {
    let mut of_worker: BTreeMap<WorkerName, Vec<SeenRun>> = BTreeMap::new();
    for one in running {
        // A work of an older program names no worker.
        let name = one
            .worker
            .clone()
            .unwrap_or_else(|| WorkerName::stored(WorkerName::CONSUMER));
        of_worker.entry(name).or_default().push(one.into());
    }
    let mut seen: Vec<SeenWorker> = workers
        .into_iter()
        .map(|row| {
            let works = of_worker.remove(&row.name).unwrap_or_default();
            SeenWorker {
                name: row.name,
                kinds: row.kinds,
                is_there: row.is_there || !works.is_empty(),
                since: Some(row.since),
                seen_on: heard(&works).map_or(row.seen_on, |heard| heard.max(row.seen_on)),
                works,
            }
        })
        .collect();
    seen.extend(of_worker.into_iter().map(|(name, works)| SeenWorker {
        name,
        kinds: Vec::new(),
        is_there: true,
        since: None,
        seen_on: heard(&works).unwrap_or_default(),
        works,
    }));
    seen
}

fn heard(works: &[SeenRun]) -> Option<i64> {
    works.iter().map(|work| work.seen_on).max()
}

impl From<RunningWork> for SeenRun {
    fn from(running: RunningWork) -> Self {
        let Work {
            id,
            work_code,
            kind,
            attempt,
            progress,
            ..
        } = running.work;
        let progress = progress.map(|progress| (progress.percent, progress.note));
        let (progress, note) = progress.map_or((None, String::new()), |(percent, note)| (Some(percent), note));
        Self {
            id,
            work_code,
            kind,
            attempt,
            since: running.since,
            seen_on: running.heard_on,
            lease_until: running.lease_until,
            progress,
            note,
        }
    }
}
