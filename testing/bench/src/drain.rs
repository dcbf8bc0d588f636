//! How fast a full queue is worked off: demands that are already in RabbitMQ, until their works and events are committed
//! and the messages acknowledged.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::http::Stream;
use super::limits::sql;
use super::stand::{Place, Stand, with};
use super::statistics::number;
use super::{Goal, Line, Plan};
use pp_chaos::demands::Demands;
use pp_chaos::ledger::{self, Ledger};
use pp_testkit::servers::Kind;
use pp_testkit::service::Service;

/// The longest a drain may take.
const LIMIT: Duration = Duration::from_secs(900);
const PAUSE: Duration = Duration::from_millis(10);

/// What came of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    /// Works a second, from the first work's creation until all are committed.
    pub(super) rate: f64,
    /// Works for each transaction that wrote events.
    pub(super) batch: f64,
    /// Seconds from the start of the process to the first work.
    pub(super) start: f64,
}

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (mut raw, mut followed, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        raw.push(sql::rate(stand, plan.demands)?);
        followed.push(fresh(stand, plan.demands, true)?);
        alone.push(fresh(stand, plan.demands, false)?);
    }
    let statements = statements(stand, plan.demands)?;
    let line = |what: String, drained: &[Drained]| {
        let mean = |value: fn(&Drained) -> f64| drained.iter().map(value).sum::<f64>() / drained.len() as f64;
        let note = format!(
            "{} demands; mean batch {:.0} works; {:.2} s from the start of the process to the first work; \
             {:.1} statements for 1,000 works, counted in a run of its own; rows and events exact in every run",
            number(plan.demands as f64),
            mean(|one| one.batch),
            mean(|one| one.start),
            statements * 1000.0,
        );
        let rates = drained.iter().map(|one| one.rate).collect();
        Line::new(what, "works/s", rates).limit(sql::WHAT, &raw).note(note)
    };
    Ok(vec![
        line(
            "drain, one consumer; feed, refresher and one SSE client run".to_owned(),
            &followed,
        )
        .goal(Goal::AtLeast(45_000.0))
        .goal(Goal::TimesLimit(0.6)),
        line("drain, one consumer and nothing else".to_owned(), &alone),
    ])
}

fn fresh(stand: &Stand, demands: usize, followed: bool) -> Result<Drained> {
    let place = stand.place("drain")?;
    // The API feeds one client of the stream, and refreshes the cache.
    let api = match followed {
        true => Some(stand.api("drain-api", "pp_backend_api", stand.variables(&place)?)?),
        false => None,
    };
    let client = match &api {
        Some(api) => Some(stand.runtime.block_on(Stream::open(api.port, "/stream"))?),
        None => None,
    };
    let client = client.map(|client| stand.runtime.spawn(client.sit()));
    let drained = drain(stand, &place, demands, 1)?;
    if let Some(client) = client {
        ensure!(!client.is_finished(), "the stream was cut");
        client.abort();
    }
    drop(api);
    stand.leave(place)?;
    Ok(drained)
}

/// Fills the queue of the place and has it worked off by so many consumers.
pub(super) fn drain(stand: &Stand, place: &Place, demands: usize, consumers: usize) -> Result<Drained> {
    let url = stand.servers.url(Kind::RabbitMq)?;
    let variables = with(&stand.variables(place)?, "PP_CACHE_URL", "memory:");
    stand.runtime.block_on(async {
        let (ledger, queue) = (
            Ledger::connect(&place.database).await?,
            Demands::connect(&url, &place.queues).await?,
        );
        let below = ledger.highest_id().await?;
        let ids = queue.publish(demands).await?;
        let (begun, begun_at) = (Instant::now(), now()?);
        let start = |_| stand.service("drain-consumer", "task_consumer", variables.clone());
        let mut consumers: Vec<Service> = (0..consumers).map(start).collect::<Result<_>>()?;
        let all = i64::try_from(demands)?;
        // The highest id is cheap to ask for; that no id was skipped is asked for in the end.
        while ledger.highest_id().await? < below + all || ledger.done_above(below).await? < all {
            ensure!(begun.elapsed() < LIMIT, "not drained within {LIMIT:?}");
            consumers.iter_mut().try_for_each(Service::ensure_running)?;
            sleep(PAUSE).await;
        }
        let (ended_at, first) = (now()?, ledger.first_above(below).await?);
        // What was not acknowledged comes back when its consumer goes.
        consumers.iter_mut().try_for_each(Service::stop)?;
        let waiting = queue.waiting().await?;
        ensure!(waiting == 0, "{waiting} messages were not acknowledged");
        exact(&ledger, below, all, &ids).await?;
        Ok(Drained {
            rate: demands as f64 / (ended_at - first),
            batch: demands as f64 / ledger.transactions_above(below).await? as f64,
            start: first - begun_at,
        })
    })
}

async fn exact(ledger: &Ledger, below: i64, demands: i64, ids: &[String]) -> Result<()> {
    let (account, lost) = (ledger.account_above(below).await?, ledger.lost(ids).await?);
    let right = account.done == demands
        && account.unfinished == 0
        && account.wrong_history == 0
        && account.events == 3 * demands
        && account.orphans == 0
        && lost.is_empty();
    ensure!(right, "not exact: {account:?}, lost {}", lost.len());
    Ok(())
}

/// How many statements the consumer sends for a work. PostgreSQL counts them, which costs it something: in a run apart.
fn statements(stand: &Stand, demands: usize) -> Result<f64> {
    let server = stand.servers.url(Kind::Postgres)?;
    let restart_after = |change: &str| {
        let altering = async { anyhow::Ok(ledger::client(&server).await?.batch_execute(change).await?) };
        stand.runtime.block_on(altering)?;
        stand.servers.stop(Kind::Postgres)?;
        stand.servers.start(&[Kind::Postgres])
    };
    restart_after("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")?;
    let counted = count_statements(stand, demands);
    restart_after("ALTER SYSTEM RESET shared_preload_libraries")?;
    counted
}

fn count_statements(stand: &Stand, demands: usize) -> Result<f64> {
    let place = stand.place("statements")?;
    let client = stand.runtime.block_on(async {
        let client = ledger::client(&place.database).await?;
        client.batch_execute("CREATE EXTENSION pg_stat_statements").await?;
        anyhow::Ok(client)
    })?;
    // Without those of this program, known by how they begin.
    let count = r"SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query !~
            '^\s*(WITH history|SELECT (coalesce\(max|count\(\*\) FROM works|count\(DISTINCT|extract|id FROM unnest|pg_stat))'";
    stand
        .runtime
        .block_on(client.execute("SELECT pg_stat_statements_reset()", &[]))?;
    drain(stand, &place, demands, 1)?;
    let calls: i64 = stand.runtime.block_on(client.query_one(count, &[]))?.try_get(0)?;
    drop(client);
    stand.leave(place)?;
    Ok(calls as f64 / demands as f64)
}

/// The Unix time in seconds.
pub(super) fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
