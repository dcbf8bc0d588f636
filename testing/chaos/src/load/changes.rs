//! Clients of `PATCH`, `DELETE`, cancel and retry: each changes works of its own, one change after the other, and leaves
//! a work alone once a change was not answered. So it is known what must have become of each.

use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{RETRY_PAUSE, SLOW, Shared, ask, at_a_rate, body, key, keyed, moody, outside, slow};
use crate::asks::{Ask, FAILS};
use crate::outcome::Outcome;
use crate::told::{Change, Identity};

pub(super) const THREADS: usize = 3;
const INTERVAL: Duration = Duration::from_millis(80);
const PATH: &str = "/work";
/// Longer than any read may be stale.
const FRESH_AFTER: Duration = Duration::from_secs(3);

/// Creates and changes until the load stops.
pub(super) fn run(shared: &Shared, mut rng: StdRng) {
    let mut deleted: Vec<(i64, Instant)> = Vec::new();
    at_a_rate(shared, INTERVAL, || {
        let ask = ask(&mut rng);
        let Some(answer) = keyed::call(shared, PATH, &body(ask), &key()) else {
            return;
        };
        let [id] = keyed::ids(&answer)[..] else {
            return shared.odd("POST", PATH, &answer.to_string());
        };
        shared.acknowledge(Identity::Work(id), ask);
        if change_often(shared, id, ask, &mut rng) && rng.random_range(0..3) == 0 && changed(shared, id, Change::Gone) {
            deleted.push((id, Instant::now()));
        }
        stay_gone(shared, &deleted, &mut rng);
    });
}

/// A series of other arguments, now and then with time to do the work; whether all were answered.
fn change_often(shared: &Shared, id: i64, ask: Option<Ask>, rng: &mut StdRng) -> bool {
    (0..rng.random_range(0..=3)).all(|_| {
        if rng.random() {
            thread::sleep(Duration::from_millis(rng.random_range(0..300)));
        }
        let change = match rng.random_range(0..100) {
            0..20 => Change::Cancel,
            20..40 => Change::Retry,
            _ => Change::To(other(ask, rng)),
        };
        changed(shared, id, change)
    })
}

/// Other arguments of the same kind.
fn other(ask: Option<Ask>, rng: &mut StdRng) -> Ask {
    match (ask, rng.random_range(0..60)) {
        (Some(Ask::Slow(_)), _) => slow(rng),
        (Some(Ask::Moody(..)), _) => moody(rng),
        (Some(Ask::Outside(_)), _) => outside(rng),
        (_, 0..2) => Ask::Sum(FAILS),
        (_, 2..12) => Ask::Sum(rng.random_range(SLOW)),
        _ => Ask::Sum(rng.random_range(1..4_000)),
    }
}

/// Asks for one change; whether it was answered.
fn changed(shared: &Shared, id: i64, change: Change) -> bool {
    let (method, deed, json) = match change {
        Change::To(ask) => ("PATCH", "", ask.change()),
        Change::Cancel => ("POST", "/cancel", String::new()),
        Change::Retry => ("POST", "/retry", String::new()),
        Change::Gone => ("DELETE", "", String::new()),
    };
    let path = format!("/work/{id}{deed}");
    let sent = shared.client.try_json(method, &path, &json, None);
    let answer = if deed.is_empty() {
        Outcome::of(sent)
    } else {
        Outcome::of_change(sent)
    };
    let mut told = shared.told();
    let Outcome::Good(work) = answer else {
        told.changes.entry(id).or_default().open = Some(change);
        told.redrives_unanswered += u64::from(change == Change::Retry);
        drop(told);
        if matches!(answer, Outcome::Missing | Outcome::Odd(_)) {
            shared.odd(method, &path, &format!("{answer:?}"));
        }
        thread::sleep(RETRY_PAUSE);
        return false;
    };
    match change {
        Change::To(ask) => told.changes.entry(id).or_default().given.push(ask),
        Change::Gone => told.changes.entry(id).or_default().deleted = true,
        // Its status ruled it out.
        Change::Cancel | Change::Retry if work.is_null() => {}
        Change::Cancel => told.changes.entry(id).or_default().cancels += 1,
        Change::Retry => {
            told.redriven += 1;
            told.redriven_works.push(id);
        }
    }
    true
}

/// One of those that were deleted a while ago is still not found.
fn stay_gone(shared: &Shared, deleted: &[(i64, Instant)], rng: &mut StdRng) {
    let long_ago = deleted.partition_point(|(_, at)| at.elapsed() > FRESH_AFTER);
    if long_ago > 0 {
        let (id, _) = deleted[rng.random_range(0..long_ago)];
        if let Outcome::Good(work) = Outcome::of(shared.client.try_get(&format!("/work/{id}"))) {
            shared.told().twice.push(format!("a deleted work came back: {work}"));
        }
    }
}
