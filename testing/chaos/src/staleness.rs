//! How stale reads are: works are changed behind the API's back while clients read them through it, the change feed's
//! listeners are cut off, Redis is emptied, and an API process is frozen in the middle of filling the cache.
//!
//! A read is stale when the work had a newer version, committed and acknowledged, before the read was sent. It is as
//! stale as that version was old by then.

mod faults;
mod judge;
mod load;
mod report;
mod system;

pub use judge::{Judge, Verdict};
pub use report::Report;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;

use self::faults::Faults;
use self::load::{Readers, Writers};
use self::system::System;
use pp_testkit::signals::Stop;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many changes are made.
    pub changes: u32,
    /// How many works there are.
    pub works: u16,
    /// What faults and their times are drawn from.
    pub seed: u64,
}

/// Runs the plan on servers and services of its own; logs go to `folder`.
///
/// # Errors
/// When something does not come up or ends by itself, a read is answered by anything but the work, or it is interrupted.
pub fn measure(plan: Plan, folder: &Path, stop: &Stop) -> Result<Report> {
    let mut system = System::start(folder)?;
    let works = system.create(plan.works)?;
    let judge = Judge::new(works.len());
    let (written, ended) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let begun = Instant::now();
    let (writers, readers) = (
        Writers::new(&system, &works, &judge),
        Readers::new(&system, &works, &judge),
    );
    let struck = std::thread::scope(|scope| {
        let reading: Vec<_> = readers
            .each()
            .map(|reader| scope.spawn(move || reader.read(ended)))
            .collect();
        let writing = scope.spawn(|| {
            let result = writers.write(plan.changes, stop);
            written.store(true, Ordering::Relaxed);
            result
        });
        let struck = Faults::new(plan.seed).strike(&mut system, written, stop);
        ended.store(true, Ordering::Relaxed);
        joined(writing)?;
        for reader in reading {
            joined(reader)?;
        }
        struck
    })?;
    system.ensure_running()?;
    Ok(Report {
        plan,
        seconds: begun.elapsed().as_secs_f64(),
        struck,
        sources: readers.sources(),
        verdict: judge.verdict(),
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
