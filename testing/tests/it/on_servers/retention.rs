//! The purge by the services that do it: a backlog of old works goes while everything else goes on.

use std::time::Duration;

use pp_lib::store::{EventLog as _, Views as _};

use super::place::{Place, until};
use crate::program::Process;

const LIMIT: Duration = Duration::from_secs(60);
/// So many of each kind.
const WORKS: i64 = 3000;

/// Works of 30 days ago that are done, failed without a letter, deleted; with one event each and one more for each status.
const OLD: &str = "
    WITH old AS (
        INSERT INTO works (kind, work_code, origin, message_id, args, status, result, created_on, updated_on, deleted_on)
        SELECT 'add_up_to', 'consumer-' || kind || lpad(n::text, 9, '0'), 'consumer', kind || n, '1', status, result,
            now() - interval '30 days', now() - interval '30 days', deleted_on
        FROM generate_series(1, 3000) AS n, (VALUES
            ('a', 'done'::work_status, '1'::json, NULL::timestamptz),
            ('b', 'failed', NULL, NULL),
            ('c', 'cancelled', NULL, now() - interval '30 days')
        ) AS kinds (kind, status, result, deleted_on)
        ORDER BY n, kind
        RETURNING id, origin, status, deleted_on
    ), told AS (
        INSERT INTO events (work_id, generation, variable, status)
        SELECT id, 1, unnest('{compute/start,compute/stop}'::event_variable[]), status FROM old
    )
    INSERT INTO stat_deltas (kind, origin, status, works)
    SELECT 'add_up_to', origin, status, count(*) FROM old WHERE deleted_on IS NULL GROUP BY origin, status";
/// What is as old and stays: a failed work with its letter, one that waits for its time, one that was changed lately.
const STAYS: &str = "
    WITH stays AS (
        INSERT INTO works (kind, work_code, origin, message_id, args, status, result, due_at, run_at, created_on,
            updated_on)
        VALUES
            ('add_up_to', 'api-aaaaaaaaaa', 'api', 'x', '1', 'failed', NULL, NULL, NULL, now() - interval '30 days',
                now() - interval '30 days'),
            ('add_up_to', 'api-bbbbbbbbbb', 'api', 'y', '1', 'pending', NULL, now() + interval '1 day', now() + interval '1 day',
                now() - interval '30 days', now() - interval '30 days'),
            ('add_up_to', 'api-cccccccccc', 'api', 'z', '1', 'done', '1', NULL, NULL, now() - interval '30 days', now())
        RETURNING id, generation, message_id, origin, status
    ), letter AS (
        INSERT INTO dead_letters (kind, work_id, generation, message_id, reason)
        SELECT 'add_up_to', id, generation, message_id, 'it does' FROM stays WHERE status = 'failed'
    )
    INSERT INTO stat_deltas (kind, origin, status, works)
    SELECT 'add_up_to', origin, status, count(*) FROM stays GROUP BY origin, status";

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_old_works_goes_once_while_new_ones_are_done() {
    let place = Place::new().await;
    let (client, store) = (place.client().await, place.store().await);
    client.batch_execute(STAYS).await.unwrap();
    client.batch_execute(OLD).await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();
    let count = async |of: &str| {
        let query = format!("SELECT count(*) FROM {of}");
        client.query_one(&query, &[]).await.unwrap().get::<_, i64>(0)
    };
    assert_eq!(
        (count("works").await, count("events").await),
        (3 * WORKS + 3, 6 * WORKS)
    );

    let (api, service) = place.service("pp_backend_api").start_ready();
    let worker = |retain: &str| place.service("task_consumer").set("PP_RETAIN", retain).start();
    let workers: Vec<Process> = ["24h", "24h", "off"].map(worker).into();
    let posted = api.post(r#"{"add_up_to":3}"#)["id"].as_i64().unwrap();
    until("the backlog went", LIMIT, async || count("works").await == 4).await;
    until("the new one is done", LIMIT, async || {
        api.see(posted).work["status"] == "done"
    })
    .await;

    let new = store.events(pp_lib::domain::WorkId(posted)).await.unwrap().unwrap();
    assert_eq!((count("events").await, new.len()), (4, 4), "those of the new one");
    let works = store.stats(None).await.unwrap().works;
    assert_eq!((works.consumer.done, works.consumer.failed, works.api.done), (0, 0, 2));
    assert_eq!((works.api.failed, works.api.pending), (1, 1));
    let told = "SELECT count(*) FROM feed WHERE (floor_tx, floor_id) > ('0', 0)";
    let raised: i64 = client.query_one(told, &[]).await.unwrap().get(0);
    assert_eq!(raised, 1, "the feed is not continued from before");

    let mut said = Vec::new();
    for process in workers.into_iter().chain([service]) {
        let ended = process.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        said.extend(
            ended
                .stderr
                .lines()
                .filter(|line| line.contains("purged "))
                .map(str::to_owned),
        );
    }
    let [line] = &said[..] else {
        panic!("one of them did it, once: {said:?}")
    };
    assert!(line.contains("9000 works") && line.contains("18000 events"), "{line}");
    place.leave().await;
}
