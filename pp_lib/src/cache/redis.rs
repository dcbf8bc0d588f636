//! The cache in Redis, for all processes of a deployment. Each method is one atomic script over all its keys.
//!
//! It needs one server, or a primary with replicas. A cluster is not supported, because a script's keys may be on any
//! node.

mod link;

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use pp_tls::Trust;
use redis::{Script, ScriptInvocation};

use self::link::Link;
use super::keys::{self, Keys};
use super::lifetimes::{LEASE, Lifetimes, PROVISIONAL, UNKNOWN};
use super::{
    ACCEPTED, ByCode, Cache, CacheError, CacheOptions, Entry, EntryOrLease, Lease, LookedUp, Marked, Moment, Result,
};
use crate::domain::{Position, WorkCode, WorkId, parts};

/// The maximum number of keys of one script. All other clients wait while it runs.
const AT_ONCE: usize = 500;
/// The bytes of values at which a script ends; the last value may exceed it.
const SCRIPT_BYTES: usize = 1 << 20;

/// A script with the shared functions in front.
macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("redis/common.lua"), include_str!($file))))
    };
}

static NAME: LazyLock<Script> = script!("redis/name.lua");
static LOOK_UP: LazyLock<Script> = script!("redis/look_up.lua");
static GET_CODES: LazyLock<Script> = script!("redis/get_codes.lua");
static FILL: LazyLock<Script> = script!("redis/fill.lua");
static PUT: LazyLock<Script> = script!("redis/put.lua");
static PRESENT: LazyLock<Script> = script!("redis/present.lua");
static REFRESH: LazyLock<Script> = script!("redis/refresh.lua");
static MARK: LazyLock<Script> = script!("redis/mark.lua");
static PUT_CODES: LazyLock<Script> = script!("redis/put_codes.lua");
static TAKE_ACCEPTED: LazyLock<Script> = script!("redis/take_accepted.lua");

/// The cache in Redis.
#[derive(Debug)]
pub struct RedisCache {
    link: Link,
    keys: Keys,
    lifetimes: Lifetimes,
}

impl RedisCache {
    /// The default time limit of a call. The store takes longer, but not much longer.
    pub const TIMEOUT: Duration = Duration::from_millis(100);

    /// A cache at this URL, `redis://` or `rediss://`; `trust` has the authorities of the server's certificate. It does
    /// not wait for the server, and only an invalid URL is an error. Each call to the server takes at most `timeout`. It
    /// must be called on a Tokio runtime, where it starts to connect.
    pub fn connect(url: &str, trust: &Trust, prefix: &str, options: CacheOptions, timeout: Duration) -> Result<Self> {
        Ok(Self {
            link: Link::to(url, trust, timeout)?,
            keys: Keys::new(prefix),
            lifetimes: Lifetimes(options),
        })
    }

    fn lifetime(&self, entry: &Entry) -> Duration {
        match entry {
            Entry::Work(_) => self.lifetimes.full(),
            Entry::Unknown => UNKNOWN,
            Entry::Deleted => self.lifetimes.tombstone(),
        }
    }

    /// Adds a work's key, its value and its lifetime.
    fn add(&self, script: &mut ScriptInvocation<'_>, id: WorkId, entry: &Entry) -> Result<()> {
        let text = keys::entry_text(entry).map_err(|error| CacheError::Rejected(error.to_string()))?;
        script.key(self.keys.work(id)).arg(text).arg(ms(self.lifetime(entry)));
        Ok(())
    }

    /// Looks up the first of these works, at least one.
    async fn look_up_some(&self, ids: &[WorkId]) -> Result<LookedUp> {
        let ids = &ids[..ids.len().min(AT_ONCE)];
        let leases: Vec<_> = ids.iter().map(|_| Lease(rand::random())).collect();
        let mut script = LOOK_UP.key(self.keys.fresh());
        script
            .arg(ms(self.lifetimes.0.staleness))
            .arg(ms(LEASE))
            .arg(SCRIPT_BYTES);
        for (id, lease) in ids.iter().zip(&leases) {
            script.key(self.keys.work(*id)).arg(keys::lease_text(*lease));
        }
        let (fresh, values): (bool, Vec<Option<Vec<u8>>>) = self.link.run(&script).await?;
        if !ids.is_empty() {
            some(&values)?;
        }
        let found = ids.iter().zip(leases).zip(values);
        let found = found.map(|((id, lease), value)| {
            let understood = value.and_then(|value| understood(keys::found(*id, lease, &value), *id));
            understood.unwrap_or(EntryOrLease::Nothing)
        });
        let found = found.collect();
        Ok(LookedUp { fresh, found })
    }

    async fn forget(&self, pattern: &str) -> Result<()> {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(AT_ONCE);
            let (next, keys): (u64, Vec<Vec<u8>>) = self.link.ask(&scan).await?;
            if !keys.is_empty() {
                let _: u64 = self.link.ask(redis::cmd("UNLINK").arg(keys)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn look_up(&self, ids: &[WorkId]) -> Result<LookedUp> {
        let mut all = self.look_up_some(ids).await?;
        while all.found.len() < ids.len() {
            let some = self.look_up_some(&ids[all.found.len()..]).await?;
            all.fresh &= some.fresh;
            all.found.extend(some.found);
        }
        if !all.fresh {
            // The cache became stale between two scripts. The leases of the first one expire.
            let leases = all
                .found
                .iter_mut()
                .filter(|found| matches!(found, EntryOrLease::Missing(_)));
            leases.for_each(|lease| *lease = EntryOrLease::Nothing);
        }
        Ok(all)
    }

    async fn fill(&self, entries: &[(WorkId, Lease, Entry)]) -> Result<()> {
        for some in parts(entries, AT_ONCE, SCRIPT_BYTES, |(_, _, entry)| entry.bytes()) {
            let mut script = FILL.prepare_invoke();
            for (id, lease, entry) in some {
                script.arg(keys::lease_text(*lease));
                self.add(&mut script, *id, entry)?;
            }
            self.link.run::<()>(&script).await?;
        }
        Ok(())
    }

    async fn put(&self, entries: &[(WorkId, Entry)], since: Moment) -> Result<()> {
        let known: Vec<_> = entries.iter().filter(|(_, entry)| *entry != Entry::Unknown).collect();
        for some in parts(&known, AT_ONCE, SCRIPT_BYTES, |(_, entry)| entry.bytes()) {
            let mut script = PUT.arg(since.0);
            script
                .arg(ms(self.lifetimes.late_after()))
                .arg(ms(self.lifetimes.unconfirmed()));
            for (id, entry) in some {
                self.add(&mut script, *id, entry)?;
            }
            self.link.run::<()>(&script).await?;
        }
        Ok(())
    }

    async fn present(&self, ids: &[WorkId]) -> Result<Vec<bool>> {
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            let mut script = PRESENT.prepare_invoke();
            for id in some {
                script.key(self.keys.work(*id));
            }
            all.extend(self.link.run::<Vec<bool>>(&script).await?);
        }
        Ok(all)
    }

    async fn refresh(&self, entries: &[(WorkId, Entry)]) -> Result<()> {
        let known: Vec<_> = entries.iter().filter(|(_, entry)| *entry != Entry::Unknown).collect();
        for some in parts(&known, AT_ONCE, SCRIPT_BYTES, |(_, entry)| entry.bytes()) {
            let mut script = REFRESH.prepare_invoke();
            for (id, entry) in some {
                self.add(&mut script, *id, entry)?;
            }
            self.link.run::<()>(&script).await?;
        }
        Ok(())
    }

    async fn mark(&self, from: &Position, to: &Position, since: Moment) -> Result<Marked> {
        let mut script = MARK.key(self.keys.position());
        script
            .key(self.keys.fresh())
            .arg(from.to_string())
            .arg(to.to_string())
            .arg(since.0)
            .arg(ms(self.lifetimes.0.staleness));
        let was: Option<Vec<u8>> = self.link.run(&script).await?;
        Ok(match was.and_then(|was| understood(position(&was), "the position")) {
            None => Marked::Nowhere,
            Some(was) if was == *from => Marked::Marked,
            Some(was) => Marked::At(was),
        })
    }

    async fn position(&self) -> Result<Option<Position>> {
        let at: Option<Vec<u8>> = self.link.ask(redis::cmd("GET").arg(self.keys.position())).await?;
        Ok(at.and_then(|at| understood(position(&at), "the position")))
    }

    async fn clear(&self, at: &Position) -> Result<()> {
        let place = [self.keys.position(), self.keys.fresh()];
        // The position is removed first, so that the remaining entries do not count as fresh and no refresher
        // continues.
        let _: u64 = self.link.ask(redis::cmd("UNLINK").arg(&place)).await?;
        for pattern in self.keys.patterns() {
            self.forget(&pattern).await?;
        }
        self.link
            .ask(redis::cmd("SET").arg(self.keys.position()).arg(at.to_string()))
            .await
    }

    async fn now(&self) -> Result<Moment> {
        let (seconds, microseconds): (i64, i64) = self.link.ask(&redis::cmd("TIME")).await?;
        Ok(Moment(seconds * 1000 + microseconds / 1000))
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Option<ByCode>>> {
        let mut all = Vec::with_capacity(codes.len());
        while all.len() < codes.len() {
            let left = &codes[all.len()..];
            let left = &left[..left.len().min(AT_ONCE)];
            let mut script = GET_CODES.arg(SCRIPT_BYTES);
            for code in left {
                script.key(self.keys.code(code));
            }
            let values: Vec<Option<Vec<u8>>> = self.link.run(&script).await?;
            some(&values)?;
            let known = left.iter().zip(values);
            all.extend(known.map(|(code, value)| understood(keys::by_code(code, &value?), code)));
        }
        Ok(all)
    }

    async fn put_codes(&self, entries: &[(WorkCode, ByCode)]) -> Result<()> {
        for some in parts(entries, AT_ONCE, SCRIPT_BYTES, |(_, known)| known.bytes()) {
            let mut script = PUT_CODES.key(self.keys.accepted());
            script.arg(ACCEPTED).arg(ms(PROVISIONAL));
            for (code, known) in some {
                script.key(self.keys.code(code)).arg(keys::code_text(known));
                script.arg(ms(self.lifetimes.of_code(known))).arg(code.as_str());
            }
            self.link.run::<()>(&script).await?;
        }
        Ok(())
    }

    async fn take_accepted(&self, age: Duration, limit: usize) -> Result<Vec<WorkCode>> {
        let mut script = TAKE_ACCEPTED.key(self.keys.accepted());
        script
            .arg(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
            .arg(limit.min(AT_ONCE));
        let codes: Vec<String> = self.link.run(&script).await?;
        Ok(codes
            .iter()
            .filter_map(|code| understood(code.parse().ok(), code))
            .collect())
    }

    async fn drop_accepted(&self, codes: &[WorkCode]) -> Result<()> {
        for some in codes.chunks(AT_ONCE) {
            let mut remove = redis::cmd("ZREM");
            remove.arg(self.keys.accepted());
            some.iter().for_each(|code| {
                remove.arg(code.as_str());
            });
            let _: u64 = self.link.ask(&remove).await?;
        }
        Ok(())
    }

    fn shared(&self) -> bool {
        true
    }

    async fn server(&self) -> Result<Option<String>> {
        let info: String = self.link.ask(redis::cmd("INFO").arg("server")).await?;
        let version = |field: &str| info.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
        // Valkey tells a version of Redis too.
        let valkey = version("valkey_version:").map(|version| format!("Valkey {version}"));
        let redis = || version("redis_version:").map(|version| format!("Redis {version}"));
        Ok(valkey.or_else(redis))
    }

    async fn name(&self) -> Result<String> {
        let mut script = NAME.key(self.keys.name());
        script.arg(format!("{:032x}", rand::random::<u128>()));
        self.link.run(&script).await
    }
}

/// Fails without values, where a script must have returned some.
fn some(values: &[Option<Vec<u8>>]) -> Result<()> {
    match values {
        [] => Err(CacheError::Rejected("a script returned no value".to_owned())),
        _ => Ok(()),
    }
}

/// A lifetime in milliseconds, at least 1, because Redis refuses 0.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn position(value: &[u8]) -> Option<Position> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn understood<T>(meaning: Option<T>, whose: impl std::fmt::Display) -> Option<T> {
    if meaning.is_none() {
        log::debug!("the cache has a foreign value for {whose}");
    }
    meaning
}
