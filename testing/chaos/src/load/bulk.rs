//! A client of `POST /work/bulk`: all of a list or nothing, in order.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Shared, ask, at_a_rate, body, key, keyed};
use crate::asks::Ask;
use crate::told::Identity;

const INTERVAL: Duration = Duration::from_millis(500);
const PATH: &str = "/work/bulk";

/// Posts lists until the load stops.
pub(super) fn run(shared: &Shared, mut rng: StdRng) {
    at_a_rate(shared, INTERVAL, || {
        let asks: Vec<Option<Ask>> = (0..rng.random_range(1..=200)).map(|_| ask(&mut rng)).collect();
        let items: Vec<String> = asks.iter().map(|ask| body(*ask)).collect();
        let (key, list) = (key(), format!("[{}]", items.join(",")));
        let Some(answer) = keyed::call(shared, PATH, &list, &key) else {
            return;
        };
        let ids = keyed::ids(&answer);
        if ids.len() == asks.len() {
            for (id, ask) in ids.iter().zip(&asks) {
                shared.acknowledge(Identity::Work(*id), *ask);
            }
        } else {
            shared.odd("POST", PATH, &format!("{} works to {} items", ids.len(), asks.len()));
        }
        if rng.random_range(0..10) == 0 {
            keyed::repeat(shared, PATH, &list, &key, &ids);
        }
    });
}
