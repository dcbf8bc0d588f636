//! Codes of works and demands: kept in the cache, and in this process while the cache is unavailable.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::memory::MemoryCache;
use crate::cache::{AnyCache, ByCode, CacheOptions};
use crate::domain::WorkCode;
use crate::serving::CacheHandle;

/// Ids are kept locally for an hour, demands without a row as long as in any cache.
const KEPT: CacheOptions = CacheOptions {
    ttl: Duration::from_secs(3600),
    staleness: Duration::ZERO,
};

/// The ids and demands behind codes.
#[derive(Clone)]
pub(crate) struct Codes {
    cache: CacheHandle,
    local: AnyCache,
}

/// The result of looking up a code.
pub(crate) enum Known {
    Found(ByCode),
    Unknown,
    /// The code is unknown here, and the cache is unavailable.
    CacheAway,
}

impl Codes {
    pub(crate) fn new(cache: CacheHandle) -> Self {
        let local = Arc::new(MemoryCache::new(KEPT));
        Self { cache, local }
    }

    pub(crate) async fn known(&self, code: &WorkCode) -> Known {
        let shared = self.cache.by_code(code.clone()).await;
        if let Some(Some(known)) = shared {
            return Known::Found(known);
        }
        // A cache in memory does not fail.
        let local = self.local.by_codes(slice::from_ref(code)).await.unwrap_or_default();
        match (local.into_iter().next().flatten(), shared) {
            (Some(known), _) => Known::Found(known),
            (None, Some(_)) => Known::Unknown,
            (None, None) => Known::CacheAway,
        }
    }

    /// Remembers the id or demand of a code: locally if the cache fails. Returns true if the cache has it.
    pub(crate) async fn remember(&self, code: WorkCode, known: ByCode) -> bool {
        let shared = self.cache.put_code(code.clone(), known.clone()).await;
        // An id also replaces the demand that may be remembered locally.
        if !shared || matches!(known, ByCode::Id(_)) {
            let _ = self.local.put_codes(&[(code, known)]).await;
        }
        shared
    }
}
