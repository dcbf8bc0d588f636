//! What happens to the system meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::system::System;
use pp_testkit::signals::Stop;

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Struck {
    /// Every session that listened to the feed was terminated.
    pub terminated: u32,
    /// Redis was emptied.
    pub flushed: u32,
    /// An API process was frozen.
    pub frozen: u32,
    /// For how long altogether.
    pub frozen_for: Duration,
}

impl Struck {
    /// Whether each of them happened.
    pub fn has_each(&self) -> bool {
        ![self.terminated, self.flushed, self.frozen].contains(&0)
    }
}

/// Faults at random, until the end.
pub(super) struct Faults {
    dice: StdRng,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: StdRng::seed_from_u64(seed),
        }
    }

    /// Lets them happen until everything is written, each at least once; whatever is frozen goes on in the end.
    pub(super) fn strike(&mut self, system: &mut System, written: &AtomicBool, stop: &Stop) -> Result<Struck> {
        let mut struck = Struck::default();
        while !(written.load(Ordering::Relaxed) && struck.has_each()) {
            stop.pause(Duration::from_millis(self.dice.random_range(100..900)))?;
            match self.dice.random_range(0..3) {
                0 => {
                    system.terminate_listeners()?;
                    struck.terminated += 1;
                }
                1 => {
                    system.flush()?;
                    struck.flushed += 1;
                }
                _ => {
                    struck.frozen_for += self.freeze(system, stop)?;
                    struck.frozen += 1;
                }
            }
        }
        Ok(struck)
    }

    /// Longer than the bound of freshness and the refresher's lease, most of the time.
    fn freeze(&mut self, system: &mut System, stop: &Stop) -> Result<Duration> {
        let (api, begun) = (self.dice.random_range(0..2), Instant::now());
        system.freeze(api, true)?;
        // Filled anew while one that began to fill is frozen.
        if self.dice.random_bool(0.5) {
            system.flush()?;
        }
        let paused = stop.pause(Duration::from_millis(self.dice.random_range(500..3500)));
        system.freeze(api, false)?;
        paused.map(|()| begun.elapsed())
    }
}
