//! Transient PostgreSQL errors: deadlocks with other clients, serialization failures, locks that are not released. The
//! store retries within its timeout.

mod on_servers {
    use std::time::{Duration, Instant};

    use pp_conformance::store::new_works;
    use pp_lib::domain::{Json, KindName, Principal, Run};
    use pp_lib::store::{
        Claim, Completed, Completion, Completions as _, DispatchRows as _, Guard, Outcome, StoreError,
        WorkChanges as _, WorkRows as _,
    };

    use crate::postgres::{Database, TIMEOUT};

    const HOLD: Duration = Duration::from_secs(30);

    fn done(claim: &Claim) -> Completion {
        Completion {
            message_id: claim.message_id.clone(),
            work_code: claim.work_code.clone(),
            args: Some(claim.args.clone()),
            guard: Guard::Pending(Run::FIRST),
            outcome: Outcome::Done { result: Json::from(1) },
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_retry_resolves_a_deadlock() {
        let database = Database::create().await;
        let mut client = database.client().await;
        // The store reaches its deadlock timeout first, so PostgreSQL aborts the store's transaction.
        let patience = "DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = %L', current_database(), '2500ms');
            END $$;
            SET deadlock_timeout = '1min'";
        client.batch_execute(patience).await.unwrap();
        let store = database.store(2).await;
        store.create(&new_works(1..=2)).await.unwrap();
        let mut claims = store.claim(&[], None, HOLD, 2).await.unwrap();
        claims.sort_by(|one, other| one.message_id.cmp(&other.message_id));
        let completions: Vec<Completion> = claims.iter().map(done).collect();
        // The store locks rows by message id, the other client in reverse order.
        let stranger = client.transaction().await.unwrap();
        let touch = "UPDATE works SET updated_on = updated_on WHERE id = $1";
        stranger.execute(touch, &[&claims[1].id.0]).await.unwrap();
        let completing = tokio::spawn({
            let store = store.clone();
            async move { store.complete(KindName::add_up_to(), &completions).await }
        });
        database.until_one_waits().await;
        stranger.execute(touch, &[&claims[0].id.0]).await.unwrap();
        stranger.commit().await.unwrap();
        assert_eq!(completing.await.unwrap().unwrap(), vec![Completed::Applied; 2]);
        assert_eq!(database.number("SELECT count(*) FROM events").await, 2 + 2 * 3);
        drop(store);
        assert_eq!(database.deadlocks().await, 1);
    }

    /// Makes the first `times` statements that insert or change works fail with a serialization failure.
    async fn fail_to_serialize(database: &Database, times: i64) {
        let fail = format!(
            "CREATE SEQUENCE tries;
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'not in this order' USING ERRCODE = '40001'; END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON works FOR EACH STATEMENT EXECUTE FUNCTION fail()"
        );
        database.client().await.batch_execute(&fail).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_serialization_failure_is_retried() {
        let database = Database::create().await;
        let store = database.store(1).await;
        fail_to_serialize(&database, 6).await;
        let created = store.create_all(&new_works(1..=3)).await.unwrap().unwrap();
        assert_eq!(database.number("SELECT last_value FROM tries").await, 7);
        assert_eq!(
            (created.len(), database.number("SELECT count(*) FROM events").await),
            (3, 3)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn endless_serialization_failures_are_unavailable_in_time() {
        let database = Database::create().await;
        drop(database.store(1).await);
        let patience = Duration::from_secs(2);
        let store = database.store_by(&database.url, 1, patience).await;
        fail_to_serialize(&database, i64::MAX).await;
        let begun = Instant::now();
        let error = store.create(&new_works(1..=1)).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Unavailable(why) if why.contains("not in this order")),
            "{error}"
        );
        assert!(begun.elapsed() < patience + TIMEOUT / 2);
        let tries = database.number("SELECT last_value FROM tries").await;
        assert!((3..100).contains(&tries), "{tries} tries in {patience:?}");
        assert_eq!(database.number("SELECT count(*) FROM works").await, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_call_that_waits_for_a_lock_ends_in_time() {
        let database = Database::create().await;
        drop(database.store(1).await);
        let patience = Duration::from_secs(2);
        let store = database.store_by(&database.url, 2, patience).await;
        let works = store.create_all(&new_works(1..=2)).await.unwrap().unwrap();
        let claim = store.claim(&[], None, HOLD, 1).await.unwrap().remove(0);
        let other = works.iter().map(|work| work.id).find(|id| *id != claim.id).unwrap();
        let mut client = database.client().await;
        let stranger = client.transaction().await.unwrap();
        stranger.execute("SELECT FROM works FOR UPDATE", &[]).await.unwrap();
        let begun = Instant::now();
        let completion = [done(&claim)];
        let (completed, deleted) = tokio::join!(
            store.complete(KindName::add_up_to(), &completion),
            store.delete(&Principal::Open, other, None)
        );
        assert!(matches!(completed, Err(StoreError::Unavailable(_))), "{completed:?}");
        assert!(matches!(deleted, Err(StoreError::Unavailable(_))), "{deleted:?}");
        assert!(begun.elapsed() < patience + TIMEOUT / 2);
        // This call skips locked rows, so it does not wait.
        assert_eq!(store.lose_sent(1).await.unwrap(), 0);
        stranger.rollback().await.unwrap();
        // The abandoned calls may still take effect now. A repeated call succeeds either way.
        store.complete(KindName::add_up_to(), &completion).await.unwrap();
        store.delete(&Principal::Open, other, None).await.unwrap();
        let results = "SELECT count(*) FROM events WHERE variable IN ('compute/result', 'work/cancelled')";
        assert_eq!(database.number(results).await, 2);
        assert_eq!(
            store.by_ids(&[claim.id, other]).await.unwrap()[0].result,
            Some(Json::from(1))
        );
    }
}
