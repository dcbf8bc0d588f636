//! The feed on PostgreSQL beside open transactions: they delay no other events, and their own events come at their
//! commit, once and in the order of each work. A recreated, restored, copied or promoted database does not continue the
//! feed of another one.

mod on_servers {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use pp_conformance::scripted::{Call, ScriptedStore};
    use pp_conformance::store::new_works;
    use pp_lib::cache::CacheOptions;
    use pp_lib::cache::memory::MemoryCache;
    use pp_lib::domain::{AddUpTo, Position, Principal, Work, WorkId};
    use pp_lib::feed::AnyFeed;
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::runtime::Health;
    use pp_lib::serving::{Caches, Serving, Source};
    use pp_lib::store::postgres::PostgresStore;
    use pp_lib::store::{AnyStore, Change, ChangeLog as _, StoreError, WorkChanges as _, WorkRows as _};
    use rand::RngExt as _;
    use tokio_postgres::Client;

    use crate::postgres::{Database, TIMEOUT};

    async fn created(store: &PostgresStore) -> Work {
        store.create_all(&new_works([1])).await.unwrap().unwrap().remove(0).work
    }

    /// All events after a position, in pages of `limit`, and the position after them. Each page is requested by the
    /// text of its position, as a reconnecting client does.
    async fn rest(store: &PostgresStore, after: &Position, limit: u16) -> (Vec<Change>, Position) {
        let (mut changes, mut after) = (Vec::new(), after.clone());
        loop {
            let page = store.changes(&after, limit).await.unwrap().unwrap();
            after = page.position.to_string().parse().unwrap();
            assert_eq!(after, page.position);
            changes.extend(page.items);
            if page.complete {
                return (changes, after);
            }
        }
    }

    fn works(changes: &[Change]) -> Vec<WorkId> {
        changes.iter().map(|change| change.work_id).collect()
    }

    /// Writes an event as PP does: the row of the work first.
    async fn write(client: &Client, work: WorkId) -> Result<u64, tokio_postgres::Error> {
        let row = "UPDATE works SET version = version + 1 WHERE id = $1";
        client.execute(row, &[&work.0]).await?;
        let event = "INSERT INTO events (work_id, generation, variable) VALUES ($1, 1, 'compute/start')";
        client.execute(event, &[&work.0]).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_open_transaction_delays_only_its_own_events() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        let first = created(&store).await.id;
        let begin = store.head().await.unwrap();
        writer.batch_execute("BEGIN").await.unwrap();
        write(&writer, first).await.unwrap();
        let mut place = begin;
        for _ in 0..3 {
            let other = created(&store).await.id;
            let touched = store.touched(&place, 10).await.unwrap().unwrap();
            assert_eq!((touched.items, touched.complete), (vec![other], true));
            let (changes, after) = rest(&store, &place, 10).await;
            assert_eq!(works(&changes), [other]);
            place = after;
        }
        writer.batch_execute("COMMIT").await.unwrap();
        let (changes, place) = rest(&store, &place, 10).await;
        assert_eq!(works(&changes), [first]);
        assert_eq!(rest(&store, &place, 10).await.0, []);
    }

    /// Each savepoint takes a transaction id, and many may be taken before any other transaction ends.
    #[tokio::test(flavor = "multi_thread")]
    async fn thousands_of_savepoints_delay_no_event() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        let first = created(&store).await.id;
        let mut place = store.head().await.unwrap();
        writer
            .batch_execute("CREATE TABLE other (id int); BEGIN")
            .await
            .unwrap();
        for _ in 0..3 {
            write(&writer, first).await.unwrap();
            let savepoints = "DO $$ BEGIN FOR n IN 1..1000 LOOP
                BEGIN INSERT INTO other VALUES (n); EXCEPTION WHEN others THEN NULL; END;
            END LOOP; END $$";
            writer.batch_execute(savepoints).await.unwrap();
            let page = store.changes(&place, 10).await.unwrap().unwrap();
            assert_eq!((page.items, page.complete), (Vec::new(), true));
            place = page.position;
            let other = created(&store).await.id;
            let (changes, after) = rest(&store, &place, 10).await;
            assert_eq!(works(&changes), [other]);
            place = after;
        }
        writer.batch_execute("COMMIT").await.unwrap();
        assert_eq!(works(&rest(&store, &place, 10).await.0), [first; 3]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rolled_back_events_never_come() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        let first = created(&store).await.id;
        let begin = store.head().await.unwrap();
        writer.batch_execute("BEGIN").await.unwrap();
        write(&writer, first).await.unwrap();
        let other = created(&store).await.id;
        let (_, place) = rest(&store, &begin, 10).await;
        writer.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(rest(&store, &place, 10).await.0, []);
        assert_eq!(works(&rest(&store, &begin, 10).await.0), [other]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_early_transaction_that_writes_a_work_last_comes_last() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        let work = created(&store).await.id;
        let begin = store.head().await.unwrap();
        writer
            .batch_execute("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        store
            .update(&Principal::Open, work, &AddUpTo::MAX.args(), None, TIMEOUT)
            .await
            .unwrap();
        write(&writer, work).await.unwrap();
        writer.batch_execute("COMMIT").await.unwrap();
        for limit in [1, 10] {
            let (changes, _) = rest(&store, &begin, limit).await;
            let told: Vec<_> = changes.iter().map(|change| change.event.variable.as_str()).collect();
            assert_eq!(told, ["work/updated", "compute/start"]);
        }
    }

    /// Writes events of random works in random transactions until stopped. Some take their transaction id early, some
    /// roll back, some end in a deadlock.
    async fn write_at_random(database: &Database, works: Vec<WorkId>, stop: Arc<AtomicBool>) {
        let client = database.client().await;
        client.batch_execute("SET deadlock_timeout = '20ms'").await.unwrap();
        while !stop.load(Ordering::SeqCst) {
            let (early, kept, count) = {
                let mut random = rand::rng();
                (
                    random.random_ratio(1, 3),
                    random.random_ratio(4, 5),
                    random.random_range(1..4),
                )
            };
            client.batch_execute("BEGIN").await.unwrap();
            if early {
                client.batch_execute("SELECT pg_current_xact_id()").await.unwrap();
            }
            let mut written = Ok(0);
            for _ in 0..count {
                let work = works[rand::rng().random_range(0..works.len())];
                written = write(&client, work).await;
                if written.is_err() {
                    break;
                }
            }
            let end = if kept && written.is_ok() { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(end).await.unwrap();
        }
    }

    /// Runs slow transactions in sequence that write at their beginning and end.
    async fn write_slowly(database: &Database, works: Vec<WorkId>, rounds: usize) {
        let client = database.client().await;
        for work in works.into_iter().take(rounds) {
            client.batch_execute("BEGIN").await.unwrap();
            write(&client, work).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            write(&client, work).await.unwrap();
            client.batch_execute("COMMIT").await.unwrap();
        }
    }

    /// Reads small pages, each from the text of the previous position.
    async fn read_along(store: PostgresStore, begin: Position, limit: u16, stop: Arc<AtomicBool>) -> Vec<Change> {
        let (mut changes, mut place) = (Vec::new(), begin);
        loop {
            let last = stop.load(Ordering::SeqCst);
            let (some, after) = rest(&store, &place, limit).await;
            changes.extend(some);
            place = after;
            if last {
                return changes;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn overlapping_transactions_yield_every_event_once_and_in_the_order_of_its_work() {
        const WRITERS: usize = 8;
        const ROUNDS: usize = 3;
        let database = Arc::new(Database::create().await);
        let store = database.store(4).await;
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(created(&store).await.id);
        }
        let begin = store.head().await.unwrap();
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (database, ids, stop) = (Arc::clone(&database), ids.clone(), Arc::clone(&stop));
                tokio::spawn(async move { write_at_random(&database, ids, stop).await })
            })
            .collect();
        let readers: Vec<_> = [3, 500]
            .map(|limit| tokio::spawn(read_along(store.clone(), begin.clone(), limit, Arc::clone(&written))))
            .into();
        // Uses separate works, because it locks them for long.
        let mut own = Vec::new();
        for _ in 0..ROUNDS {
            own.push(created(&store).await.id);
        }
        write_slowly(&database, own, ROUNDS).await;
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.unwrap();
        }
        written.store(true, Ordering::SeqCst);
        let client = database.client().await;
        let mut histories: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let events = "SELECT work_id, id FROM events WHERE variable <> 'work/created' OR work_id > $1 ORDER BY id";
        for row in client.query(events, &[&ids[19].0]).await.unwrap() {
            histories.entry(row.get(0)).or_default().push(row.get(1));
        }
        for reader in readers {
            let mut told: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for change in reader.await.unwrap() {
                told.entry(change.work_id.0).or_default().push(change.event.id);
            }
            assert_eq!(told, histories);
        }
        assert!(histories.values().map(Vec::len).sum::<usize>() > 100, "{histories:?}");
    }

    /// In this database, or in another one of the same server.
    async fn a_minute_of(elsewhere: bool) {
        const STALENESS: Duration = Duration::from_millis(250);
        let (database, other) = (Database::create().await, Database::create().await);
        let plain = database.store(4).await;
        let between = ScriptedStore::new(Arc::new(plain.clone()));
        let options = CacheOptions {
            ttl: TIMEOUT * 10,
            staleness: STALENESS,
        };
        let caches = Caches {
            cache: Arc::new(MemoryCache::new(options)),
            near: None,
            staleness: STALENESS,
        };
        let (store, feed): (AnyStore, AnyFeed) = (between.clone(), Arc::new(MemoryFeed::new()));
        let (serving, handle) = Serving::start(&store, &feed, &caches, Default::default(), &Health::new());
        let work = created(&plain).await;
        let client = if elsewhere {
            other.client().await
        } else {
            database.client().await
        };
        client
            .batch_execute("CREATE TABLE other (id int); BEGIN; INSERT INTO other VALUES (1)")
            .await
            .unwrap();
        let is_hit = async || handle.by_id(work.id).await.unwrap().source == Source::Cache;
        let deadline = Instant::now() + TIMEOUT;
        while !is_hit().await {
            assert!(Instant::now() < deadline, "no read is served from the cache");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Long enough for a freshness mark from before the transaction to run out many times.
        let (until, mut hits, mut misses) = (Instant::now() + STALENESS * 12, 0, 0);
        let before = between.calls(Call::ByIds);
        while Instant::now() < until {
            *(if is_hit().await { &mut hits } else { &mut misses }) += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let asked = between.calls(Call::ByIds) - before;
        // On a busy machine a mark may run out occasionally.
        assert!(
            misses * 10 < hits && asked * 10 < hits,
            "{hits} hits, {misses} misses, {asked} reads of the store"
        );
        // Changes behind the cache are served within the staleness.
        let changed = plain
            .update(&Principal::Open, work.id, &AddUpTo::MAX.args(), None, TIMEOUT)
            .await
            .unwrap();
        assert!(matches!(changed, pp_lib::store::Changed::Applied(_)));
        tokio::time::sleep(STALENESS).await;
        assert_eq!(
            handle.by_id(work.id).await.unwrap().value.unwrap().add_up_to(),
            Some(AddUpTo::MAX)
        );
        client.batch_execute("COMMIT").await.unwrap();
        serving.stop(TIMEOUT).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_left_open_in_the_same_database_costs_no_cached_read() {
        a_minute_of(false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_left_open_in_another_database_of_the_server_costs_no_cached_read() {
        a_minute_of(true).await;
    }

    /// The cost depends neither on the number of events nor on the server's statistics.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_of_a_large_feed_reads_about_one_page_of_rows() {
        const LIMIT: u16 = 100;
        let database = Database::create().await;
        let store = database.store(1).await;
        let client = database.client().await;
        let fill = "ALTER TABLE events SET (autovacuum_enabled = false);
            INSERT INTO works (kind, work_code, origin, message_id, args)
                SELECT 'add_up_to', 'api-' || lpad(n::text, 10, '0'), 'api', n::text, '1' FROM generate_series(1, 100000) AS n;
            INSERT INTO events (tx, work_id, generation, variable, status)
                SELECT (3 + n % 100)::text::xid8, n, 1, 'work/created', 'pending' FROM generate_series(1, 100000) AS n,
                    generate_series(1, 3)";
        client.batch_execute(fill).await.unwrap();
        let begin = Position::beginning(store.head().await.unwrap().epoch());
        let head = store.head().await.unwrap();
        let middle = store.changes(&begin, LIMIT).await.unwrap().unwrap().position;
        drop(store);
        let rows = "SELECT (seq_tup_read + (
                SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'events'
            ))::bigint FROM pg_stat_user_tables WHERE relname = 'events'";
        let read = async |place: &Position| {
            database.deadlocks().await;
            let before = database.number(rows).await;
            let store = database.store_by(&database.url, 1, TIMEOUT).await;
            let page = store.changes(place, LIMIT).await.unwrap().unwrap();
            drop(store);
            database.deadlocks().await;
            let read = database.number(rows).await - before;
            assert!(read <= i64::from(4 * LIMIT), "{read} rows for a page behind {place}");
            page.items
        };
        for (place, events) in [(&head, 0), (&begin, LIMIT), (&middle, LIMIT)] {
            assert_eq!(read(place).await.len(), usize::from(events), "{place}");
        }
        // Nor does it depend on the size of an open transaction.
        let writer = database.client().await;
        writer.batch_execute("BEGIN").await.unwrap();
        let many = "INSERT INTO events (work_id, generation, variable, status)
            SELECT n, 1, 'compute/start', 'running' FROM generate_series(1, 100000) AS n";
        writer.batch_execute(many).await.unwrap();
        let store = database.store_by(&database.url, 1, TIMEOUT).await;
        let late = store.head().await.unwrap();
        drop(store);
        assert_eq!(read(&late).await.len(), 0);
        writer.batch_execute("COMMIT").await.unwrap();
        let ids: BTreeSet<i64> = read(&late).await.iter().map(|change| change.event.id).collect();
        assert_eq!((ids.len(), ids.first()), (usize::from(LIMIT), Some(&300_001)));
    }

    /// Replaces a server function in this database.
    async fn with_function(database: &Database, function: &str) -> PostgresStore {
        let name = database.url.rsplit('/').next().unwrap();
        let fake = format!(
            "CREATE SCHEMA fake; CREATE FUNCTION fake.{function};
            ALTER DATABASE {name} SET search_path = fake, pg_catalog, public"
        );
        database.client().await.batch_execute(&fake).await.unwrap();
        database.store_by(&database.url, 1, TIMEOUT).await
    }

    fn unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>, why: &str) {
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, StoreError::Unavailable(text) if text.contains(why)),
            "{error}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_standby_is_not_read() {
        let database = Database::create().await;
        let place = database.store(1).await.head().await.unwrap();
        let store = with_function(
            &database,
            "pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        )
        .await;
        unavailable(store.head().await, "standby");
        unavailable(store.changes(&place, 1).await, "standby");
        unavailable(store.touched(&place, 1).await, "standby");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_feed_waits_while_more_transactions_are_open_than_a_place_can_hold() {
        let database = Database::create().await;
        let plain = database.store(1).await;
        let place = plain.head().await.unwrap();
        let work = created(&plain).await.id;
        let store = with_function(
            &database,
            "pg_current_snapshot() RETURNS pg_snapshot LANGUAGE sql AS $$
                SELECT ('1000000:2000000:' || string_agg(tx::text, ',' ORDER BY tx))::pg_snapshot
                FROM generate_series(1000000, 1000599) AS tx $$",
        )
        .await;
        unavailable(store.head().await, "600 transactions are open");
        unavailable(store.changes(&place, 1).await, "600 transactions are open");
        unavailable(store.touched(&place, 1).await, "600 transactions are open");
        database
            .client()
            .await
            .batch_execute("DROP SCHEMA fake CASCADE")
            .await
            .unwrap();
        assert_eq!(works(&rest(&store, &place, 10).await.0), [work]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copied_database_does_not_continue_the_feed() {
        let database = Database::create().await;
        let store = database.store(2).await;
        let work = created(&store).await.id;
        let before = store.head().await.unwrap();
        store.migrate(TIMEOUT).await.unwrap();
        assert_eq!(
            store.head().await.unwrap().epoch(),
            before.epoch(),
            "it is the same one"
        );
        let copied = "UPDATE feed SET made_in = 'elsewhere'";
        database.client().await.batch_execute(copied).await.unwrap();
        store.migrate(TIMEOUT).await.unwrap();
        begins_anew(&store, &before, work).await;
    }

    /// The promotion happens while programs run, without notice to them.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_promoted_replica_does_not_continue_the_feed() {
        let database = Database::create().await;
        let store = database.store(2).await;
        let work = created(&store).await.id;
        let before = store.head().await.unwrap();
        let timeline = "UPDATE feed SET incarnation = split_part(incarnation, '/', 1) || '/00000000'";
        database.client().await.batch_execute(timeline).await.unwrap();
        begins_anew(&store, &before, work).await;
    }

    async fn begins_anew(store: &PostgresStore, before: &Position, work: WorkId) {
        assert_eq!(store.changes(before, 10).await.unwrap(), None);
        assert_eq!(store.touched(before, 10).await.unwrap(), None);
        let epoch = store.head().await.unwrap().epoch();
        assert!(epoch > before.epoch());
        let anew = Position::beginning(epoch);
        assert_eq!(works(&rest(store, &anew, 10).await.0), [work]);
        assert_eq!(store.head().await.unwrap().epoch(), epoch, "only once");
    }

    /// The state after restoring a dump into a cluster with lower transaction ids.
    #[tokio::test(flavor = "multi_thread")]
    async fn events_of_a_restored_dump_come_before_new_ones() {
        let database = Database::create().await;
        let (store, client) = (database.store(2).await, database.client().await);
        let old = [created(&store).await.id, created(&store).await.id];
        let before = store.head().await.unwrap();
        let ahead = "(pg_current_xact_id()::text::bigint + 1000000)::text::xid8";
        let restored = format!("UPDATE events SET tx = {ahead}; UPDATE feed SET floor_tx = {ahead}, floor_id = 7");
        client.batch_execute(&restored).await.unwrap();
        store.migrate(TIMEOUT).await.unwrap();
        let new = created(&store).await.id;
        let epoch = store.head().await.unwrap().epoch();
        assert!(epoch > before.epoch());
        let (changes, place) = rest(&store, &Position::beginning(epoch), 2).await;
        assert_eq!(works(&changes), [old[0], old[1], new]);
        assert_eq!(rest(&store, &place, 2).await.0, []);
        store.migrate(TIMEOUT).await.unwrap();
        assert_eq!(store.head().await.unwrap().epoch(), epoch, "only once");
    }
}
