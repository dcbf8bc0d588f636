//! The processor time of every service while nothing happens.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::bench::Bench;
use super::http::Stream;
use super::{Findings, Row, usage};

const SETTLING: Duration = Duration::from_secs(5);
const TIME: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &Bench) -> Result<Findings> {
    let variables = bench.distributed("idle")?;
    let api = bench.api("idle-api", "pp_backend_api", variables.clone())?;
    let followed = bench.api("idle-followed", "pp_backend_api", variables.clone())?;
    let consumer = bench.service("idle-consumer", "task_consumer", variables.clone())?;
    let yearly = [variables, vec![("PP_SCHEDULE", "0 0 0 1 1 *".to_owned())]].concat();
    let producer = bench.service("idle-producer", "task_producer", yearly)?;
    let standalone = bench.api("idle-standalone", "pp_standalone", bench.embedded("idle-data"))?;
    let client = bench.runtime.block_on(Stream::open(followed.port, "/stream"))?;
    let client = bench.runtime.spawn(client.sit());
    let mut services = [
        ("pp_backend_api", api.service),
        ("pp_backend_api with one idle SSE client", followed.service),
        ("task_consumer", consumer),
        ("task_producer, no tick", producer),
        ("pp_standalone", standalone.service),
    ];
    thread::sleep(SETTLING);
    let mut used = || {
        let each = services.iter_mut().map(|(_, service)| usage::processor(service.pid()?));
        each.collect::<Result<Vec<_>>>()
    };
    let (before, begun) = (used()?, Instant::now());
    thread::sleep(TIME);
    let (after, time) = (used()?, begun.elapsed());
    client.abort();
    let shares = before
        .iter()
        .zip(&after)
        .map(|(before, after)| share(*after - *before, time));
    let rows = services.iter().zip(shares).map(|((name, _), share)| {
        let how = "utime + stime over 20 s, after 5 s; all services at the same time, the two APIs on one database";
        Row::new("idle CPU", *name, share, how)
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// Of one core.
pub(super) fn share(used: Duration, time: Duration) -> String {
    format!("{:.2} % of a core", 100.0 * used.as_secs_f64() / time.as_secs_f64())
}
