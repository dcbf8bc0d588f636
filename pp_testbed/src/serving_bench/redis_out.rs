//! Reads while Redis freezes and thaws.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::bench::Bench;
use super::figures::{Samples, milliseconds, percent};
use super::load::{self, Read};
use super::{Findings, Row};
use crate::servers::Kind;

const WORKS: usize = 200;
const CONNECTIONS: usize = 8;
/// How long everything is well, then Redis is frozen, and thawed.
const PHASES: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(4), Duration::from_secs(5)];
/// What is shown apart: the time in which the breaker opens.
const OPENING: Duration = Duration::from_millis(500);
const SETTLING: Duration = Duration::from_secs(2);
const WHAT: &str = "Redis out";

pub(super) fn measure(bench: &Bench) -> Result<Findings> {
    let api = bench.api("redis-out", "pp_backend_api", bench.distributed("redis_out")?)?;
    let (reads, frozen, thawed) = bench.runtime.block_on(async {
        let works = load::create(api.port, WORKS).await?;
        load::read(api.port, &works, CONNECTIONS, Instant::now() + SETTLING).await?;
        let end = Instant::now() + PHASES.iter().sum::<Duration>();
        let reading = tokio::spawn(async move { load::read(api.port, &works, CONNECTIONS, end).await });
        tokio::time::sleep(PHASES[0]).await;
        let frozen = Instant::now();
        bench.servers.freeze(Kind::Redis)?;
        tokio::time::sleep(PHASES[1]).await;
        let thawed = Instant::now();
        bench.servers.thaw(Kind::Redis)?;
        anyhow::Ok((reading.await??, frozen, thawed))
    })?;
    Ok(judge(&reads, frozen, thawed))
}

fn judge(reads: &[Read], frozen: Instant, thawed: Instant) -> Findings {
    let within = |from: Option<Instant>, to: Option<Instant>| -> Vec<&Read> {
        let is_within = |read: &&Read| from.is_none_or(|from| read.sent >= from) && to.is_none_or(|to| read.sent < to);
        reads.iter().filter(is_within).collect()
    };
    let opened = frozen + OPENING;
    let phases = [
        ("before", within(None, Some(frozen))),
        ("the first 500 ms frozen", within(Some(frozen), Some(opened))),
        ("frozen, after that", within(Some(opened), Some(thawed))),
        ("thawed", within(Some(thawed), None)),
    ];
    let mut rows: Vec<Row> = phases.iter().map(|(case, reads)| row(case, reads)).collect();
    let back = reads
        .iter()
        .filter(|read| read.hit && read.sent >= thawed)
        .map(|read| read.sent)
        .min();
    let back = back.map_or("never".to_owned(), |back| {
        format!("after {} ms", milliseconds(back - thawed))
    });
    rows.push(Row::new(
        WHAT,
        "hits are back",
        back,
        "the first hit that was asked for after SIGCONT",
    ));
    let bad = reads.iter().filter(|read| read.status >= 500).count();
    rows.push(Row::new(
        WHAT,
        "5xx",
        format!("{bad} of {}", reads.len()),
        "over all phases",
    ));
    Findings {
        rows,
        wrong: (bad > 0).then(|| format!("{bad} reads were answered with 5xx")),
    }
}

fn row(case: &str, reads: &[&Read]) -> Row {
    let times: Samples = reads.iter().map(|read| read.taken).collect();
    let hits = percent(reads.iter().filter(|read| read.hit).count(), reads.len());
    let longest = milliseconds(times.percentile(100).unwrap_or_default());
    let figures = format!(
        "{times}, longest {longest} ms; {} reads, {hits:.1} % hits",
        times.count()
    );
    let how = format!("GET /work/{{id}} of {WORKS}, closed loop, {CONNECTIONS} connections");
    Row::new(WHAT, case, figures, how)
}
