//! The feed on PostgreSQL, where transactions are open beside each other: none that commits late is skipped, and a
//! database that was made anew, restored or copied does not continue the feed of another one.

mod on_servers {
    use std::time::Instant;

    use pp_lib::domain::{AddUpTo, Origin, Position, Work, WorkId};
    use pp_lib::flow::{new_message_id, new_work_code};
    use pp_lib::store::postgres::PostgresStore;
    use pp_lib::store::{Change, ChangeLog as _, NewWork, WorkRows as _};
    use tokio_postgres::Client;

    use crate::postgres::{Database, TIMEOUT};

    async fn created(store: &PostgresStore) -> Work {
        let new = NewWork {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Api),
            add_up_to: AddUpTo::MIN,
            run_at: None,
        };
        store.create_all(&[new]).await.unwrap().unwrap().remove(0)
    }

    /// Everything behind a place. Transactions of other tests hold the feed back too, for a while.
    async fn rest(store: &PostgresStore, mut after: Position) -> Vec<Change> {
        let deadline = Instant::now() + TIMEOUT * 3;
        let mut changes = Vec::new();
        loop {
            let page = store.changes(after, 2).await.unwrap().unwrap();
            after = page.position;
            changes.extend(page.items);
            if page.complete {
                return changes;
            }
            assert!(Instant::now() < deadline, "the feed is held back");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn works(changes: &[Change]) -> Vec<WorkId> {
        changes.iter().map(|change| change.work_id).collect()
    }

    /// Two works, of which the first has an event in an open transaction, before that of the second.
    async fn with_an_open_transaction(store: &PostgresStore, writer: &Client) -> (Position, [WorkId; 2]) {
        let first = created(store).await.id;
        let begin = Position {
            tx: 0,
            id: 0,
            ..store.head().await.unwrap()
        };
        let begin = rest(store, begin).await.last().unwrap().position;
        writer.batch_execute("BEGIN").await.unwrap();
        let event = "INSERT INTO events (work_id, generation, variable) VALUES ($1, 1, 'compute/start')";
        writer.execute(event, &[&first.0]).await.unwrap();
        let second = created(store).await.id;
        for _ in 0..3 {
            let page = store.changes(begin, 10).await.unwrap().unwrap();
            assert_eq!((page.items, page.complete, page.position), (Vec::new(), false, begin));
            let touched = store.touched(begin, 10).await.unwrap().unwrap();
            assert_eq!((touched.items, touched.complete), (Vec::new(), false));
            assert_eq!(store.head().await.unwrap(), begin);
        }
        (begin, [first, second])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_committed_beside_an_open_transaction_comes_after_what_that_writes() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        let (begin, [first, second]) = with_an_open_transaction(&store, &writer).await;
        writer.batch_execute("COMMIT").await.unwrap();
        let changes = rest(&store, begin).await;
        assert_eq!(works(&changes), [first, second]);
        assert!(changes[0].position < changes[1].position);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_committed_beside_an_open_transaction_comes_when_that_is_given_up() {
        let database = Database::create().await;
        let (store, writer) = (database.store(2).await, database.client().await);
        let (begin, [_, second]) = with_an_open_transaction(&store, &writer).await;
        writer.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(works(&rest(&store, begin).await), [second]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_that_was_copied_does_not_continue_the_feed() {
        let database = Database::create().await;
        let store = database.store(2).await;
        let work = created(&store).await.id;
        let before = store.head().await.unwrap();
        store.migrate(TIMEOUT).await.unwrap();
        assert_eq!(store.head().await.unwrap().epoch, before.epoch, "it is the same one");
        let copied = "UPDATE feed SET made_in = 'elsewhere'";
        database.client().await.batch_execute(copied).await.unwrap();
        store.migrate(TIMEOUT).await.unwrap();
        let epoch = store.head().await.unwrap().epoch;
        assert!(epoch > before.epoch);
        assert_eq!(store.changes(before, 10).await.unwrap(), None);
        assert_eq!(store.touched(before, 10).await.unwrap(), None);
        let anew = Position { epoch, tx: 0, id: 0 };
        assert_eq!(works(&rest(&store, anew).await), [work]);
    }

    /// As after the restore of a dump into a cluster that has not come so far.
    #[tokio::test(flavor = "multi_thread")]
    async fn events_of_transactions_to_come_are_put_before_everything() {
        let database = Database::create().await;
        let (store, client) = (database.store(2).await, database.client().await);
        let old = [created(&store).await.id, created(&store).await.id];
        let before = store.head().await.unwrap();
        let ahead = "(pg_current_xact_id()::text::bigint + 1000000)::text::xid8";
        let restored = format!("UPDATE events SET tx = {ahead}; UPDATE feed SET floor_tx = {ahead}, floor_id = 7");
        client.batch_execute(&restored).await.unwrap();
        store.migrate(TIMEOUT).await.unwrap();
        let new = created(&store).await.id;
        let epoch = store.head().await.unwrap().epoch;
        assert!(epoch > before.epoch);
        let anew = Position { epoch, tx: 0, id: 0 };
        assert_eq!(works(&rest(&store, anew).await), [old[0], old[1], new]);
        store.migrate(TIMEOUT).await.unwrap();
        assert_eq!(store.head().await.unwrap().epoch, epoch, "only once");
    }
}
