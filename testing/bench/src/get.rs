//! `GET /work/{id}`: from Redis, from the near cache, from the database.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::http::Connection;
use super::limits::{handler, pgbench, redis};
use super::stand::{Api, Stand, with};
use super::wrk::{self, Ask};
use super::{Goal, Line, Plan, load};

/// How many works are read in turn.
const WORKS: usize = 1_000;
/// Until caches are full, and the refresher has marked them.
const WARMING: Duration = Duration::from_secs(2);
/// How many reads of a second the limit of Redis is measured over.
const REDIS_READS: usize = 60_000;
/// There is no Redis.
pub(super) const NO_CACHE: &str = "redis://127.0.0.1:1/";

/// The rates of every round.
#[derive(Default)]
struct Rates {
    bare: Vec<f64>,
    cached: Vec<f64>,
    near: Vec<f64>,
    off: Vec<f64>,
    redis: Vec<f64>,
    sql: Vec<f64>,
}

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let place = stand.place("get")?;
    let variables = stand.variables(&place)?;
    let cached = stand.api("get-cached", "pp_backend_api", variables.clone())?;
    let near = [
        ("PP_NEAR_CACHE", "on".to_owned()),
        ("PP_CACHE_PREFIX", "bench_near".to_owned()),
    ];
    let near = near
        .into_iter()
        .fold(variables.clone(), |all, (name, value)| with(&all, name, value));
    let near = stand.api("get-near", "pp_backend_api", near)?;
    let off = stand.api("get-off", "pp_backend_api", with(&variables, "PP_CACHE_URL", NO_CACHE))?;
    let ids = stand.runtime.block_on(load::create(cached.port, WORKS))?;
    let body = read(stand, &cached, ids[0])?.0;
    let bare = handler::start(stand, &body)?;
    for api in [&cached, &near, &off] {
        wrk::run(stand, api.port, WARMING, &Ask::Works(&ids))?;
    }
    for (api, hit) in [(&cached, true), (&near, true), (&off, false)] {
        let (same, from_cache) = read(stand, api, ids[0])?;
        ensure!(
            same == body && from_cache == hit,
            "a work is read as {same}, from the cache: {from_cache}"
        );
    }
    let mut rates = Rates::default();
    for _ in 0..plan.rounds {
        let rate = |port| anyhow::Ok(wrk::run(stand, port, plan.time, &Ask::Works(&ids))?.rate());
        rates.bare.push(rate(bare.port)?);
        rates.cached.push(rate(cached.port)?);
        rates.near.push(rate(near.port)?);
        rates.off.push(rate(off.port)?);
        rates
            .sql
            .push(pgbench::selects(stand, &place, plan.time, WORKS as i64)?);
        rates
            .redis
            .push(redis::gets(stand, REDIS_READS * plan.time.as_secs() as usize)?);
    }
    drop((cached, near, off, bare));
    stand.leave(place)?;
    Ok(rates.lines())
}

impl Rates {
    fn lines(self) -> Vec<Line> {
        let how = format!("wrk, {WORKS} works in turn, all answered with 200");
        let line = |what: &str, rates| Line::new(what, "/s", rates);
        vec![
            line("GET /work/{id}, cached in Redis, 64 connections", self.cached)
                .limit(handler::WHAT, &self.bare)
                .goal(Goal::TimesLimit(0.4))
                .note(how),
            line("GET /work/{id}, near cache, 64 connections", self.near)
                .limit(handler::WHAT, &self.bare)
                .goal(Goal::TimesLimit(0.8)),
            line("GET /work/{id}, cache off, 64 connections", self.off)
                .limit(pgbench::SELECT, &self.sql)
                .goal(Goal::AtLeast(34_700.0)),
            line(redis::WHAT, self.redis),
        ]
    }
}

/// The body, and whether it came from the cache.
fn read(stand: &Stand, api: &Api, id: i64) -> Result<(String, bool)> {
    let path = format!("/work/{id}");
    let reply = stand
        .runtime
        .block_on(async { Connection::open(api.port).await?.get(&path).await })?;
    ensure!(reply.status == 200, "a read is answered with {}", reply.status);
    let text = String::from_utf8(reply.body).context("a body that is no text")?;
    let work: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(work["id"] == id, "the answer is another work: {text}");
    Ok((text, reply.hit))
}
