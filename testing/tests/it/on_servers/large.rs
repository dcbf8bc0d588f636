//! More bytes of messages than a process has memory: all are worked off, a few at a time.

use std::fs;
use std::time::Duration;

use pp_chaos::demands::Demands;

use super::place::{Place, until};
use crate::program::Process;

const LIMIT: Duration = Duration::from_secs(180);
const JUNK: usize = 300;
const GOOD: usize = 30;
const MEGABYTE: usize = 1_000_000;
/// What one process may have in memory at most, in megabytes: the budget several times over, and what it has anyway.
const MOST_MEGABYTES: usize = 180;

/// The most memory that a process has had so far, in megabytes.
fn peak(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024 / MEGABYTE
}

/// Junk of 2 MB each, and after every tenth of them a demand.
async fn fill(place: &Place) {
    let junk = vec![b'x'; 2 * MEGABYTE];
    let mut messages: Vec<(String, &[u8])> = Vec::new();
    for number in 0..JUNK {
        messages.push((format!("junk-{number}"), &junk));
        if number % (JUNK / GOOD) == 0 {
            messages.push((format!("good-{number}"), br#"{"add_up_to":3,"done":false}"#));
        }
    }
    place.publish_with_ids(&messages).await;
}

/// Lets a process work until `aim` holds, kills it, and lets another one of its kind work until `end` holds. Neither may
/// have needed more memory than it should.
async fn killed_in_the_middle(
    start: impl Fn() -> Process,
    mut aim: impl AsyncFnMut() -> bool,
    mut end: impl AsyncFnMut() -> bool,
) {
    let victim = start();
    until("the middle is reached", LIMIT, async || aim().await).await;
    let peaks = [peak(&victim), 0];
    victim.kill();
    let last = start();
    until("the end is reached", LIMIT, async || end().await).await;
    let peaks = [peaks[0], peak(&last)];
    assert_eq!(last.terminate().code, Some(0));
    assert!(
        peaks.iter().all(|peak| *peak < MOST_MEGABYTES),
        "{peaks:?} MB, for 600 MB of messages"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_junk_beyond_all_memory_becomes_letters_and_the_demands_among_it_are_done() {
    let place = Place::new().await;
    let queues = Demands::connect(&place.rabbitmq, &place.prefix).await.unwrap();
    fill(&place).await;

    let worker = || place.service("task_consumer").set("PP_PREFETCH_BYTES", "16MiB");
    let letters = async || usize::try_from(queues.dead().await.unwrap()).unwrap();
    let all_read = async || {
        let good = usize::try_from(place.ledger.done().await.unwrap()).unwrap();
        good == GOOD && letters().await >= JUNK && queues.waiting().await.unwrap() == 0
    };
    killed_in_the_middle(
        || worker().set("PP_DISPATCH", "off").start(),
        async || letters().await >= JUNK / 3,
        all_read,
    )
    .await;

    // Letters that came twice are counted twice above, so the last reader may have given some junk back at its stop.
    let reader = worker().set("PP_DISPATCH", "off").start();
    let client = place.client().await;
    let kept = async || {
        let row = client.query_one("SELECT count(*), min(octet_length(body)) FROM dead_letters", &[]);
        let row = row.await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, Option<i32>>(1))
    };
    let third = i64::try_from(JUNK / 3).unwrap();
    killed_in_the_middle(
        || worker().set("PP_DISPATCH", "only").start(),
        async || kept().await.0 >= third,
        async || kept().await.0 == 3 * third && letters().await == 0,
    )
    .await;
    assert_eq!(reader.terminate().code, Some(0));
    assert_eq!(kept().await, (3 * third, Some(2_000_000)));
    let account = place.ledger.account().await.unwrap();
    assert_eq!(
        (account.unfinished, account.wrong_history, account.orphans),
        (0, 0, 0),
        "{account:?}"
    );
    place.leave().await;
}
