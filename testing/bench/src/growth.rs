//! The key figures on tables that are small, large and very large, and with one consumer, two and four.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::RngExt as _;
use tokio::time::sleep;

use super::drain::drain;
use super::fill::fill;
use super::get::NO_CACHE;
use super::search::{self, count};
use super::stand::{Place, Stand, with};
use super::wrk::{self, Ask};
use super::{Line, Plan, Samples};
use pp_chaos::demands::Demands;
use pp_chaos::ledger;
use pp_testkit::servers::Kind;

const CONSUMERS: [usize; 3] = [1, 2, 4];
/// How many works are due at once.
const DUE: i64 = 50_000;
/// How many works are read in turn.
const READ: usize = 10_000;
const LIMIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for rows in &plan.growth_rows {
        let place = stand.place("growth")?;
        stand.runtime.block_on(fill(&place.database, *rows))?;
        lines.extend(at(stand, plan, &place, *rows)?);
        stand.leave(place)?;
    }
    Ok(lines)
}

fn at(stand: &Stand, plan: &Plan, place: &Place, rows: i64) -> Result<Vec<Line>> {
    let runs = plan.long_rounds;
    let line = |what: &str, unit, values| Line::new(format!("{} rows: {what}", count(rows)), unit, values);
    let mut lines = Vec::new();
    for consumers in CONSUMERS {
        let drained = (0..runs).map(|_| Ok(drain(stand, place, plan.demands, consumers)?.rate));
        let rates = drained.collect::<Result<_>>()?;
        let what = format!(
            "drain, {consumers} {}",
            if consumers == 1 { "consumer" } else { "consumers" }
        );
        lines.push(line(&what, "works/s", rates));
    }
    let dispatched = (0..runs).map(|_| dispatch(stand, place)).collect::<Result<_>>()?;
    lines.push(line("dispatch of due works", "works/s", dispatched));

    let uncached = with(&stand.variables(place)?, "PP_CACHE_URL", NO_CACHE);
    let api = stand.api("growth-api", "pp_backend_api", uncached)?;
    let found = (0..runs).map(|_| search::times(stand, &api, plan.time));
    let found: Vec<Samples> = found.collect::<Result<_>>()?;
    for percent in [50, 99] {
        let times = found.iter().map(|times| times.milliseconds(percent)).collect();
        lines.push(line(&format!("search by prefix, p{percent}"), "ms", times));
    }
    let ids: Vec<i64> = (0..READ).map(|_| rand::rng().random_range(1..=rows)).collect();
    let mut asked = |what: &str, ask: &Ask<'_>| {
        let rates = (0..runs).map(|_| Ok(wrk::run(stand, api.port, plan.time, ask)?.rate()));
        lines.push(line(what, "/s", rates.collect::<Result<_>>()?));
        anyhow::Ok(())
    };
    asked("GET /work/{id}, cache off, 64 connections", &Ask::Works(&ids))?;
    asked("POST /work, 64 connections", &Ask::Post("/work", "{}"))?;
    Ok(lines)
}

/// How many due works a dispatcher sends a second, from its first claim until all are in the queue.
fn dispatch(stand: &Stand, place: &Place) -> Result<f64> {
    let queues = format!("{}.{}", place.queues, rand::random::<u32>());
    let variables = with(&stand.variables(place)?, "PP_QUEUE_PREFIX", &queues);
    let variables = with(&variables, "PP_DISPATCH", "only");
    let url = stand.servers.url(Kind::RabbitMq)?;
    stand.runtime.block_on(async {
        let client = ledger::client(&place.database).await?;
        let queue = Demands::connect(&url, &queues).await?;
        let below: i64 = client.query_one("SELECT max(id) FROM works", &[]).await?.try_get(0)?;
        client.execute(DUE_WORKS, &[&DUE]).await?;
        let mut dispatcher = stand.service("growth-dispatcher", "task_consumer", variables)?;
        let begun = Instant::now();
        let mut waiting = 0;
        while waiting < DUE as u64 {
            ensure!(begun.elapsed() < LIMIT, "only {waiting} of {DUE} works were sent");
            dispatcher.ensure_running()?;
            sleep(PAUSE).await;
            waiting = queue.waiting().await?;
        }
        let since = "SELECT extract(epoch FROM clock_timestamp() - min(sent_at))::float8 FROM works WHERE id > $1";
        let seconds: f64 = client.query_one(since, &[&below]).await?.try_get(0)?;
        dispatcher.stop()?;
        ensure!(queue.waiting().await? == DUE as u64, "some were sent twice");
        // Nobody is to send them again.
        client.execute("DELETE FROM works WHERE id > $1", &[&below]).await?;
        Ok(DUE as f64 / seconds)
    })
}

/// Their codes have a letter that those of `fill` do not have.
const DUE_WORKS: &str = r#"
    INSERT INTO works (kind, work_code, origin, message_id, args, due_at)
    SELECT 'add_up_to', 'api-D' || substr(md5(random()::text), 1, 3) || lpad(to_hex(g), 6, '0'), 'api', gen_random_uuid()::text, '{"add_up_to":10}', now()
    FROM generate_series(1, $1::bigint) AS g"#;
