//! Redis: its version and certificate. It is never a reason to stop, because reads come from the database without it.

use std::time::Duration;

use pp_cli::config::{CacheArgs, CacheUrl};
use pp_cli::connect;
use tokio::time::{Instant, sleep};

use super::tls::Place;
use super::{Checked, Doctor, is_at_least, tls};
use crate::failure::one_line;

/// The oldest version that PP is tested with.
const REDIS: (u32, u32) = (7, 0);
const PORT: u16 = 6379;
/// The pause before it is asked again. Calls have a short limit, and the first one has to connect.
const PAUSE: Duration = Duration::from_millis(100);

impl Doctor {
    pub(super) async fn look_at_cache(&self, checked: &mut Checked, address: &CacheUrl, args: &CacheArgs) {
        let CacheUrl::Redis(url) = address else {
            let advice = "set PP_CACHE_URL to look at Redis";
            return checked.note("cache", "not looked at", advice);
        };
        let cache = match connect::caches(address, args, &self.trust) {
            Ok(caches) => caches.cache,
            Err(error) => return checked.wrong("cache", error.to_string(), "correct that variable"),
        };
        let deadline = Instant::now() + self.timeout;
        let server = loop {
            match cache.server().await {
                Ok(server) => break server.unwrap_or_default(),
                Err(_) if Instant::now() < deadline => sleep(PAUSE).await,
                Err(error) => {
                    let advice =
                        "start it, or name another one with PP_CACHE_URL; reads come from the database meanwhile";
                    return checked.unavailable("cache", format!("PP_CACHE_URL: {error}"), advice);
                }
            }
        };
        let version = server.split_once(' ').map_or("", |(_, version)| version);
        match is_at_least(version, REDIS) {
            true => checked.ok("cache", one_line(&server)),
            false => checked.wrong(
                "cache",
                one_line(&server),
                "upgrade it: PP is tested with Redis 7.0 and later",
            ),
        }
        if let Some(place) = Place::of(url.expose(), PORT).filter(|_| url.expose().starts_with("rediss:")) {
            tls::report(checked, "cache TLS", &place, false, &self.trust, self.timeout);
        }
    }
}
