//! `POST /work`: durable, that is, committed before it is answered.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::limits::pgbench;
use super::stand::Stand;
use super::statistics::number;
use super::wrk::{self, Ask, CONNECTIONS};
use super::{Goal, Line, Plan, Samples, Spread, load};
use pp_chaos::ledger;

const WARMING: Duration = Duration::from_secs(1);

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (mut limit, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        limit.push(pgbench::inserts(stand, plan.time)?);
        rates.push(throughput(stand, plan.time)?);
    }
    let half = half(&rates);
    let times = (0..plan.rounds).map(|_| times(stand, half, plan.time));
    let times: Vec<Samples> = times.collect::<Result<_>>()?;
    let percentile = |percent| times.iter().map(|times| times.milliseconds(percent)).collect();
    Ok(vec![
        Line::new("POST /work, 64 connections", "/s", rates)
            .limit(pgbench::INSERT, &limit)
            .goal(Goal::AtLeast(30_000.0))
            .goal(Goal::TimesLimit(3.0))
            .note("wrk; a row with its event for each answer, and none beyond those under way in the end"),
        Line::new("POST /work, p50", "ms", percentile(50)).note(latency_note(half)),
        Line::new("POST /work, p99", "ms", percentile(99)).goal(Goal::AtMost(15.0)),
    ])
}

/// Works created a second.
fn throughput(stand: &Stand, time: Duration) -> Result<f64> {
    let place = stand.place("post")?;
    let api = stand.api("post-api", "pp_backend_api", stand.variables(&place)?)?;
    let ask = Ask::Post("/work", "{}");
    let warming = wrk::run(stand, api.port, WARMING, &ask)?;
    let answered = wrk::run(stand, api.port, time, &ask)?;
    // Their commits may be under way.
    drop(api);
    let counts = "SELECT (SELECT count(*) FROM works), (SELECT count(*) FROM events WHERE variable = 'work/created')";
    let row = stand.runtime.block_on(async {
        let client = ledger::client(&place.database).await?;
        anyhow::Ok(client.query_one(counts, &[]).await?)
    })?;
    let (works, events): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let count = i64::try_from(warming.count + answered.count)?;
    let most = count + 2 * i64::try_from(CONNECTIONS)?;
    ensure!(
        (count..=most).contains(&works) && events == works,
        "{count} works were answered, and {works} are there, with {events} events"
    );
    stand.leave(place)?;
    Ok(answered.rate())
}

fn times(stand: &Stand, per_second: u32, time: Duration) -> Result<Samples> {
    let place = stand.place("post_times")?;
    let api = stand.api("post-times-api", "pp_backend_api", stand.variables(&place)?)?;
    let posted = stand.runtime.block_on(async {
        load::post(api.port, CONNECTIONS as u32, per_second, WARMING).await?;
        load::post(api.port, CONNECTIONS as u32, per_second, time).await
    })?;
    drop(api);
    stand.leave(place)?;
    Ok(posted.iter().map(|one| one.answered - one.due).collect())
}

/// Half of the median, in round numbers.
pub(super) fn half(rates: &[f64]) -> u32 {
    let median = Spread::of(rates).map_or(0.0, |spread| spread.median);
    ((median / 200.0) as u32).max(1) * 100
}

/// How times at this rate are measured.
pub(super) fn latency_note(per_second: u32) -> String {
    format!(
        "open loop at {}/s, half of what wrk saw: {CONNECTIONS} connections, each request from when it was due",
        number(per_second.into())
    )
}
