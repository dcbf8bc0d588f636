//! From the commit of a work to its event in a client of the live stream.

use std::time::Duration;

use anyhow::Result;

use super::stand::{Api, Stand};
use super::statistics::percent;
use super::watcher::Watcher;
use super::{Goal, Line, Plan, Samples, load};

const CLIENTS: u32 = 20;
const PER_SECOND: u32 = 1000;
const LIMIT: Duration = Duration::from_secs(20);

/// Times of one run, and how many of a hundred were read before the answer.
type Followed = (Samples, f64);

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (mut distributed, mut embedded) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let place = stand.place("live")?;
        let variables = stand.variables(&place)?;
        let consumer = stand.service("live-consumer", "task_consumer", variables.clone())?;
        let api = stand.api("live-api", "pp_backend_api", variables)?;
        distributed.push(follow(stand, &api, plan.time)?);
        drop((consumer, api));
        stand.leave(place)?;
        let standalone = stand.api("live-standalone", "pp_standalone", stand.embedded("live-data"))?;
        embedded.push(follow(stand, &standalone, plan.time)?);
    }
    let mut lines = lines("commit to SSE event, 1,000 works/s; API and consumer", &distributed);
    lines[0].goals.push(Goal::AtMost(10.0));
    lines[1].goals.push(Goal::AtMost(50.0));
    lines.extend(self::lines("commit to SSE event, 1,000 works/s; standalone", &embedded));
    Ok(lines)
}

fn follow(stand: &Stand, api: &Api, time: Duration) -> Result<Followed> {
    let times = stand.runtime.block_on(async {
        let watcher = Watcher::start(api.port).await?;
        let posted = load::post(api.port, CLIENTS, PER_SECOND, time).await?;
        watcher.times(&posted, LIMIT).await
    })?;
    let before = percent(times.iter().filter(|time| time.is_zero()).count(), times.len());
    Ok((times.into_iter().collect(), before))
}

fn lines(what: &str, followed: &[Followed]) -> Vec<Line> {
    let line = |percent| {
        let values = followed.iter().map(|(times, _)| times.milliseconds(percent)).collect();
        Line::new(format!("{what}: p{percent}"), "ms", values)
    };
    let before = followed.iter().map(|(_, before)| before).sum::<f64>() / followed.len() as f64;
    let note = format!(
        "from the answer to POST /work, before which the commit was, to its first event read from /stream of the same \
         process; {before:.0} % were read before the answer and count as 0; {CLIENTS} connections post by the clock"
    );
    vec![line(50).note(note), line(99)]
}
