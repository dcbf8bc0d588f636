//! Reads the evidence of the embedded system over its API, since its file belongs to it alone.

use std::thread;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::super::asks::Ask;
use super::super::evidence::Row;
use crate::outcome::Outcome;
use pp_testkit::client::Api;

/// How many works a page of the API has at most.
const PAGE: usize = 1_000;
/// How many clients read histories.
const READERS: usize = 4;

/// The works above an id, with their histories.
pub(super) fn works(client: &Api, above: i64) -> Result<Vec<Row>> {
    let works = pages(client, "/work?", above)?;
    let part = works.len().div_ceil(READERS).max(1);
    let parts: Vec<Result<Vec<Row>>> = thread::scope(|scope| {
        let readers: Vec<_> = works
            .chunks(part)
            .map(|works| scope.spawn(move || works.iter().map(|work| row(client, work)).collect()))
            .collect();
        let rows = readers.into_iter().map(|reader| reader.join());
        rows.map(|rows| rows.unwrap_or_else(|_| Err(anyhow::anyhow!("a reader panicked"))))
            .collect()
    });
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

/// Everything of a list of the API whose id is above `above`, newest first.
pub(super) fn pages(client: &Api, list: &str, above: i64) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let before = all
            .last()
            .map(|last| format!("&before={}", last["id"]))
            .unwrap_or_default();
        let path = format!("{list}&limit={PAGE}{before}").replace("?&", "?");
        let Outcome::Good(Value::Array(page)) = Outcome::of(client.try_get(&path)) else {
            bail!("GET {path} has no good answer")
        };
        let ends = page.len() < PAGE
            || page
                .last()
                .and_then(|one| one["id"].as_i64())
                .is_none_or(|id| id <= above);
        all.extend(page);
        if ends {
            all.retain(|one| one["id"].as_i64().is_some_and(|id| id > above));
            return Ok(all);
        }
    }
}

fn row(client: &Api, work: &Value) -> Result<Row> {
    let id = work["id"].as_i64().context("a work without an id")?;
    let path = format!("/work/{id}/events");
    let Outcome::Good(Value::Array(events)) = Outcome::of(client.try_get(&path)) else {
        bail!("GET {path} has no good answer")
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut generation = 1;
    let history: Vec<(i32, String)> = events
        .iter()
        .map(|event| {
            let mut word = text(&event["variable"])
                .split('/')
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            match word.as_str() {
                "redriven" => generation += 1,
                "updated" => {
                    generation += 1;
                    word = format!("updated={}", text(&event["value"]));
                }
                "result" => word = format!("result={}", text(&event["value"])),
                _ => {}
            }
            (generation, word)
        })
        .collect();
    Ok(Row {
        id,
        work_code: text(&work["work_code"]),
        // Those are not shown.
        deleted: false,
        message_id: None,
        ask: Ask::of_answer(work).with_context(|| format!("no run asks for {work}"))?,
        status: text(&work["status"]),
        result: work["result"].as_i64(),
        generation,
        updated_on: work["updated_on"].as_f64().unwrap_or_default(),
        history,
    })
}
