//! Reads with a slow database: from the cache, and without one.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::get::NO_CACHE;
use super::stand::{Api, Stand, with};
use super::statistics::{percent, rate};
use super::{Line, Plan, Samples, load};
use pp_testkit::proxy::{Flow, Proxy};

/// On the way there, and on the way back.
const DELAY: Duration = Duration::from_millis(25);
const WORKS: usize = 200;
const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(4);
/// Longer than the bound of freshness: by then the refresher has marked the cache through the slow way.
const SETTLING: Duration = Duration::from_secs(2);
pub(super) fn measure(stand: &Stand, _: &Plan) -> Result<Vec<Line>> {
    let direct = stand.distributed("cached")?;
    let (proxy, database) = Proxy::to_url(stand.runtime.handle(), &direct[0].1)?;
    let slow = with(&direct, "PP_DATABASE_URL", database);
    let cached = stand.api("cached", "pp_backend_api", slow.clone())?;
    let uncached = stand.api("uncached", "pp_backend_api", with(&slow, "PP_CACHE_URL", NO_CACHE))?;
    let works = stand.runtime.block_on(load::create(cached.port, WORKS))?;
    proxy.set(Flow::Delayed(DELAY));
    let reads = |api: &Api, time| {
        let reading = load::read(api.port, &works, CONNECTIONS, Instant::now() + time);
        stand.runtime.block_on(reading)
    };
    // Fills the cache.
    reads(&cached, SETTLING)?;
    let warm = lines("from Redis", &reads(&cached, TIME)?);
    let cold = lines("without the cache", &reads(&uncached, TIME)?);
    Ok([warm, cold].concat())
}

fn lines(case: &str, reads: &[load::Read]) -> Vec<Line> {
    let times: Samples = reads.iter().map(|read| read.taken).collect();
    let hits = percent(reads.iter().filter(|read| read.hit).count(), reads.len());
    let good = percent(reads.iter().filter(|read| read.status == 200).count(), reads.len());
    let note = format!(
        "{:.0} reads/s, {hits:.1} % hits, {good:.0} % answered 200; GET /work/{{id}} of {WORKS}, closed loop, {CONNECTIONS} \
         connections, {} s; the way to PostgreSQL takes {} ms more both ways together",
        rate(reads.len(), TIME),
        TIME.as_secs(),
        2 * DELAY.as_millis()
    );
    let line = |percent| {
        let what = format!("slow database, reads {case}: p{percent}");
        Line::new(what, "ms", vec![times.milliseconds(percent)])
    };
    vec![line(50).note(note), line(99)]
}
