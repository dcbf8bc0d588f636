//! Clients of `POST /work/demand`: what was accepted is found by its code at once, and one key is one work.

use std::thread;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;

use super::{RETRY_PAUSE, Shared, ask, at_a_rate, body, key, keyed};
use crate::asks::Ask;
use crate::outcome::Outcome;
use crate::told::Identity;

pub(super) const THREADS: usize = 2;
const INTERVAL: Duration = Duration::from_millis(60);
const PATH: &str = "/work/demand";

/// Demands until the load stops.
pub(super) fn run(shared: &Shared, mut rng: StdRng) {
    at_a_rate(shared, INTERVAL, || {
        let ask = ask(&mut rng);
        let body = body(ask);
        if rng.random_range(0..10) < 2 {
            match shared.post(PATH, &body, None) {
                Outcome::Good(demand) => drop(accepted(shared, &demand, ask)),
                Outcome::Later | Outcome::Lost => {
                    shared.told().indeterminate.push(ask);
                    thread::sleep(RETRY_PAUSE);
                }
                Outcome::Missing | Outcome::Odd(_) => {}
            }
            return;
        }
        let key = key();
        let Some(demand) = keyed::call(shared, PATH, &body, &key) else {
            return;
        };
        let code = accepted(shared, &demand, ask);
        if rng.random_range(0..10) == 0
            && let Outcome::Good(again) = shared.post(PATH, &body, Some(&key))
            && again["work_code"].as_str() != code.as_deref()
        {
            let twice = format!("POST {PATH} with key {key} was answered with {demand}, then with {again}");
            shared.told().twice.push(twice);
        }
    });
}

/// Notes what was accepted, and looks for it; its code.
fn accepted(shared: &Shared, demand: &Value, asked: Option<Ask>) -> Option<String> {
    let (code, promised) = (demand["work_code"].as_str(), Ask::of_answer(demand));
    let (Some(code), Some(promised)) = (code, promised) else {
        shared.odd("POST", PATH, &demand.to_string());
        return None;
    };
    if asked.is_some_and(|asked| asked != promised) {
        shared.odd("POST", PATH, &format!("{demand} when {asked:?} was asked for"));
    }
    shared.acknowledge(Identity::Code(code.to_owned()), Some(promised));
    let path = format!("/work/code/{code}");
    match Outcome::of(shared.client.try_get(&path)) {
        Outcome::Good(work) if work["work_code"] == code => {}
        Outcome::Later | Outcome::Lost => {}
        other => shared.odd("GET", &path, &format!("{other:?} after its demand was accepted")),
    }
    Some(code.to_owned())
}
