//! An operator who looks at the dead letters from time to time and redrives some of them, or all.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;

use super::{Shared, at_a_rate};
use crate::outcome::Outcome;

const INTERVAL: Duration = Duration::from_millis(900);
const LIST: &str = "/deadletter?limit=20";
const REDRIVE: &str = "/deadletter/redrive";

/// Looks and redrives until the load stops.
pub(super) fn run(shared: &Shared, mut rng: StdRng) {
    at_a_rate(shared, INTERVAL, || {
        if rng.random_range(0..12) == 0 {
            redrive(shared, &format!("{REDRIVE}?all=true"), &[], 0);
            return;
        }
        let letters = match Outcome::of(shared.client.try_get(LIST)) {
            Outcome::Good(Value::Array(letters)) => letters,
            Outcome::Later | Outcome::Lost => return,
            other => return shared.odd("GET", LIST, &format!("{other:?}")),
        };
        let chosen: Vec<&Value> = letters.iter().filter(|_| rng.random_range(0..3) == 0).collect();
        let ids: Vec<String> = chosen.iter().map(|letter| letter["id"].to_string()).collect();
        if !ids.is_empty() {
            let works: Vec<i64> = chosen.iter().filter_map(|letter| letter["work_id"].as_i64()).collect();
            redrive(
                shared,
                &format!("{REDRIVE}?ids={}", ids.join(",")),
                &works,
                ids.len() as u64,
            );
        }
    });
}

/// Works that are among `chosen` letters count as redriven when the answer says that all letters were.
fn redrive(shared: &Shared, path: &str, works: &[i64], chosen: u64) {
    let answer = Outcome::of(shared.client.try_post(path, ""));
    let mut told = shared.told();
    match answer {
        Outcome::Good(answer) => match answer["redriven"].as_u64() {
            Some(redriven) => {
                told.redriven += redriven;
                if redriven == chosen {
                    told.redriven_works.extend(works);
                }
            }
            None => told.odd.push(format!("POST {path} answered {answer}")),
        },
        Outcome::Later | Outcome::Lost => told.redrives_unanswered += 1,
        other => told.odd.push(format!("POST {path} answered {other:?}")),
    }
}
