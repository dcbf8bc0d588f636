//! The counters on PostgreSQL, with concurrent changes, roll-ups and rebuilds.

mod on_servers {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use pp_conformance::store::new_works;
    use pp_lib::broker::memory::Memory;
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::maintenance::{DispatchSettings, Dispatcher};
    use pp_lib::runtime::Health;
    use pp_lib::store::postgres::PostgresStore;
    use pp_lib::store::{Views as _, WorkRows as _};
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use crate::postgres::Database;

    /// Longer than any call takes that is not blocked.
    const SOON: Duration = Duration::from_secs(20);

    async fn create(store: &PostgresStore, count: usize) {
        for _ in 0..count {
            store.create_all(&new_works([1])).await.unwrap().unwrap();
        }
    }

    async fn pending(store: &PostgresStore) -> i64 {
        store.stats(None).await.unwrap().works.api.pending
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rebuild_repairs_damaged_counters() {
        let database = Database::create().await;
        let store = database.store(2).await;
        create(&store, 3).await;
        let damage = "INSERT INTO stat_totals (kind, origin, status, works)
            VALUES ('add_up_to', 'api', 'pending', 5), ('other', 'consumer', 'failed', -2)";
        database.client().await.batch_execute(damage).await.unwrap();
        assert_eq!(pending(&store).await, 8);
        store.rebuild().await.unwrap();
        let works = store.stats(None).await.unwrap().works;
        assert_eq!((works.api.pending, works.consumer), (3, Default::default()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_open_during_a_rebuild_counts_once() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        create(&store, 2).await;
        let open = "BEGIN;
            INSERT INTO works (kind, work_code, origin, message_id, args) VALUES ('add_up_to', 'api-aaaaaaaaaa', 'api', 'm', '1');
            INSERT INTO stat_deltas (kind, origin, status, works) VALUES ('add_up_to', 'api', 'pending', 1)";
        writer.batch_execute(open).await.unwrap();
        timeout(SOON, store.rebuild()).await.unwrap().unwrap();
        assert_eq!(pending(&store).await, 2);
        writer.batch_execute("COMMIT").await.unwrap();
        assert_eq!(pending(&store).await, 3);
        store.roll_up().await.unwrap();
        assert_eq!(pending(&store).await, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_between_the_count_and_its_end_counts_once() {
        let database = Database::create().await;
        let (store, holder) = (database.store(3).await, database.client().await);
        create(&store, 2).await;
        // The count does not need this table, but the step after it does.
        let hold = "BEGIN; LOCK TABLE stat_seconds IN ACCESS EXCLUSIVE MODE";
        holder.batch_execute(hold).await.unwrap();
        let rebuilding = tokio::spawn({
            let store = store.clone();
            async move { store.rebuild().await }
        });
        database.until_one_waits().await;
        timeout(SOON, create(&store, 1)).await.unwrap();
        assert!(!rebuilding.is_finished());
        holder.batch_execute("COMMIT").await.unwrap();
        rebuilding.await.unwrap().unwrap();
        assert_eq!(pending(&store).await, 3);
        assert_eq!(store.roll_up().await.unwrap(), 1, "what the count did not have");
        assert_eq!(pending(&store).await, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rebuild_waits_for_a_roll_up_and_blocks_no_change() {
        let database = Database::create().await;
        let (store, folder) = (database.store(3).await, database.client().await);
        create(&store, 2).await;
        let folding = "BEGIN;
            DELETE FROM stat_deltas;
            INSERT INTO stat_totals (kind, origin, status, works) VALUES ('add_up_to', 'api', 'pending', 2)";
        folder.batch_execute(folding).await.unwrap();
        let rebuilding = tokio::spawn({
            let store = store.clone();
            async move { store.rebuild().await }
        });
        database.until_one_waits().await;
        timeout(SOON, create(&store, 1)).await.unwrap();
        assert_eq!(timeout(SOON, pending(&store)).await.unwrap(), 3);
        assert!(!rebuilding.is_finished());
        folder.batch_execute("COMMIT").await.unwrap();
        rebuilding.await.unwrap().unwrap();
        assert_eq!(pending(&store).await, 3);
    }

    async fn until(database: &Database, what: &str, number: i64) {
        let deadline = Instant::now() + SOON;
        while database.number(what).await != number {
            assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dispatcher_rolls_up_and_keeps_dispatching_while_it_cannot() {
        let database = Database::create().await;
        let (store, holder) = (database.store(4).await, database.client().await);
        let hold = "BEGIN; LOCK TABLE stat_totals IN SHARE MODE";
        holder.batch_execute(hold).await.unwrap();
        let settings = DispatchSettings {
            within: SOON,
            poll: Duration::from_millis(50),
            max_lost_leases: 1,
            retain: Duration::MAX,
        };
        let (broker, feed) = (Arc::new(Memory::new(10, usize::MAX)), Arc::new(MemoryFeed::new()));
        let dispatcher = Dispatcher::new(Arc::new(store.clone()), broker, feed, settings);
        let (part, shutdown) = (Health::new().part("dispatcher", true), CancellationToken::new());
        let running = tokio::spawn(dispatcher.run(part, shutdown.clone()));
        create(&store, 2).await;
        database.until_one_waits().await;
        create(&store, 1).await;
        until(&database, "SELECT count(*) FROM works WHERE sent_at IS NOT NULL", 3).await;
        assert_eq!(database.number("SELECT count(*) FROM stat_deltas").await, 3);
        holder.batch_execute("COMMIT").await.unwrap();
        until(&database, "SELECT count(*) FROM stat_deltas", 0).await;
        assert_eq!(pending(&store).await, 3);
        shutdown.cancel();
        timeout(SOON, running).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_roll_up_skips_deltas_locked_by_another() {
        let database = Database::create().await;
        let (store, other) = (database.store(2).await, database.client().await);
        create(&store, 3).await;
        let some = "BEGIN; SELECT FROM stat_deltas LIMIT 1 FOR UPDATE";
        other.batch_execute(some).await.unwrap();
        assert_eq!(timeout(SOON, store.roll_up()).await.unwrap().unwrap(), 2);
        assert_eq!(pending(&store).await, 3);
        other.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(store.roll_up().await.unwrap(), 1);
        assert_eq!(pending(&store).await, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_roll_ups_count_each_delta_once_without_a_deadlock() {
        const FOLDERS: usize = 4;
        const DELTAS: usize = 150;
        let database = Database::create().await;
        let store = database.store(6).await;
        let creating = tokio::spawn({
            let store = store.clone();
            async move { create(&store, DELTAS).await }
        });
        let folding: Vec<_> = (0..FOLDERS)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut folded = 0;
                    for _ in 0..50 {
                        folded += store.roll_up().await.unwrap();
                    }
                    folded
                })
            })
            .collect();
        creating.await.unwrap();
        let mut folded = 0;
        for one in folding {
            folded += one.await.unwrap();
        }
        folded += store.roll_up().await.unwrap();
        assert_eq!(folded, DELTAS as u64, "each once");
        assert_eq!(pending(&store).await, DELTAS as i64);
        drop(store);
        assert_eq!(database.deadlocks().await, 0);
    }
}
