//! Many clients of the live stream to which nothing is said.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::bench::Bench;
use super::http::Stream;
use super::idle::share;
use super::{Findings, Row, usage};

const CLIENTS: u64 = 1000;
/// What this process and the API need besides.
const OTHER_FILES: u64 = 200;
const SETTLING: Duration = Duration::from_secs(3);
/// As long as from one heartbeat to the next.
const TIME: Duration = Duration::from_secs(15);
/// So many come at once.
const AT_ONCE: u64 = 50;

pub(super) fn measure(bench: &Bench) -> Result<Findings> {
    let wanted = usage::files()?.saturating_sub(OTHER_FILES).min(CLIENTS);
    ensure!(wanted > 0, "no files may be opened: see ulimit -n");
    let mut api = bench.api("clients", "pp_backend_api", bench.distributed("clients")?)?;
    let (pid, port) = (api.service.pid()?, api.port);
    // The first one brings along what all share.
    let mut clients = JoinSet::new();
    bench.runtime.block_on(add(&mut clients, port, 1))?;
    thread::sleep(SETTLING);
    let empty = usage::resident_kib(pid)?;
    bench.runtime.block_on(add(&mut clients, port, wanted))?;
    thread::sleep(SETTLING);
    let (before, begun) = (usage::processor(pid)?, Instant::now());
    thread::sleep(TIME);
    let idle = share(usage::processor(pid)? - before, begun.elapsed());
    let full = usage::resident_kib(pid)?;
    ensure!(clients.try_join_next().is_none(), "a stream was cut");
    let each = full.saturating_sub(empty) as f64 / wanted as f64;
    let figures = format!("{each:.1} KiB per client ({empty} to {full} KiB); {idle} idle");
    let how = format!(
        "RSS of the API before and after; utime + stime over {} s with one round of heartbeats",
        TIME.as_secs()
    );
    Ok(vec![Row::new("SSE clients", format!("{wanted} idle clients"), figures, how)].into())
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
