//! Workers over HTTP: how many works they claim and complete, and how soon an idle one has a new work. And the services
//! without a broker: how fast consumers work off the rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pp_chaos::ledger::{self, Ledger};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::http::Connection;
use super::stand::{Place, Stand, with};
use super::statistics::number;
use super::{Goal, Line, Plan, Samples, limits};

const KIND: &str = "bench.pulled";
const CONNECTIONS: usize = 16;
const BATCH: usize = 100;
/// Each claims and completes one by one, which takes longer.
const SINGLY: usize = 5;
/// Idle workers while works come in, and how many of these a second.
const IDLE: usize = 100;
const PER_SECOND: u64 = 100;
const LIMIT: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(10);

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (mut batched, mut singly, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut raw, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        raw.push(limits::claimed::rate(stand, plan.demands)?);
        batched.push(pulled(stand, plan.demands, BATCH)?);
        singly.push(pulled(stand, plan.demands / SINGLY, 1)?);
        alone.push(rows(stand, plan.demands)?);
        waits.push(idle(stand, plan.time)?);
    }
    let works = |count: usize| number(count as f64);
    let of = |percent: usize| waits.iter().map(|one: &Samples| one.milliseconds(percent)).collect();
    let seen = format!("{IDLE} waiting workers, {PER_SECOND} works a second; from the answer to POST until one has it");
    Ok(vec![
        Line::new(format!("workers over HTTP, batches of {BATCH}"), "works/s", batched)
            .limit(limits::claimed::WHAT, &raw)
            .goal(Goal::AtLeast(10_000.0))
            .note(format!(
                "{} works, {CONNECTIONS} connections, each claims and completes",
                works(plan.demands)
            )),
        Line::new("workers over HTTP, one by one", "works/s", singly)
            .goal(Goal::AtLeast(2_000.0))
            .note(format!(
                "{} works, {CONNECTIONS} connections",
                works(plan.demands / SINGLY)
            )),
        Line::new("new work to an idle worker, p50", "ms", of(50))
            .goal(Goal::AtMost(10.0))
            .note(seen.clone()),
        Line::new("new work to an idle worker, p99", "ms", of(99)).note(seen),
        Line::new("sums without a broker, one consumer", "works/s", alone)
            .limit(limits::claimed::WHAT, &raw)
            .note(format!("{} rows, PP_BROKER_URL=database:", works(plan.demands))),
    ])
}

/// Works a second, claimed and completed in parts of this size.
fn pulled(stand: &Stand, works: usize, part: usize) -> Result<f64> {
    let place = stand.place("pull")?;
    let api = stand.api("pull-api", "pp_backend_api", without_broker(stand, &place)?)?;
    let rate = stand.runtime.block_on(async {
        declare(api.port).await?;
        fill(&place, KIND, r#"{"width":100}"#, works).await?;
        let (done, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let mut workers = JoinSet::new();
        for worker in 0..CONNECTIONS {
            workers.spawn(work(api.port, worker, part, works, Arc::clone(&done)));
        }
        while let Some(ended) = workers.join_next().await {
            ended??;
        }
        let rate = works as f64 / begun.elapsed().as_secs_f64();
        let counted = Ledger::connect(&place.database).await?.done().await?;
        ensure!(counted == i64::try_from(works)?, "{counted} of {works} are done");
        anyhow::Ok(rate)
    })?;
    drop(api);
    stand.leave(place)?;
    Ok(rate)
}

async fn work(port: u16, worker: usize, part: usize, works: usize, done: Arc<AtomicUsize>) -> Result<()> {
    let mut connection = Connection::open(port).await?;
    let claim = json!({"kinds": [KIND], "worker": format!("bench-{worker}"), "max": part, "wait": "200ms"}).to_string();
    let begun = Instant::now();
    while done.load(Ordering::Relaxed) < works {
        ensure!(begun.elapsed() < LIMIT, "not done within {LIMIT:?}");
        let runs = claimed(&mut connection, &claim).await?;
        if runs.is_empty() {
            continue;
        }
        let ends: Vec<Value> = runs
            .iter()
            .map(|run| json!({"run": run["run"], "result": {"bytes": 512}}))
            .collect();
        let body = match &ends[..] {
            [end] if part == 1 => end.to_string(),
            _ => json!(ends).to_string(),
        };
        let reply = connection.post("/run/complete", &body).await?;
        ensure!(reply.status == 200, "an end is answered with {}", reply.status);
        done.fetch_add(ends.len(), Ordering::Relaxed);
    }
    Ok(())
}

async fn claimed(connection: &mut Connection, claim: &str) -> Result<Vec<Value>> {
    let reply = connection.post("/run/claim", claim).await?;
    ensure!(reply.status == 200, "a claim is answered with {}", reply.status);
    let mut answer: Value = serde_json::from_slice(&reply.body)?;
    match answer["runs"].take() {
        Value::Array(runs) => Ok(runs),
        other => anyhow::bail!("a claim is answered with {other}"),
    }
}

/// The times from a committed work to the worker that has it.
fn idle(stand: &Stand, time: Duration) -> Result<Samples> {
    let place = stand.place("pull_idle")?;
    let api = stand.api("pull-idle-api", "pp_backend_api", without_broker(stand, &place)?)?;
    let port = api.port;
    let times = stand.runtime.block_on(async {
        declare(port).await?;
        let (told, mut hear) = tokio::sync::mpsc::unbounded_channel::<(i64, Instant)>();
        let mut workers = JoinSet::new();
        for worker in 0..IDLE {
            let told = told.clone();
            workers.spawn(async move {
                let mut connection = Connection::open(port).await?;
                let claim = json!({"kinds": [KIND], "worker": format!("idle-{worker}"), "wait": "10s"}).to_string();
                loop {
                    for run in claimed(&mut connection, &claim).await? {
                        let _ = told.send((run["id"].as_i64().context("a run without an id")?, Instant::now()));
                        let end = json!({"run": run["run"]}).to_string();
                        connection.post("/run/complete", &end).await?;
                    }
                }
                #[expect(unreachable_code, reason = "the type of the task")]
                anyhow::Ok(())
            });
        }
        sleep(Duration::from_millis(500)).await;
        let mut connection = Connection::open(port).await?;
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (begun, mut posted, mut waits) = (Instant::now(), std::collections::HashMap::new(), Vec::new());
        let body = json!({"kind": KIND, "args": {"width": 1}}).to_string();
        while begun.elapsed() < time {
            ticks.tick().await;
            let reply = connection.post("/work", &body).await?;
            let work: Value = serde_json::from_slice(&reply.body)?;
            posted.insert(work["id"].as_i64().context("a work without an id")?, Instant::now());
        }
        while waits.len() < posted.len() {
            let (id, at) = tokio::time::timeout(LIMIT, hear.recv())
                .await?
                .context("no worker is left")?;
            let answered = posted.get(&id).context("an unknown work")?;
            waits.push(at.saturating_duration_since(*answered));
        }
        workers.abort_all();
        anyhow::Ok(waits.into_iter().collect())
    })?;
    drop(api);
    stand.leave(place)?;
    Ok(times)
}

/// Sums a second that one consumer claims and computes.
fn rows(stand: &Stand, works: usize) -> Result<f64> {
    let place = stand.place("rows")?;
    let variables = without_broker(stand, &place)?;
    let rate = stand.runtime.block_on(async {
        fill(&place, "add_up_to", r#"{"add_up_to":42}"#, works).await?;
        let ledger = Ledger::connect(&place.database).await?;
        let mut consumer = stand.service("rows-consumer", "task_consumer", variables)?;
        while ledger.done().await? == 0 {
            consumer.ensure_running()?;
            sleep(PAUSE / 10).await;
        }
        let (begun, first) = (Instant::now(), ledger.done().await?);
        while ledger.done().await? < i64::try_from(works)? {
            ensure!(begun.elapsed() < LIMIT, "not done within {LIMIT:?}");
            consumer.ensure_running()?;
            sleep(PAUSE).await;
        }
        anyhow::Ok((works as f64 - first as f64) / begun.elapsed().as_secs_f64())
    })?;
    stand.leave(place)?;
    Ok(rate)
}

/// The settings of services without RabbitMQ and Redis.
pub(super) fn without_broker(stand: &Stand, place: &Place) -> Result<super::stand::Variables> {
    let variables = stand.variables(place)?;
    Ok(with(
        &with(&variables, "PP_BROKER_URL", "database:"),
        "PP_CACHE_URL",
        "memory:",
    ))
}

async fn declare(port: u16) -> Result<()> {
    let declared =
        pp_testkit::client::Api::at(port).try_json("PUT", &format!("/kind/{KIND}"), r#"{"delivery":"pull"}"#, None);
    ensure!(
        declared.is_ok_and(|answer| answer.status == 200),
        "the kind is not declared"
    );
    Ok(())
}

/// Due rows of a kind, as an application puts them in.
async fn fill(place: &Place, kind: &str, args: &str, works: usize) -> Result<()> {
    let client = ledger::client(&place.database).await?;
    let works = i64::try_from(works)?;
    // The ids make each call differ, so that the server does not make one of all.
    let enqueue =
        "SELECT count(*) FROM generate_series(1, $1::bigint) AS number, LATERAL pp_enqueue($2, $3::text::json,
        json_build_object('wake', false, 'message_id', number::text))";
    client.query_one(enqueue, &[&works, &kind, &args]).await?;
    // Each is a transaction of its own.
    for statement in ["VACUUM ANALYZE works", "CHECKPOINT"] {
        client.batch_execute(statement).await?;
    }
    Ok(())
}
