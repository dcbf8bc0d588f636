//! Rows as the outbox: what the API acknowledged is sent and worked off, however often the dispatcher is killed.

use std::time::Duration;

use super::place::{Place, until};
use crate::dice::Dice;
use crate::load::Told;

/// A dispatcher killed between its claim and its message leaves rows that are nobody's until the claim runs out.
const LIMIT: Duration = Duration::from_secs(75);

#[tokio::test(flavor = "multi_thread")]
async fn posted_works_survive_a_dispatcher_that_is_killed_again_and_again() {
    const WORKS: usize = 200;
    let place = Place::new().await;
    let (api, service) = place.service("pp_backend_api").start_ready();
    let worker = || {
        let (_, process) = place.service("task_consumer").set("PP_DISPATCH", "on").start_ready();
        process
    };

    let (told, mut dice) = (Told::default(), Dice::new());
    while told.count() < WORKS {
        let victim = worker();
        told.post_during(&api, || {
            told.await_more(dice.roll("works until the next kill", 1..=WORKS / 6));
            victim.kill();
        });
    }
    assert_eq!(told.failed(), 0, "posting depends on no dispatcher");

    let last = worker();
    let total = i64::try_from(told.ids().len()).unwrap();
    until("every work is done", LIMIT, async || {
        place.ledger.done().await.unwrap() == total
    })
    .await;
    let account = place.all_done(total).await;
    // A demand that several workers held when they were killed may have a failed attempt, which starts and fails.
    let events = 4 * total + 2 * account.failed_attempts;
    assert_eq!(account.events, events, "{account:?}");
    let mut ids: Vec<i64> = api.all().iter().map(|work| work["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, told.ids(), "what the API told is what is there");
    for process in [last, service] {
        let ended = process.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    place.leave().await;
}
