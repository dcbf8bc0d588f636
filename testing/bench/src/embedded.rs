//! The standalone program: how soon it is ready, what it takes while nothing happens, how many works it takes in.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::http::Connection;
use super::post::{half, latency_note};
use super::stand::Stand;
use super::wrk::{self, Ask, CONNECTIONS};
use super::{Goal, Line, Plan, Samples, load, usage};

const WARMING: Duration = Duration::from_secs(1);
const SETTLING: Duration = Duration::from_secs(3);
const READY_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);
const STATUSES: [&str; 5] = ["pending", "running", "done", "failed", "cancelled"];

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let starts = (0..plan.rounds).map(|_| start(stand)).collect::<Result<Vec<_>>>()?;
    let (ready, memory): (Vec<f64>, Vec<f64>) = starts.into_iter().unzip();
    let rates = (0..plan.rounds).map(|_| throughput(stand, plan.time));
    let rates: Vec<f64> = rates.collect::<Result<_>>()?;
    let half = half(&rates);
    let times = (0..plan.rounds).map(|_| times(stand, half, plan.time));
    let times: Vec<Samples> = times.collect::<Result<_>>()?;
    let p99 = times.iter().map(|times| times.milliseconds(99)).collect();
    Ok(vec![
        Line::new("embedded: ready after its start", "ms", ready)
            .goal(Goal::AtMost(200.0))
            .note("on an empty folder, migrations included, until readiness is answered with 200"),
        Line::new("embedded: idle memory", "MiB", memory)
            .goal(Goal::AtMost(40.0))
            .note("resident, 3 s after it was ready"),
        Line::new("embedded: POST /work, 64 connections", "/s", rates)
            .goal(Goal::AtLeast(8_000.0))
            .note("wrk; its own worker computes them meanwhile; a work for each answer"),
        Line::new("embedded: POST /work, p99", "ms", p99).note(latency_note(half)),
    ])
}

/// Milliseconds until it is ready, and its memory in MiB.
fn start(stand: &Stand) -> Result<(f64, f64)> {
    let variables = stand.embedded("start");
    let begun = Instant::now();
    let mut api = stand.starting_api("embedded", "pp_standalone", variables)?;
    let is_ready = || {
        let ready = async { Connection::open(api.port).await?.get("/health/ready").await };
        stand.runtime.block_on(ready).is_ok_and(|reply| reply.status == 200)
    };
    while !is_ready() {
        ensure!(begun.elapsed() < READY_LIMIT, "it is not ready");
        thread::sleep(PAUSE);
    }
    let ready = begun.elapsed().as_secs_f64() * 1000.0;
    thread::sleep(SETTLING);
    let memory = usage::resident_kib(api.service.pid()?)? as f64 / 1024.0;
    Ok((ready, memory))
}

fn throughput(stand: &Stand, time: Duration) -> Result<f64> {
    let api = stand.api("embedded-post", "pp_standalone", stand.embedded("post"))?;
    let ask = Ask::Post("/work", "{}");
    let warming = wrk::run(stand, api.port, WARMING, &ask)?;
    let answered = wrk::run(stand, api.port, time, &ask)?;
    let reply = stand
        .runtime
        .block_on(async { Connection::open(api.port).await?.get("/stats").await })?;
    let stats: Value = serde_json::from_slice(&reply.body)?;
    let works = works(&stats).with_context(|| format!("unknown counters: {stats}"))?;
    let count = warming.count + answered.count;
    ensure!(
        (count..=count + 2 * CONNECTIONS).contains(&works),
        "{count} works were answered, and {works} are there"
    );
    Ok(answered.rate())
}

/// How many works there are that came over the API.
fn works(stats: &Value) -> Option<u64> {
    let counted = &stats["works"]["api"];
    STATUSES.iter().map(|status| counted[status].as_u64()).sum()
}

fn times(stand: &Stand, per_second: u32, time: Duration) -> Result<Samples> {
    let api = stand.api("embedded-times", "pp_standalone", stand.embedded("times"))?;
    let posted = stand.runtime.block_on(async {
        load::post(api.port, CONNECTIONS as u32, per_second, WARMING).await?;
        load::post(api.port, CONNECTIONS as u32, per_second, time).await
    })?;
    Ok(posted.iter().map(|one| one.answered - one.due).collect())
}
