//! The cache suite on every adapter.

use std::sync::Arc;

use pp_conformance::cache_suite;
use pp_lib::cache::memory::MemoryCache;
use pp_lib::cache::{AnyCache, CacheOptions};

mod embedded {
    use super::*;

    cache_suite!(in_memory);

    fn in_memory(options: CacheOptions) -> AnyCache {
        Arc::new(MemoryCache::new(options))
    }
}

mod on_servers {
    use super::*;
    use crate::redis::{DEADLINE, connect, new_prefix};

    cache_suite!(in_redis);

    fn in_redis(options: CacheOptions) -> AnyCache {
        Arc::new(connect(&crate::redis::server_url(), &new_prefix(), options, DEADLINE))
    }
}
