//! Clients of `POST /work`: most with an idempotency key, some without.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{RETRY_PAUSE, Shared, ask, at_a_rate, body, key, keyed};
use crate::asks::Ask;
use crate::outcome::Outcome;
use crate::told::Identity;

pub(super) const THREADS: usize = 8;
const INTERVAL: Duration = Duration::from_millis(28);
const PATH: &str = "/work";

/// Posts until the load stops.
pub(super) fn run(shared: &Shared, mut rng: StdRng) {
    at_a_rate(shared, INTERVAL, || {
        let ask = ask(&mut rng);
        // Asking for anything is a body `{}` or none at all.
        let body = if ask.is_none() && rng.random() {
            String::new()
        } else {
            body(ask)
        };
        if rng.random_range(0..10) < 2 {
            without_key(shared, &body, ask);
        } else {
            with_key(shared, &body, ask, rng.random_range(0..20) == 0);
        }
    });
}

fn with_key(shared: &Shared, body: &str, ask: Option<Ask>, repeat: bool) {
    let key = key();
    let Some(answer) = keyed::call(shared, PATH, body, &key) else {
        return;
    };
    let ids = keyed::ids(&answer);
    match ids[..] {
        [id] => shared.acknowledge(Identity::Work(id), ask),
        _ => shared.odd("POST", PATH, &answer.to_string()),
    }
    if repeat {
        keyed::repeat(shared, PATH, body, &key, &ids);
    }
}

/// Asked once: what is not answered may exist or not.
fn without_key(shared: &Shared, body: &str, ask: Option<Ask>) {
    match shared.post(PATH, body, None) {
        Outcome::Good(answer) => match keyed::ids(&answer)[..] {
            [id] => shared.acknowledge(Identity::Work(id), ask),
            _ => shared.odd("POST", PATH, &answer.to_string()),
        },
        Outcome::Later | Outcome::Lost => {
            shared.told().indeterminate.push(ask);
            // A port where nobody listens refuses at once.
            std::thread::sleep(RETRY_PAUSE);
        }
        Outcome::Missing | Outcome::Odd(_) => {}
    }
}
