//! Reads while Redis freezes and thaws.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::load::{self, Read};
use super::stand::Stand;
use super::statistics::{number, percent};
use super::{Line, Plan, Samples};
use pp_testkit::servers::Kind;

const WORKS: usize = 200;
const CONNECTIONS: usize = 8;
/// How long everything is well, then Redis is frozen, and thawed.
const PHASES: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(4), Duration::from_secs(5)];
/// What is shown apart: the time in which the breaker opens.
const OPENING: Duration = Duration::from_millis(500);
const SETTLING: Duration = Duration::from_secs(2);

pub(super) fn measure(stand: &Stand, _: &Plan) -> Result<Vec<Line>> {
    let api = stand.api("redis-out", "pp_backend_api", stand.distributed("redis_out")?)?;
    let (reads, frozen, thawed) = stand.runtime.block_on(async {
        let works = load::create(api.port, WORKS).await?;
        load::read(api.port, &works, CONNECTIONS, Instant::now() + SETTLING).await?;
        let end = Instant::now() + PHASES.iter().sum::<Duration>();
        let reading = tokio::spawn(async move { load::read(api.port, &works, CONNECTIONS, end).await });
        tokio::time::sleep(PHASES[0]).await;
        let frozen = Instant::now();
        stand.servers.freeze(Kind::Redis)?;
        tokio::time::sleep(PHASES[1]).await;
        let thawed = Instant::now();
        stand.servers.thaw(Kind::Redis)?;
        anyhow::Ok((reading.await??, frozen, thawed))
    })?;
    lines(&reads, frozen, thawed)
}

fn lines(reads: &[Read], frozen: Instant, thawed: Instant) -> Result<Vec<Line>> {
    let bad = reads.iter().filter(|read| read.status >= 500).count();
    ensure!(bad == 0, "{bad} of {} reads were answered with 5xx", reads.len());
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
    let mut lines: Vec<Line> = phases.iter().map(|(case, reads)| line(case, reads)).collect();
    let hits = reads.iter().filter(|read| read.hit && read.sent >= thawed);
    let back = hits.map(|read| read.sent).min().context("hits do not come back")?;
    let back = (back - thawed).as_secs_f64() * 1000.0;
    let note = "from SIGCONT until the first hit was asked for; no read of the whole run was answered with 5xx";
    lines.push(Line::new("Redis out: hits are back", "ms", vec![back]).note(note));
    Ok(lines)
}

fn line(case: &str, reads: &[&Read]) -> Line {
    let times: Samples = reads.iter().map(|read| read.taken).collect();
    let hits = percent(reads.iter().filter(|read| read.hit).count(), reads.len());
    let note = format!(
        "p50 {} ms, longest {} ms; {} reads, {hits:.1} % hits; GET /work/{{id}} of {WORKS}, closed loop, {CONNECTIONS} \
         connections",
        number(times.milliseconds(50)),
        number(times.milliseconds(100)),
        times.count()
    );
    Line::new(format!("Redis out, {case}: p99"), "ms", vec![times.milliseconds(99)]).note(note)
}
