//! Redis.

use std::sync::Arc;

use pp_lib::cache::AnyCache;
use pp_lib::cache::redis::RedisCache;
use pp_lib::tls::Trust;

use super::{StartError, wrong};
use crate::config::{CacheArgs, Secret};

pub(super) fn cache(url: &Secret, args: &CacheArgs, trust: &Trust) -> Result<AnyCache, StartError> {
    match RedisCache::connect(url.expose(), trust, &args.prefix, args.options(), RedisCache::TIMEOUT) {
        Ok(cache) => Ok(Arc::new(cache)),
        Err(error) => Err(wrong("PP_CACHE_URL", error.to_string())),
    }
}
