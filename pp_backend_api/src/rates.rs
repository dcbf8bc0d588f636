//! The rate of requests that one key or one peer may send.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use pp_lib::domain::{ApiKeyId, UserName};

use crate::error::ApiError;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Senders that have been quiet are forgotten after so many requests.
const FORGET_EVERY: u32 = 4096;

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// The holder of a key, from wherever.
    Key(ApiKeyId),
    /// A user of a proxy.
    User(UserName),
    /// A peer without a valid key.
    Peer(IpAddr),
}

/// A rate per second, with as many requests at once.
pub(crate) struct Rates {
    limiter: RateLimiter<Sender, DashMapStateStore<Sender>, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
    clock: DefaultClock,
    asked: AtomicU32,
}

/// What a sender may still send at once.
pub(crate) struct Left {
    remaining: u32,
    per_second: NonZeroU32,
}

impl Rates {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let limiter = RateLimiter::dashmap(Quota::per_second(per_second));
        Self {
            limiter: limiter.with_middleware(),
            per_second,
            clock: DefaultClock::default(),
            asked: AtomicU32::new(0),
        }
    }

    /// Counts a request. The error is 429 and says when the next one may come.
    pub(crate) fn count(&self, sender: Sender) -> Result<Left, TooMany> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let per_second = self.per_second;
        match self.limiter.check_key(&sender) {
            Ok(state) => Ok(Left {
                remaining: state.remaining_burst_capacity(),
                per_second,
            }),
            Err(until) => Err(TooMany {
                seconds: until.wait_time_from(self.clock.now()).as_secs() + 1,
                per_second,
            }),
        }
    }
}

impl Left {
    /// Adds the fields of draft-ietf-httpapi-ratelimit-headers.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        tell(headers, self.per_second, self.remaining, 1);
    }
}

/// A request beyond the rate.
#[derive(Debug)]
pub(crate) struct TooMany {
    seconds: u64,
    per_second: NonZeroU32,
}

impl TooMany {
    pub(crate) fn error(&self) -> ApiError {
        let detail = format!(
            "more than {} requests in a second; send fewer, or wait as long as Retry-After says",
            self.per_second
        );
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, detail)
    }

    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(RETRY_AFTER, HeaderValue::from(self.seconds));
        tell(headers, self.per_second, 0, self.seconds);
    }
}

fn tell(headers: &mut HeaderMap, per_second: NonZeroU32, remaining: u32, seconds: u64) {
    for (name, value) in [
        (POLICY, format!("\"default\";q={per_second};w=1")),
        (LIMIT, format!("\"default\";r={remaining};t={seconds}")),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_has_a_rate_of_its_own_and_quiet_ones_are_forgotten() {
        let rates = Rates::new(NonZeroU32::new(2).unwrap());
        let (one, other) = (Sender::Key(ApiKeyId(1)), Sender::Key(ApiKeyId(2)));
        assert_eq!(rates.count(one.clone()).ok().unwrap().remaining, 1);
        assert!(rates.count(one.clone()).is_ok());
        assert_eq!(rates.count(one.clone()).err().unwrap().seconds, 1);
        assert!(rates.count(other).is_ok());
        for number in 0..FORGET_EVERY {
            let _ = rates.count(Sender::Peer(IpAddr::from(number.to_be_bytes())));
        }
        std::thread::sleep(std::time::Duration::from_millis(1100));
        for _ in 0..FORGET_EVERY {
            let _ = rates.count(one.clone());
        }
        assert!(rates.limiter.len() < 10, "{}", rates.limiter.len());
    }
}
