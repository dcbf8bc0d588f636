//! The processor time of every service while nothing happens.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::http::Stream;
use super::stand::Stand;
use super::{Line, Plan, usage};

const SETTLING: Duration = Duration::from_secs(5);
const TIME: Duration = Duration::from_secs(20);

pub(super) fn measure(stand: &Stand, _: &Plan) -> Result<Vec<Line>> {
    let variables = stand.distributed("idle")?;
    let api = stand.api("idle-api", "pp_backend_api", variables.clone())?;
    let followed = stand.api("idle-followed", "pp_backend_api", variables.clone())?;
    let consumer = stand.service("idle-consumer", "task_consumer", variables.clone())?;
    let yearly = [variables, vec![("PP_SCHEDULE", "0 0 0 1 1 *".to_owned())]].concat();
    let producer = stand.service("idle-producer", "task_producer", yearly)?;
    let standalone = stand.api("idle-standalone", "pp_standalone", stand.embedded("idle-data"))?;
    let client = stand.runtime.block_on(Stream::open(followed.port, "/stream"))?;
    let client = stand.runtime.spawn(client.sit());
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
    let line = |((name, _), share): (&(&str, _), f64)| Line::new(format!("idle: {name}"), "% of a core", vec![share]);
    let mut lines: Vec<Line> = services.iter().zip(shares).map(line).collect();
    let how = "user and system time over 20 s, after 5 s; all services at the same time, the two APIs on one database";
    lines[0].notes.push(how.to_owned());
    Ok(lines)
}

/// In percent of one core.
pub(super) fn share(used: Duration, time: Duration) -> f64 {
    100.0 * used.as_secs_f64() / time.as_secs_f64()
}
