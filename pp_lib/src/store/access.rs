//! API keys, and the audit: who changed what.
//!
//! The adapters write the row of the audit in the commit of the change that it tells of.

use std::time::Duration;

use async_trait::async_trait;

use super::dead_letters::{LetterFilter, Selection};
use super::error::Result;
use crate::domain::{ApiKeyId, AuditEntry, KeyDigest, KeyInfo, KeyLabel, Principal, Scopes, WorksPerDay};

/// The most valid keys of a store.
pub const MOST_KEYS: usize = 1_000;

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its name.
    pub name: KeyLabel,
    /// What it allows.
    pub scopes: Scopes,
    /// The most works that it may create in a day.
    pub works_per_day: Option<WorksPerDay>,
    /// SHA-256 of the key.
    pub digest: KeyDigest,
}

/// The result of making a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyCreated {
    /// It is valid.
    Created(KeyInfo),
    /// A valid key has the name.
    NameTaken,
    /// There are [`MOST_KEYS`] valid keys.
    TooMany,
}

/// Works that a key is about to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyWorks {
    /// The key.
    pub id: ApiKeyId,
    /// Their number.
    pub works: u32,
    /// The most works of the key in a day.
    pub most: WorksPerDay,
}

/// The result of counting works of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorksCounted {
    /// They may be created.
    Within,
    /// They would be too many. Nothing was counted.
    Beyond {
        /// Until the next day begins.
        next_day_in: Duration,
    },
}

/// The API keys.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Makes a key.
    async fn create_key(&self, by: &Principal, new: &NewKey) -> Result<KeyCreated>;

    /// Makes a key unless a valid one has the scope `admin`. Returns whether the store has this very key now, as a valid
    /// one. Calls at the same time make one key.
    async fn create_first_key(&self, by: &Principal, new: &NewKey) -> Result<bool>;

    /// Ends a key; one that has ended stays as it is. `None` if there is no such key.
    async fn revoke_key(&self, by: &Principal, id: ApiKeyId) -> Result<Option<KeyInfo>>;

    /// The valid keys, and the newest [`MOST_KEYS`] revoked ones, in the order of their numbers.
    async fn keys(&self) -> Result<Vec<KeyInfo>>;

    /// The valid keys with their digests.
    async fn valid_keys(&self) -> Result<Vec<(KeyDigest, KeyInfo)>>;

    /// A number that is another one after each change of the keys.
    async fn keys_revision(&self) -> Result<i64>;

    /// Counts works for this day (UTC). Each of these is counted as a whole, or not at all where its key would have more
    /// works than it may.
    async fn count_works(&self, counts: &[KeyWorks]) -> Result<Vec<WorksCounted>>;
}

/// Counts with `count`, which counts a number of works of a key as a whole and tells whether it did: all works of a key at
/// once, which usually is within its bound, else one after another. Keys take turns in the order of their numbers.
pub(super) fn count_by_key<E>(
    counts: &[KeyWorks],
    mut count: impl FnMut(ApiKeyId, i64, WorksPerDay) -> std::result::Result<bool, E>,
) -> std::result::Result<Vec<bool>, E> {
    let mut places: Vec<usize> = (0..counts.len()).collect();
    places.sort_by_key(|place| counts[*place].id);
    let mut counted = vec![false; counts.len()];
    for of_key in places.chunk_by(|one, other| counts[*one].id == counts[*other].id) {
        let KeyWorks { id, most, .. } = counts[of_key[0]];
        let sum = of_key.iter().map(|place| i64::from(counts[*place].works)).sum();
        let all = count(id, sum, most)?;
        for place in of_key {
            counted[*place] = all || (of_key.len() > 1 && count(id, counts[*place].works.into(), most)?);
        }
    }
    Ok(counted)
}

/// The rows of the audit that a caller wants. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this principal.
    pub principal: Option<String>,
    /// Of this action.
    pub action: Option<String>,
}

/// The audit.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// The rows below `before` that match, newest first, at most `limit`.
    async fn audit(&self, filter: &AuditFilter, before: Option<i64>, limit: u16) -> Result<Vec<AuditEntry>>;

    /// Removes rows that are older than `kept`, at most `limit`; returns their number.
    async fn purge_audit(&self, kept: Duration, limit: u16) -> Result<u64>;
}

/// A selection of letters as the audit shows it.
pub(super) fn details_of(which: &Selection) -> serde_json::Map<String, serde_json::Value> {
    let shown = match which {
        Selection::Ids(ids) => serde_json::json!({"ids": ids}),
        all if *all == Selection::ALL => serde_json::json!({"all": true}),
        Selection::Matching(LetterFilter { kind, error }) => serde_json::json!({"kind": kind, "error": error}),
    };
    match shown {
        serde_json::Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => serde_json::Map::new(),
    }
}
