//! The purge: on PostgreSQL beside open transactions, and the flow that runs it.

mod on_servers {
    use std::time::Duration;

    use pp_lib::domain::{AddUpTo, Json, KindName, MessageId, Origin, Position, Principal, Status, Work, WorkId};
    use pp_lib::runtime::{new_message_id, new_work_code};
    use pp_lib::store::postgres::PostgresStore;
    use pp_lib::store::{
        ChangeLog as _, Changed, Completed, Completion, Completions as _, Guard, Outcome, Purged, Retention as _,
        RetentionTimes, WorkChanges as _, WorkRows as _,
    };
    use tokio::time::{Instant, sleep, timeout};

    use crate::postgres::{Database, TIMEOUT};

    const AT_ONCE: Duration = Duration::ZERO;

    fn demand(message_id: &MessageId) -> Completion {
        Completion {
            message_id: message_id.clone(),
            work_code: new_work_code(Origin::Consumer),
            args: Some(AddUpTo::MIN.args()),
            guard: Guard::NoRow,
            outcome: Outcome::Done {
                result: Json::from(AddUpTo::MIN.sum()),
            },
        }
    }

    /// Finished works with their message ids, oldest first.
    async fn finished(store: &PostgresStore, count: usize) -> Vec<(Work, MessageId)> {
        let mut finished = Vec::new();
        for _ in 0..count {
            let id = new_message_id();
            let completion = demand(&id);
            assert_eq!(
                store
                    .complete(KindName::add_up_to(), std::slice::from_ref(&completion))
                    .await
                    .unwrap(),
                [Completed::Applied]
            );
            let work = store.by_codes(&[completion.work_code]).await.unwrap().remove(0);
            finished.push((work, id));
        }
        finished
    }

    async fn purge(store: &PostgresStore) -> Purged {
        timeout(TIMEOUT, store.purge(WorkId(0), &RetentionTimes::all(AT_ONCE), 100))
            .await
            .unwrap()
            .unwrap()
    }

    /// Purges until exactly this many works are gone.
    async fn until_gone(store: &PostgresStore, works: u64) {
        let (deadline, mut went) = (Instant::now() + TIMEOUT, 0);
        while went < works {
            went += purge(store).await.works;
            assert!(Instant::now() < deadline, "{went} works of {works} went");
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(went, works);
    }

    /// The end of the feed, once no transaction is open on the shared server.
    async fn quiet_head(store: &PostgresStore) -> Position {
        let deadline = Instant::now() + TIMEOUT * 3;
        loop {
            let head = store.head().await.unwrap();
            if head.seen().open.is_empty() {
                return head;
            }
            assert!(Instant::now() < deadline, "transactions stay open");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The position after the first events.
    async fn behind_first(store: &PostgresStore, events: u16) -> Position {
        let begin = Position::beginning(quiet_head(store).await.epoch());
        let page = store.changes(&begin, events).await.unwrap().unwrap();
        assert_eq!(page.items.len(), usize::from(events));
        page.position
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_purge_skips_locked_works() {
        let database = Database::create().await;
        let (store, holder) = (database.store(2).await, database.client().await);
        let works = finished(&store, 3).await;
        let hold = format!(
            "BEGIN; SELECT FROM works WHERE id = {} FOR NO KEY UPDATE",
            works[1].0.id.0
        );
        holder.batch_execute(&hold).await.unwrap();
        until_gone(&store, 2).await;
        assert_eq!(store.by_ids(&[works[1].0.id]).await.unwrap().len(), 1);
        holder.batch_execute("COMMIT").await.unwrap();
        until_gone(&store, 1).await;
    }

    /// Makes every look-up of a dead letter wait, then find none: so a purge has its snapshot but no row locked yet.
    const WAITING_LETTERS: &str = "
        INSERT INTO dead_letters (kind, work_id, generation, reason) SELECT kind, id, 1, 'none' FROM works;
        ALTER TABLE dead_letters RENAME TO letters;
        CREATE FUNCTION waited() RETURNS boolean LANGUAGE plpgsql VOLATILE AS
            'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN false; END';
        CREATE VIEW dead_letters AS SELECT * FROM letters WHERE waited();
        SELECT pg_advisory_lock(7)";

    /// The transaction that changes the work began before the purge, so its timestamps are older.
    #[tokio::test(flavor = "multi_thread")]
    async fn works_changed_after_the_snapshot_of_a_purge_stay() {
        let database = Database::create().await;
        let (store, owner, holder) = (
            database.store(2).await,
            database.client().await,
            database.client().await,
        );
        let work = finished(&store, 1).await.remove(0).0;
        behind_first(&store, 3).await;
        holder.batch_execute(WAITING_LETTERS).await.unwrap();
        owner.batch_execute("BEGIN; SELECT now()").await.unwrap();
        let purging = tokio::spawn({
            let store = store.clone();
            async move { purge(&store).await }
        });
        database.until_one_waits().await;
        let delete = format!(
            "UPDATE works SET deleted_on = now(), updated_on = now(), version = version + 1 WHERE id = {0};
            INSERT INTO events (work_id, generation, variable, status) VALUES ({0}, 1, 'work/cancelled', 'done');
            COMMIT",
            work.id.0
        );
        owner.batch_execute(&delete).await.unwrap();
        holder.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
        assert_eq!(purging.await.unwrap(), Purged::default());
        assert_eq!(database.number("SELECT count(*) FROM events").await, 4);
        until_gone(&store, 1).await;
        assert_eq!(database.number("SELECT count(*) FROM events").await, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_that_waits_for_a_purge_finds_the_work_gone() {
        let database = Database::create().await;
        let (store, blocker) = (database.store(6).await, database.client().await);
        let works = finished(&store, 2).await;
        behind_first(&store, 6).await;
        // The purge has locked its works before it updates the floor.
        blocker
            .batch_execute("BEGIN; SELECT FROM feed FOR UPDATE")
            .await
            .unwrap();
        let purging = tokio::spawn({
            let store = store.clone();
            async move { purge(&store).await }
        });
        database.until_one_waits().await;
        let changing = tokio::spawn({
            let (store, [(one, _), (other, _)]) = (store.clone(), [works[0].clone(), works[1].clone()]);
            async move {
                let updated = store
                    .update(&Principal::Open, one.id, &AddUpTo::MIN.args(), None, AT_ONCE)
                    .await
                    .unwrap();
                (updated, store.delete(&Principal::Open, other.id, None).await.unwrap())
            }
        });
        let demanded = tokio::spawn({
            let (store, again) = (store.clone(), demand(&works[0].1));
            async move {
                (
                    store
                        .complete(KindName::add_up_to(), std::slice::from_ref(&again))
                        .await
                        .unwrap(),
                    again.work_code,
                )
            }
        });
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pp' AND wait_event_type = 'Lock'";
        let deadline = Instant::now() + TIMEOUT;
        while database.number(waiting).await < 3 {
            assert!(Instant::now() < deadline, "they do not wait");
            sleep(Duration::from_millis(5)).await;
        }
        blocker.batch_execute("COMMIT").await.unwrap();

        let purged = purging.await.unwrap();
        assert_eq!((purged.works, purged.events, purged.next), (2, 6, None));
        assert_eq!(changing.await.unwrap(), (Changed::Missing, Changed::Missing));
        let (completed, code) = demanded.await.unwrap();
        assert_eq!(
            completed,
            [Completed::Applied],
            "a demand of which nothing is known any more"
        );
        let new = store.by_codes(&[code]).await.unwrap().remove(0);
        assert!(new.id > works[1].0.id && new.status == Status::Done);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_purge_spares_works_younger_than_an_open_transaction() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        finished(&store, 1).await;
        let place = quiet_head(&store).await;
        writer
            .batch_execute("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        finished(&store, 1).await;
        until_gone(&store, 1).await;
        assert_eq!(purge(&store).await.works, 0, "places of readers are older");
        let page = store.changes(&place, 10).await.unwrap().unwrap();
        assert_eq!((page.items.len(), page.complete), (3, true));
        let beside = page.position;
        writer.batch_execute("COMMIT").await.unwrap();
        until_gone(&store, 1).await;
        assert_eq!(
            store.changes(&beside, 10).await.unwrap(),
            None,
            "as old as the transaction"
        );
        let head = store.head().await.unwrap();
        assert_eq!(store.changes(&head, 10).await.unwrap().unwrap().items, []);
    }

    /// The read waits for a lock. Its snapshot may be from before or after the purge.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_read_overtaken_by_a_purge_returns_no_page_with_a_gap() {
        let database = Database::create().await;
        let (store, purger) = (database.store(2).await, database.client().await);
        finished(&store, 3).await;
        let place = behind_first(&store, 2).await;
        behind_first(&store, 9).await;
        purger
            .batch_execute("BEGIN; LOCK TABLE works IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        let reading = tokio::spawn({
            let (store, place) = (store.clone(), place.clone());
            async move { store.changes(&place, 2).await.unwrap() }
        });
        database.until_one_waits().await;
        let purged =
            "UPDATE feed SET (floor_tx, floor_id) = (SELECT tx, id FROM events ORDER BY tx DESC, id DESC LIMIT 1);
            DELETE FROM events; DELETE FROM works; COMMIT";
        purger.batch_execute(purged).await.unwrap();
        assert_eq!(reading.await.unwrap(), None);
        assert_eq!(store.touched(&place, 2).await.unwrap(), None);
    }
}

mod embedded {
    use std::sync::Arc;
    use std::time::Duration;

    use pp_conformance::scripted::{Call, ScriptedStore, Step};
    use pp_lib::broker::memory::Memory;
    use pp_lib::domain::{AddUpTo, Json, KindName, Origin};
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::maintenance::{DispatchSettings, Dispatcher};
    use pp_lib::runtime::Health;
    use pp_lib::runtime::{new_message_id, new_work_code};
    use pp_lib::store::{AnyStore, Completion, Guard, Outcome, Search, StoreError};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep, timeout};
    use tokio_util::sync::CancellationToken;

    use crate::store::embedded::fresh;

    const LIMIT: Duration = Duration::from_secs(30);
    /// More than a few batches.
    const WORKS: u64 = 1000;

    async fn finished(store: &AnyStore) {
        let works = (0..WORKS).map(|_| Completion {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Consumer),
            args: Some(AddUpTo::MIN.args()),
            guard: Guard::NoRow,
            outcome: Outcome::Done {
                result: Json::from(AddUpTo::MIN.sum()),
            },
        });
        store
            .complete(KindName::add_up_to(), &works.collect::<Vec<_>>())
            .await
            .unwrap();
        // The works must be older than the purge's time.
        sleep(Duration::from_millis(2)).await;
    }

    async fn left(store: &AnyStore) -> u64 {
        let stats = store.stats(None).await.unwrap();
        u64::try_from(stats.works.consumer.done).unwrap()
    }

    async fn until(what: &str, condition: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition().await {
            assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A dispatching service that retains finished works for `retain`.
    fn service(store: &AnyStore, retain: Duration) -> (JoinHandle<()>, CancellationToken) {
        let settings = DispatchSettings {
            within: LIMIT,
            poll: Duration::from_millis(50),
            max_lost_leases: 1,
            retain,
        };
        let (broker, feed) = (Arc::new(Memory::new(10, usize::MAX)), Arc::new(MemoryFeed::new()));
        let dispatcher = Dispatcher::new(store.clone(), broker, feed, settings);
        let (part, shutdown) = (Health::new().part("dispatcher", true), CancellationToken::new());
        let running = tokio::spawn(dispatcher.run(part, shutdown.clone()));
        (running, shutdown)
    }

    async fn stop((running, shutdown): (JoinHandle<()>, CancellationToken)) {
        shutdown.cancel();
        timeout(LIMIT, running).await.expect("it does not stop").unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn old_works_are_purged_at_start_and_then_hourly() {
        let (inner, _folder) = fresh().await;
        let between = ScriptedStore::new(inner);
        let store: AnyStore = between.clone();
        finished(&store).await;
        let keeper = service(&store, Duration::MAX);
        let one = service(&store, Duration::ZERO);
        until("all went", async || left(&store).await == 0).await;
        assert!(store.search(&all()).await.unwrap().is_empty());
        // A service that starts now finds the purge done.
        until("the walk ended", async || {
            let (asked, answered) = (between.asked(Call::Hold), between.answered(Call::Hold));
            let kept = asked.iter().any(|asked| asked.contains("3600s"));
            walks(&between) == 1 && kept && asked.len() == answered.len()
        })
        .await;
        stop(one).await;
        finished(&store).await;
        let asked = between.calls(Call::Hold);
        let other = service(&store, Duration::ZERO);
        until("it asks", async || between.calls(Call::Hold) > asked).await;
        stop(other).await;
        stop(keeper).await;
        assert_eq!((left(&store).await, walks(&between)), (WORKS, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failing_purge_is_retried_with_a_smaller_batch() {
        let (inner, _folder) = fresh().await;
        let between = ScriptedStore::new(inner);
        between.on(&[Call::Purge], |asked| {
            let limit = asked.trim_end_matches(')').rsplit(' ').next().unwrap();
            if limit.parse::<u16>().unwrap() > 10 {
                return Step::Fail(StoreError::Unavailable("it takes too long".to_owned()));
            }
            Step::PassOn
        });
        let store: AnyStore = between.clone();
        finished(&store).await;
        let service = service(&store, Duration::ZERO);
        until("some went", async || left(&store).await < WORKS).await;
        between.pass_on(&[Call::Purge]);
        until("all went", async || left(&store).await == 0).await;
        stop(service).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_waits_for_no_batch_and_the_next_process_continues_at_once() {
        let (inner, _folder) = fresh().await;
        let between = ScriptedStore::new(inner);
        let purges = between.hold(&[Call::Purge]);
        let store: AnyStore = between.clone();
        finished(&store).await;
        let one = service(&store, Duration::ZERO);
        until("it purges", async || store.held("purge").await.unwrap() == 1).await;
        stop(one).await;
        assert_eq!(store.held("purge").await.unwrap(), 0);
        purges.end();
        let other = service(&store, Duration::ZERO);
        until("all went", async || left(&store).await == 0).await;
        stop(other).await;
    }

    /// The number of completed purge walks.
    fn walks(store: &ScriptedStore) -> usize {
        let purged = store.answered(Call::Purge);
        purged.iter().filter(|purged| purged.contains("next: None")).count()
    }

    fn all() -> Search {
        Search {
            limit: 10,
            ..pp_conformance::store::everything()
        }
    }
}
