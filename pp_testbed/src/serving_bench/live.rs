//! From the commit of a work to its event in a client of the live stream.

use std::time::Duration;

use anyhow::Result;

use super::bench::{Api, Bench};
use super::figures::{Samples, rate};
use super::watcher::Watcher;
use super::{Findings, Row, load};

const CLIENTS: u32 = 20;
const PER_SECOND: u32 = 1000;
const TIME: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &Bench) -> Result<Findings> {
    let variables = bench.distributed("live")?;
    let consumer = bench.service("live-consumer", "task_consumer", variables.clone())?;
    let api = bench.api("live-api", "pp_backend_api", variables)?;
    let distributed = follow(bench, &api, "distributed (API, consumer)")?;
    drop((consumer, api));
    let standalone = bench.api("live-standalone", "pp_standalone", bench.embedded("live-data"))?;
    let embedded = follow(bench, &standalone, "embedded (pp_standalone)")?;
    Ok(vec![distributed, embedded].into())
}

fn follow(bench: &Bench, api: &Api, case: &str) -> Result<Row> {
    let (count, times) = bench.runtime.block_on(async {
        let watcher = Watcher::start(api.port, |_| true).await?;
        let posted = load::post(api.port, CLIENTS, PER_SECOND, TIME, "{}").await?;
        let times = watcher.times(&posted, |one| one.answered, LIMIT).await?;
        anyhow::Ok((posted.len(), times))
    })?;
    let before = times.iter().filter(|time| time.is_zero()).count();
    let times: Samples = times.into_iter().collect();
    let figures = format!("{times}; {before} of {count} read before the answer");
    let how = format!(
        "from the answer to POST /work (the commit is before it) to its first event read from /stream in the same process, \
         before counts as 0; {:.0} works/s, {} s, {CLIENTS} connections",
        rate(count, TIME),
        TIME.as_secs()
    );
    Ok(Row::new("commit to event", case, figures, how))
}
