//! Many clients of the live stream to which nothing is said.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::http::Stream;
use super::search::count;
use super::stand::Stand;
use super::{Goal, Line, Plan, usage};

/// What this process and the API need besides.
const OTHER_FILES: u64 = 200;
const SETTLING: Duration = Duration::from_secs(3);
/// As long as from one heartbeat to the next.
const TIME: Duration = Duration::from_secs(15);
/// So many come at once.
const AT_ONCE: u64 = 50;

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (wanted, files) = (plan.clients, usage::files()?);
    ensure!(
        files >= wanted + OTHER_FILES,
        "{wanted} clients need as many files, and only {files} may be opened: see ulimit -Hn, or give --clients"
    );
    let mut runs = Vec::new();
    for _ in 0..plan.long_rounds {
        runs.push(run(stand, wanted)?);
    }
    let (each, idle): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
    let clients = count(plan.clients as i64);
    Ok(vec![
        Line::new(format!("{clients} idle SSE clients: memory for each"), "KiB", each)
            .goal(Goal::AtMost(20.0))
            .note("resident memory of the API before and after, by the number of clients"),
        Line::new(format!("{clients} idle SSE clients: processor"), "% of a core", idle)
            .goal(Goal::AtMost(1.0))
            .note("user and system time of the API over 15 s with one round of heartbeats"),
    ])
}

/// KiB for each client, and processor time in percent of a core.
fn run(stand: &Stand, wanted: u64) -> Result<(f64, f64)> {
    let place = stand.place("clients")?;
    let mut api = stand.api("clients", "pp_backend_api", stand.variables(&place)?)?;
    let (pid, port) = (api.service.pid()?, api.port);
    // The first one brings along what all share.
    let mut clients = JoinSet::new();
    stand.runtime.block_on(add(&mut clients, port, 1))?;
    thread::sleep(SETTLING);
    let empty = usage::resident_kib(pid)?;
    stand.runtime.block_on(add(&mut clients, port, wanted - 1))?;
    thread::sleep(SETTLING);
    let (before, begun) = (usage::processor(pid)?, Instant::now());
    thread::sleep(TIME);
    let used = usage::processor(pid)? - before;
    let idle = 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64();
    let full = usage::resident_kib(pid)?;
    ensure!(clients.try_join_next().is_none(), "a stream was cut");
    drop(api);
    stand.leave(place)?;
    let others = (wanted - 1).max(1) as f64;
    Ok((full.saturating_sub(empty) as f64 / others, idle))
}

async fn add(clients: &mut JoinSet<Result<()>>, port: u16, count: u64) -> Result<()> {
    for first in (0..count).step_by(AT_ONCE as usize) {
        let some = (first..count.min(first + AT_ONCE)).map(|_| Stream::open(port, "/stream"));
        for stream in futures_util::future::try_join_all(some).await? {
            clients.spawn(stream.sit());
        }
    }
    Ok(())
}
