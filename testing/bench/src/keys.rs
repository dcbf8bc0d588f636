//! What API keys cost: `GET /work/{id}` and `POST /work` with and without them, in turns on one database.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::http::Connection;
use super::stand::{Stand, with};
use super::wrk::{self, Ask};
use super::{Line, Plan, load};

/// How many works are read in turn.
const WORKS: usize = 1_000;
/// A bound that no run reaches.
const BOUND: u32 = 1_000_000_000;

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let place = stand.place("keys")?;
    let variables = with(&stand.variables(&place)?, "PP_NEAR_CACHE", "on");
    let open = stand.api("keys-off", "pp_backend_api", with(&variables, "PP_AUTH", "off"))?;
    let asking = stand.api("keys-on", "pp_backend_api", variables)?;
    let ids = stand.runtime.block_on(load::create(open.port, WORKS))?;
    let reads = Ask::Works(&ids);
    let posts = Ask::Post("/work", "{}");
    // The API that asks for no key makes them.
    let key = make(stand, open.port, r#"{"name":"plain","scopes":"read,create"}"#)?;
    let bounded = format!(r#"{{"name":"bounded","scopes":"create","works_per_day":{BOUND}}}"#);
    let bounded = make(stand, open.port, &bounded)?;
    for (port, key) in [(open.port, None), (asking.port, Some(key.as_str()))] {
        wrk::run_with(stand, port, plan.time, &reads, key)?;
        wrk::run_with(stand, port, plan.time, &posts, key)?;
    }
    let refused = wrk::run(stand, asking.port, plan.time, &reads);
    ensure!(refused.is_err(), "a key is not asked for");
    let [mut get, mut get_key, mut post, mut post_key, mut post_bounded] = [const { Vec::new() }; 5];
    for _ in 0..plan.rounds {
        for (rates, port, ask, key) in [
            (&mut get, open.port, &reads, None),
            (&mut get_key, asking.port, &reads, Some(&key)),
            (&mut post, open.port, &posts, None),
            (&mut post_key, asking.port, &posts, Some(&key)),
            (&mut post_bounded, asking.port, &posts, Some(&bounded)),
        ] {
            rates.push(wrk::run_with(stand, port, plan.time, ask, key.map(String::as_str))?.rate());
        }
    }
    drop((open, asking));
    stand.leave(place)?;
    let line = |what: &str, rates, limit: &[f64]| Line::new(what, "/s", rates).limit("the same without keys", limit);
    Ok(vec![
        line("GET /work/{id} with a key, near cache, 64 connections", get_key, &get),
        line("POST /work with a key, 64 connections", post_key, &post),
        line(
            "POST /work with a key that has a bound, 64 connections",
            post_bounded,
            &post,
        )
        .note("wrk; all connections have the same key"),
    ])
}

/// Makes a key.
fn make(stand: &Stand, port: u16, wanted: &str) -> Result<String> {
    let reply = stand
        .runtime
        .block_on(async { Connection::open(port).await?.post("/key", wanted).await })?;
    ensure!(reply.status == 200, "a key is not made: {}", reply.status);
    let made: Value = serde_json::from_slice(&reply.body)?;
    Ok(made["key"].as_str().context("an answer without a key")?.to_owned())
}
