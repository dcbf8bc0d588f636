//! The bounded in-process cache, used alone in a single process or in front of a shared cache.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::Expiry;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Bounded;

use super::lifetimes::{LEASE, Lifetimes, UNKNOWN};
use super::{ACCEPTED, ByCode, Cache, CacheOptions, Entry, EntryOrLease, Lease, LookedUp, Marked, Moment, Result};
use crate::domain::{Position, Work, WorkCode, WorkId};

/// The bytes of arguments and result that one place of the cache has room for.
const UNIT: usize = 1024;

/// The cache inside this process.
#[derive(Debug)]
pub struct MemoryCache {
    lifetimes: Lifetimes,
    capacity: u64,
    name: u128,
    started: Instant,
    /// Changes of entries hold the lock for reading. Clearing waits for them, and they never see half-cleared entries.
    contents: RwLock<Contents>,
}

impl MemoryCache {
    /// The maximum number of works, and of codes. Beyond it, the least recently used are evicted. Each [`UNIT`] of a
    /// work's arguments and result takes the place of one more.
    pub const CAPACITY: u64 = 100_000;

    /// An empty cache.
    pub fn new(options: CacheOptions) -> Self {
        Self::holding(Self::CAPACITY, options)
    }

    fn holding(capacity: u64, options: CacheOptions) -> Self {
        Self {
            lifetimes: Lifetimes(options),
            capacity,
            name: rand::random(),
            started: Instant::now(),
            contents: RwLock::new(Contents::nothing(capacity)),
        }
    }

    fn contents(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents_mut(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self) -> Moment {
        Moment(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// True if the moment is over, by at most `bound`.
    fn within(&self, bound: Duration, moment: Moment) -> bool {
        let age_ms = self.moment().0.saturating_sub(moment.0);
        u64::try_from(age_ms).is_ok_and(|age_ms| Duration::from_millis(age_ms) <= bound)
    }

    fn confirmed(&self, work: &Work) -> Held {
        Held::new(What::Confirmed(work.clone()), self.lifetimes.full())
    }

    fn tombstone(&self) -> Held {
        Held::new(What::Deleted, self.lifetimes.tombstone())
    }

    fn filled(&self, entry: &Entry) -> Held {
        match entry {
            Entry::Work(work) => self.confirmed(work),
            Entry::Unknown => Held::new(What::Unknown, UNKNOWN),
            Entry::Deleted => self.tombstone(),
        }
    }

    fn put_over(&self, present: Option<&What>, entry: &Entry, late: bool) -> Op<Held> {
        let work = match entry {
            Entry::Work(work) => work,
            Entry::Unknown => return Op::Nop,
            Entry::Deleted => return Op::Put(self.tombstone()),
        };
        match present {
            Some(What::Deleted) => Op::Nop,
            Some(What::Confirmed(old) | What::Unconfirmed(old)) if old.version >= work.version => Op::Nop,
            Some(What::Confirmed(_)) => Op::Put(self.confirmed(work)),
            None if late => Op::Nop,
            // The writer that committed this value must not read an older one.
            Some(_) if late => Op::Remove,
            _ => Op::Put(Held::new(What::Unconfirmed(work.clone()), self.lifetimes.unconfirmed())),
        }
    }

    fn refreshed(&self, present: Option<&What>, entry: &Entry) -> Op<Held> {
        match (present, entry) {
            (None, _) | (_, Entry::Unknown) => Op::Nop,
            (_, Entry::Deleted) => Op::Put(self.tombstone()),
            (Some(What::Lease(_)), Entry::Work(_)) => Op::Remove,
            (Some(What::Deleted), Entry::Work(_)) => Op::Nop,
            (Some(What::Confirmed(old) | What::Unconfirmed(old)), Entry::Work(work)) if old.version > work.version => {
                Op::Nop
            }
            (Some(_), Entry::Work(work)) => Op::Put(self.confirmed(work)),
        }
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn look_up(&self, ids: &[WorkId]) -> Result<LookedUp> {
        let contents = self.contents();
        let fresh = contents
            .fresh
            .is_some_and(|since| self.within(self.lifetimes.0.staleness, since));
        let found = ids.iter().map(|id| match contents.works.get(id) {
            Some(held) => held.found(),
            None if fresh => contents.lease(*id),
            None => EntryOrLease::Nothing,
        });
        let found = found.collect();
        Ok(LookedUp { fresh, found })
    }

    async fn fill(&self, entries: &[(WorkId, Lease, Entry)]) -> Result<()> {
        let contents = self.contents();
        for (id, lease, entry) in entries {
            contents.change(*id, |present| match present {
                Some(What::Lease(held)) if held == lease => Op::Put(self.filled(entry)),
                _ => Op::Nop,
            });
        }
        Ok(())
    }

    async fn put(&self, entries: &[(WorkId, Entry)], since: Moment) -> Result<()> {
        let contents = self.contents();
        for (id, entry) in entries {
            contents.change(*id, |present| {
                let late = !self.within(self.lifetimes.late_after(), since);
                self.put_over(present, entry, late)
            });
        }
        Ok(())
    }

    async fn present(&self, ids: &[WorkId]) -> Result<Vec<bool>> {
        let contents = self.contents();
        Ok(ids.iter().map(|id| contents.works.contains_key(id)).collect())
    }

    async fn refresh(&self, entries: &[(WorkId, Entry)]) -> Result<()> {
        let contents = self.contents();
        for (id, entry) in entries {
            contents.change(*id, |present| self.refreshed(present, entry));
        }
        Ok(())
    }

    async fn mark(&self, from: &Position, to: &Position, since: Moment) -> Result<Marked> {
        let mut contents = self.contents_mut();
        match &contents.position {
            None => return Ok(Marked::Nowhere),
            Some(position) if position != from => return Ok(Marked::At(position.clone())),
            Some(_) => contents.position = Some(to.clone()),
        }
        if self.within(self.lifetimes.0.staleness, since) {
            contents.fresh = contents.fresh.max(Some(since));
        }
        Ok(Marked::Marked)
    }

    async fn position(&self) -> Result<Option<Position>> {
        Ok(self.contents().position.clone())
    }

    async fn clear(&self, at: &Position) -> Result<()> {
        let nothing = Contents {
            position: Some(at.clone()),
            ..Contents::nothing(self.capacity)
        };
        let all = std::mem::replace(&mut *self.contents_mut(), nothing);
        // The entries are dropped without the lock, because there may be many.
        drop(all);
        Ok(())
    }

    async fn now(&self) -> Result<Moment> {
        Ok(self.moment())
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Option<ByCode>>> {
        let contents = self.contents();
        let known = codes
            .iter()
            .map(|code| contents.codes.get(code).map(|known| known.value));
        Ok(known.collect())
    }

    async fn put_codes(&self, entries: &[(WorkCode, ByCode)]) -> Result<()> {
        let contents = self.contents();
        for (code, known) in entries {
            contents
                .codes
                .entry_by_ref(code)
                .and_compute_with(|present| match (present, known) {
                    (Some(_), ByCode::Provisional(_)) => Op::Nop,
                    _ => {
                        if matches!(known, ByCode::Provisional(_)) {
                            contents.list(self.moment(), code.clone());
                        }
                        Op::Put(Timed::new(known.clone(), self.lifetimes.of_code(known)))
                    }
                });
        }
        Ok(())
    }

    async fn take_accepted(&self, age: Duration, limit: usize) -> Result<Vec<WorkCode>> {
        let (now, contents) = (self.moment(), self.contents());
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let mut taken = Vec::new();
        let mut accepted = contents.accepted();
        while taken.len() < limit
            && let Some((_, code)) = accepted.pop_front_if(|(listed, _)| now.0.saturating_sub(listed.0) >= age_ms)
        {
            taken.push(code);
        }
        accepted.extend(taken.iter().map(|code| (now, code.clone())));
        Ok(taken)
    }

    async fn drop_accepted(&self, codes: &[WorkCode]) -> Result<()> {
        let codes: HashSet<&WorkCode> = codes.iter().collect();
        self.contents().accepted().retain(|(_, code)| !codes.contains(code));
        Ok(())
    }

    fn shared(&self) -> bool {
        false
    }

    async fn name(&self) -> Result<String> {
        Ok(format!("{:032x}", self.name))
    }
}

#[derive(Debug)]
struct Contents {
    works: Bounded<WorkId, Held>,
    codes: Bounded<WorkCode, Timed<ByCode>>,
    /// Accepted demands and the time they were listed, oldest first.
    accepted: Mutex<VecDeque<(Moment, WorkCode)>>,
    position: Option<Position>,
    fresh: Option<Moment>,
}

impl Contents {
    fn nothing(capacity: u64) -> Self {
        // Eviction depends on recent use only: a new entry must stay, however rarely it was read.
        Self {
            works: Bounded::builder()
                .max_capacity(capacity)
                .weigher(|_, held: &Held| weight(held.value.bytes()))
                .eviction_policy(EvictionPolicy::lru())
                .expire_after(OwnLifetime)
                .build(),
            codes: Bounded::builder()
                .max_capacity(capacity)
                .weigher(|_, known: &Timed<ByCode>| weight(known.value.bytes()))
                .eviction_policy(EvictionPolicy::lru())
                .expire_after(OwnLifetime)
                .build(),
            accepted: Mutex::default(),
            position: None,
            fresh: None,
        }
    }

    fn accepted(&self) -> MutexGuard<'_, VecDeque<(Moment, WorkCode)>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, now: Moment, code: WorkCode) {
        let mut accepted = self.accepted();
        accepted.push_back((now, code));
        if accepted.len() > ACCEPTED {
            accepted.pop_front();
        }
    }

    /// Changes one entry atomically.
    fn change(&self, id: WorkId, change: impl FnOnce(Option<&What>) -> Op<Held>) -> CompResult<WorkId, Held> {
        self.works
            .entry(id)
            .and_compute_with(|present| change(present.as_ref().map(|entry| &entry.value().value)))
    }

    /// Leaves a lease if there is no entry.
    fn lease(&self, id: WorkId) -> EntryOrLease {
        let lease = Lease(rand::random());
        let outcome = self.change(id, |present| match present {
            None => Op::Put(Held::new(What::Lease(lease), LEASE)),
            Some(_) => Op::Nop,
        });
        match outcome {
            CompResult::Inserted(_) => EntryOrLease::Missing(lease),
            CompResult::Unchanged(entry) => entry.value().found(),
            _ => EntryOrLease::Nothing,
        }
    }
}

/// The places that an entry with this many bytes takes.
fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).saturating_add(1)
}

/// An entry of a work.
#[derive(Clone, Debug)]
enum What {
    Lease(Lease),
    /// The refresher keeps it up to date.
    Confirmed(Work),
    /// The refresher may have missed it.
    Unconfirmed(Work),
    Unknown,
    Deleted,
}

impl What {
    fn bytes(&self) -> usize {
        match self {
            Self::Confirmed(work) | Self::Unconfirmed(work) => work.bytes(),
            Self::Lease(_) | Self::Unknown | Self::Deleted => 0,
        }
    }
}

#[derive(Clone, Debug)]
struct Timed<T> {
    value: T,
    lifetime: Duration,
}

type Held = Timed<What>;

impl<T> Timed<T> {
    fn new(value: T, lifetime: Duration) -> Self {
        Self { value, lifetime }
    }
}

impl Held {
    fn found(&self) -> EntryOrLease {
        match &self.value {
            What::Lease(_) => EntryOrLease::Nothing,
            What::Confirmed(work) | What::Unconfirmed(work) => EntryOrLease::Entry(Entry::Work(work.clone())),
            What::Unknown => EntryOrLease::Entry(Entry::Unknown),
            What::Deleted => EntryOrLease::Entry(Entry::Deleted),
        }
    }
}

/// An expiry in which each value has its own lifetime.
struct OwnLifetime;

impl<K, T> Expiry<K, Timed<T>> for OwnLifetime {
    fn expire_after_create(&self, _: &K, value: &Timed<T>, _: Instant) -> Option<Duration> {
        Some(value.lifetime)
    }

    fn expire_after_update(&self, _: &K, value: &Timed<T>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(value.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AddUpTo, Json, KindName, Status};

    #[tokio::test]
    async fn a_full_cache_evicts_the_least_recently_used() {
        let options = CacheOptions {
            ttl: Duration::from_secs(3600),
            staleness: Duration::from_secs(60),
        };
        let cache = MemoryCache::holding(100, options);
        let since = cache.now().await.unwrap();
        let works: Vec<_> = (1..=1_000).map(|id| (WorkId(id), Entry::Work(work(id)))).collect();
        let codes: Vec<_> = works.iter().map(|(id, _)| (code(id.0), ByCode::Id(*id))).collect();
        for (work, code) in works.chunks(10).zip(codes.chunks(10)) {
            cache.put(work, since).await.unwrap();
            cache.put_codes(code).await.unwrap();
            let contents = cache.contents();
            contents.works.run_pending_tasks();
            contents.codes.run_pending_tasks();
        }
        let ids: Vec<_> = works.iter().map(|(id, _)| *id).collect();
        let present = cache.present(&ids).await.unwrap();
        assert_eq!(present.iter().filter(|present| **present).count(), 100);
        assert!(present[900..].iter().all(|present| *present), "the last ones are there");
        let codes: Vec<_> = codes.into_iter().map(|(code, _)| code).collect();
        let known = cache.by_codes(&codes).await.unwrap();
        assert_eq!(known.iter().filter(|known| known.is_some()).count(), 100);
    }

    #[tokio::test]
    async fn large_works_take_the_place_of_several() {
        let options = CacheOptions {
            ttl: Duration::from_secs(3600),
            staleness: Duration::from_secs(60),
        };
        let cache = MemoryCache::holding(1_000, options);
        let since = cache.now().await.unwrap();
        for id in 1..=100 {
            let large = Work {
                args: Json::accepted(format!("\"{}\"", "x".repeat(64 * UNIT - 2))),
                result: Some(Json::accepted(format!("\"{}\"", "y".repeat(64 * UNIT - 2)))),
                ..work(id)
            };
            cache.put(&[(WorkId(id), Entry::Work(large))], since).await.unwrap();
            cache.contents().works.run_pending_tasks();
        }
        let ids: Vec<_> = (1..=100).map(WorkId).collect();
        let present = cache.present(&ids).await.unwrap();
        // Each takes 129 places.
        assert_eq!(present.iter().filter(|present| **present).count(), 7);
        assert!(present[93..].iter().all(|present| *present), "the last ones are there");
    }

    fn code(id: i64) -> WorkCode {
        format!("api-{id:010}").parse().unwrap()
    }

    fn work(id: i64) -> Work {
        Work {
            id: WorkId(id),
            work_code: code(id),
            kind: KindName::default(),
            args: AddUpTo::MIN.args(),
            created_on: 0,
            updated_on: 0,
            status: Status::Pending,
            result: None,
            version: 1,
            run_at: None,
            unique: None,
            error: None,
            attempt: 1,
            progress: None,
        }
    }
}
