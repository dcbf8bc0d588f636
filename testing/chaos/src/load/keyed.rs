//! A call with an idempotency key: tried again under the same key until it is answered.

use std::thread;

use serde_json::Value;

use super::{RETRY_PAUSE, Shared};
use crate::outcome::Outcome;

/// The good answer; `None` when none came until the end, which is noted.
pub(super) fn call(shared: &Shared, path: &str, body: &str, key: &str) -> Option<Value> {
    loop {
        match shared.post(path, body, Some(key)) {
            Outcome::Good(answer) => return Some(answer),
            // It is noted, and trying the same again would be answered the same.
            Outcome::Missing | Outcome::Odd(_) => return None,
            Outcome::Later | Outcome::Lost => {}
        }
        if shared.is_too_late() {
            shared.told().given_up.push(format!("POST {path} with key {key}"));
            return None;
        }
        thread::sleep(RETRY_PAUSE);
    }
}

/// Calls once more, as a client does that did not hear the answer; it must be the same works.
pub(super) fn repeat(shared: &Shared, path: &str, body: &str, key: &str, first: &[i64]) {
    if let Outcome::Good(again) = shared.post(path, body, Some(key)) {
        let again = ids(&again);
        if again != first {
            let twice = format!("POST {path} with key {key} was answered with {first:?}, then with {again:?}");
            shared.told().twice.push(twice);
        }
    }
}

/// The ids of the works in an answer: of one, or of an array.
pub(super) fn ids(answer: &Value) -> Vec<i64> {
    let works = match answer {
        Value::Array(works) => works.as_slice(),
        work => std::slice::from_ref(work),
    };
    works.iter().filter_map(|work| work["id"].as_i64()).collect()
}
