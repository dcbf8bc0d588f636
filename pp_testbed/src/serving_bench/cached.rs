//! Reads with a slow database: from the cache, and without one.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::bench::{Api, Bench, with};
use super::figures::{Samples, percent, rate};
use super::{Findings, Row, load};
use crate::chaos::proxy::{Flow, Proxy};

/// On the way there, and on the way back.
const DELAY: Duration = Duration::from_millis(25);
const WORKS: usize = 200;
const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(4);
/// Longer than the bound of freshness: by then the refresher has marked the cache through the slow way.
const SETTLING: Duration = Duration::from_secs(2);
const WHAT: &str = "slow database";

/// What reads came to.
struct Reading {
    times: Samples,
    row: Row,
}

pub(super) fn measure(bench: &Bench) -> Result<Findings> {
    let direct = bench.distributed("cached")?;
    let (proxy, database) = Proxy::to_url(bench.runtime.handle(), &direct[0].1)?;
    let slow = with(&direct, "PP_DATABASE_URL", database);
    let cached = bench.api("cached", "pp_backend_api", slow.clone())?;
    let without = with(&slow, "PP_CACHE_URL", "redis://127.0.0.1:1/");
    let uncached = bench.api("uncached", "pp_backend_api", without)?;
    let works = bench.runtime.block_on(load::create(cached.port, WORKS))?;
    proxy.set(Flow::Delayed(DELAY));
    let reads = |api: &Api, time| {
        let reading = load::read(api.port, &works, CONNECTIONS, Instant::now() + time);
        bench.runtime.block_on(reading)
    };
    // Fills the cache.
    reads(&cached, SETTLING)?;
    let warm = reading("cached (Redis, warm)", &reads(&cached, TIME)?);
    let cold = reading("uncached (Redis unreachable)", &reads(&uncached, TIME)?);
    let ratio = |percent| {
        let (cold, warm) = (cold.times.percentile(percent), warm.times.percentile(percent));
        cold.unwrap_or_default().as_secs_f64() / warm.unwrap_or_default().as_secs_f64()
    };
    let ratios = format!("p50 {:.0} times, p99 {:.0} times", ratio(50), ratio(99));
    let row = Row::new(WHAT, "uncached / cached", ratios, "the ratio of the times above");
    Ok(vec![warm.row, cold.row, row].into())
}

fn reading(case: &'static str, reads: &[load::Read]) -> Reading {
    let times: Samples = reads.iter().map(|read| read.taken).collect();
    let hits = percent(reads.iter().filter(|read| read.hit).count(), reads.len());
    let good = percent(reads.iter().filter(|read| read.status == 200).count(), reads.len());
    let figures = format!("{times}; {:.0} reads/s; {hits:.1} % hits", rate(reads.len(), TIME));
    let how = format!(
        "{good:.0} % answered 200; GET /work/{{id}} of {WORKS}, closed loop, {CONNECTIONS} connections, {} s; \
         the way to PostgreSQL takes {} ms more both ways together",
        TIME.as_secs(),
        2 * DELAY.as_millis()
    );
    Reading {
        row: Row::new(WHAT, case, figures, how),
        times,
    }
}
