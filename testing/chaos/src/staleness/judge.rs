//! Which reads were stale, and by how much.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is known of the works: the versions that were acknowledged, and how stale the reads were.
pub struct Judge {
    works: Vec<Mutex<Vec<Acknowledged>>>,
    reads: Mutex<Verdict>,
}

#[derive(Clone, Copy)]
struct Acknowledged {
    version: i64,
    at: Instant,
}

/// All reads together.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How many reads there were.
    pub reads: u64,
    /// How stale those were that were.
    pub stale: Vec<Duration>,
}

impl Judge {
    /// For so many works.
    pub fn new(works: usize) -> Self {
        Self {
            works: (0..works).map(|_| Mutex::default()).collect(),
            reads: Mutex::default(),
        }
    }

    /// The change that made this version of a work was acknowledged just now.
    pub fn acknowledged(&self, work: usize, version: i64) {
        let at = Instant::now();
        locked(&self.works[work]).push(Acknowledged { version, at });
    }

    /// A read that was sent at `sent` was answered with this version.
    pub fn read(&self, work: usize, version: i64, sent: Instant) {
        let newer = locked(&self.works[work])
            .iter()
            .filter(|one| one.version > version && one.at < sent)
            .map(|one| sent - one.at)
            .max();
        let mut reads = locked(&self.reads);
        reads.reads += 1;
        reads.stale.extend(newer);
    }

    /// What came of it.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = locked(&self.reads).clone();
        verdict.stale.sort_unstable();
        verdict
    }
}

impl Verdict {
    /// The most stale of all.
    pub fn worst(&self) -> Duration {
        self.stale.last().copied().unwrap_or_default()
    }

    /// How stale 99 of 100 stale reads were at most.
    pub fn p99(&self) -> Duration {
        let place = (self.stale.len() * 99).div_ceil(100);
        place.checked_sub(1).map(|place| self.stale[place]).unwrap_or_default()
    }

    /// How many of a million reads were stale.
    pub fn per_million(&self) -> u64 {
        (self.stale.len() as u64 * 1_000_000)
            .checked_div(self.reads)
            .unwrap_or_default()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_as_stale_as_the_oldest_change_it_misses() {
        let judge = Judge::new(2);
        let begun = Instant::now();
        judge.acknowledged(0, 2);
        judge.acknowledged(0, 3);
        judge.acknowledged(1, 9);
        let later = begun + Duration::from_secs(5);
        judge.read(0, 3, later);
        judge.read(0, 4, later);
        judge.read(1, 1, begun);
        assert_eq!(judge.verdict().stale, [Duration::ZERO; 0]);
        judge.read(0, 1, later);
        judge.read(0, 2, later + Duration::from_secs(2));
        let verdict = judge.verdict();
        assert_eq!(
            (verdict.reads, verdict.stale.len(), verdict.per_million()),
            (5, 2, 400_000)
        );
        assert!(verdict.stale[0] > Duration::from_secs(4) && verdict.stale[0] <= Duration::from_secs(5));
        assert!(verdict.worst() > Duration::from_secs(6) && verdict.p99() == verdict.worst());
    }
}
