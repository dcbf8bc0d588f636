//! What is known by code: in the cache, and in this process what the cache could not be told.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::memory::MemoryCache;
use crate::cache::{AnyCache, ByCode, CacheOptions};
use crate::domain::WorkCode;
use crate::serving::CacheHandle;

/// How long ids are remembered here; demands without a row are remembered for as long as in any cache.
const KEPT: CacheOptions = CacheOptions {
    ttl: Duration::from_secs(3600),
    staleness: Duration::ZERO,
};

/// Codes and what stands behind them.
#[derive(Clone)]
pub(crate) struct Codes {
    cache: CacheHandle,
    own: AnyCache,
}

/// What is known of a code.
pub(crate) enum Known {
    /// This.
    As(ByCode),
    /// Nothing.
    Nothing,
    /// Nothing here, and the cache cannot be asked.
    Unsure,
}

impl Codes {
    pub(crate) fn new(cache: CacheHandle) -> Self {
        let own = Arc::new(MemoryCache::new(KEPT));
        Self { cache, own }
    }

    pub(crate) async fn known(&self, code: &WorkCode) -> Known {
        let shared = self.cache.by_code(code.clone()).await;
        if let Some(Some(known)) = shared {
            return Known::As(known);
        }
        // It is in memory and does not fail.
        let own = self.own.by_codes(slice::from_ref(code)).await.unwrap_or_default();
        match (own.into_iter().next().flatten(), shared) {
            (Some(known), _) => Known::As(known),
            (None, Some(_)) => Known::Nothing,
            (None, None) => Known::Unsure,
        }
    }

    /// Remembers what is known of a code: here, where the cache does not take it. Whether the cache has it.
    pub(crate) async fn remember(&self, code: WorkCode, known: ByCode) -> bool {
        let shared = self.cache.put_code(code.clone(), known.clone()).await;
        // An id also takes the place of the demand that may be remembered here.
        if !shared || matches!(known, ByCode::Id(_)) {
            let _ = self.own.put_codes(&[(code, known)]).await;
        }
        shared
    }
}
