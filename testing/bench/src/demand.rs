//! `POST /work/demand`: accepted when RabbitMQ has confirmed it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::limits::rabbitmq;
use super::post::{half, latency_note};
use super::stand::Stand;
use super::wrk::{self, Ask, CONNECTIONS};
use super::{Goal, Line, Plan, Samples, load};
use pp_chaos::demands::Demands;
use pp_testkit::servers::Kind;
use pp_testkit::wait;

const WARMING: Duration = Duration::from_secs(1);
/// How late RabbitMQ may count what it confirmed.
const COUNTING: Duration = Duration::from_secs(20);

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (mut limit, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        limit.push(rabbitmq::rates(stand, plan.demands)?.0);
        rates.push(throughput(stand, plan.time)?);
    }
    let half = half(&rates);
    let times = (0..plan.rounds).map(|_| times(stand, half, plan.time));
    let times: Vec<Samples> = times.collect::<Result<_>>()?;
    let percentile = |percent| times.iter().map(|times| times.milliseconds(percent)).collect();
    Ok(vec![
        Line::new("POST /work/demand, 64 connections", "/s", rates)
            .limit(rabbitmq::PUBLISH, &limit)
            .goal(Goal::AtLeast(15_000.0))
            .note("wrk; a message in the queue for each answer, and none beyond those under way in the end"),
        Line::new("POST /work/demand, p50", "ms", percentile(50)).note(latency_note(half)),
        Line::new("POST /work/demand, p99", "ms", percentile(99)),
    ])
}

/// Demands accepted a second.
fn throughput(stand: &Stand, time: Duration) -> Result<f64> {
    let place = stand.place("demand")?;
    let api = stand.api("demand-api", "pp_backend_api", stand.variables(&place)?)?;
    let ask = Ask::Post("/work/demand", "{}");
    let warming = wrk::run(stand, api.port, WARMING, &ask)?;
    let answered = wrk::run(stand, api.port, time, &ask)?;
    drop(api);
    let count = warming.count + answered.count;
    let url = stand.servers.url(Kind::RabbitMq)?;
    let queue = stand.runtime.block_on(Demands::connect(&url, &place.queues))?;
    wait::until_ok("the demands are not in the queue", COUNTING, || {
        let waiting = stand.runtime.block_on(queue.waiting())?;
        let right = (count..=count + 2 * CONNECTIONS).contains(&waiting);
        ensure!(right, "{count} were accepted, and {waiting} are there");
        Ok(())
    })?;
    stand.leave(place)?;
    Ok(answered.rate())
}

fn times(stand: &Stand, per_second: u32, time: Duration) -> Result<Samples> {
    let place = stand.place("demand_times")?;
    let api = stand.api("demand-times-api", "pp_backend_api", stand.variables(&place)?)?;
    let accepted = stand.runtime.block_on(async {
        load::demand(api.port, CONNECTIONS as u32, per_second, WARMING).await?;
        load::demand(api.port, CONNECTIONS as u32, per_second, time).await
    })?;
    drop(api);
    stand.leave(place)?;
    Ok(accepted.into_iter().collect())
}
