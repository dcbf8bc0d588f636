//! The store suite on every adapter, and cases of PostgreSQL alone.

/// SQLite on a file of its own.
pub(crate) mod embedded {
    use std::sync::Arc;
    use std::time::Duration;

    use pp_lib::store::AnyStore;
    use pp_lib::store::sqlite::SqliteStore;

    pub(crate) async fn fresh() -> (AnyStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 4, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        (Arc::new(store), folder)
    }

    pp_conformance::store_suite!(fresh);
}

/// PostgreSQL in a database of its own.
pub(crate) mod on_servers {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::time::Duration;

    use pp_conformance::store::{new_works, without_row};
    use pp_lib::domain::{Json, KindName, Origin, Principal, Run};
    use pp_lib::runtime::new_work_code;
    use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
    use pp_lib::store::{
        AnyStore, Changed, Completed, Completion, Completions as _, DispatchRows as _, EventLog as _, Guard,
        Leases as _, NewWork, Outcome, Store as _, StoreError, WorkChanges as _, WorkRows as _,
    };

    use crate::postgres::Database;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const HOLD: Duration = Duration::from_secs(30);

    async fn open(database: &Database, pool: u32) -> PostgresStore {
        let config = PostgresConfig {
            trust: pp_lib::tls::Trust::default(),
            url: database.url.clone(),
            pool,
            timeout: TIMEOUT,
        };
        PostgresStore::open(config).await.unwrap()
    }

    async fn migrated(pool: u32) -> (PostgresStore, Database) {
        let database = Database::create().await;
        let store = open(&database, pool).await;
        store.migrate(TIMEOUT).await.unwrap();
        (store, database)
    }

    pub(crate) async fn fresh() -> (AnyStore, Database) {
        let (store, database) = migrated(4).await;
        (Arc::new(store), database)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn leases_expired_for_a_day_are_deleted() {
        let (store, database) = migrated(1).await;
        assert!(store.hold("of a cache that is gone", "one", HOLD).await.unwrap());
        assert!(store.hold("of yesterday", "one", HOLD).await.unwrap());
        let client = database.client().await;
        let over = "UPDATE leases SET held_until = now() - interval '25 hours' WHERE name LIKE '%gone'";
        client.batch_execute(over).await.unwrap();
        let over = "UPDATE leases SET held_until = now() - interval '23 hours' WHERE name LIKE '%yesterday'";
        client.batch_execute(over).await.unwrap();
        assert!(store.hold("another", "two", HOLD).await.unwrap());
        let left = client
            .query("SELECT name FROM leases ORDER BY name", &[])
            .await
            .unwrap();
        let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
        assert_eq!(left, ["another", "of yesterday"]);
    }

    pp_conformance::store_suite!(fresh);

    fn demands(count: i64) -> Vec<Completion> {
        let done = |number| {
            without_row(
                number,
                Outcome::Done {
                    result: Json::from(number),
                },
            )
        };
        (1..=count).map(done).collect()
    }

    fn applied(completed: &[Completed]) -> usize {
        completed
            .iter()
            .filter(|completed| **completed == Completed::Applied)
            .count()
    }

    async fn count(database: &Database, of: &str) -> i64 {
        let row = database
            .client()
            .await
            .query_one(&format!("SELECT count(*) FROM {of}"), &[])
            .await;
        row.unwrap().get(0)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn services_starting_concurrently_on_an_empty_database_all_come_up() {
        let database = Database::create().await;
        let services: Vec<_> = (0..6)
            .map(|_| {
                let url = database.url.clone();
                tokio::spawn(async move {
                    let config = PostgresConfig {
                        trust: pp_lib::tls::Trust::default(),
                        url,
                        pool: 1,
                        timeout: TIMEOUT,
                    };
                    let store = PostgresStore::open(config).await?;
                    store.migrate(TIMEOUT).await?;
                    store.check().await
                })
            })
            .collect();
        for service in services {
            service.await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_without_the_schema_does_not_pass_the_check() {
        let database = Database::create().await;
        let store = open(&database, 1).await;
        assert!(matches!(store.check().await, Err(StoreError::Rejected(_))));
        let client = database.client().await;
        store.migrate(TIMEOUT).await.unwrap();
        client
            .batch_execute("INSERT INTO __diesel_schema_migrations VALUES ('9999')")
            .await
            .unwrap();
        assert!(matches!(store.check().await, Err(StoreError::Outdated(_))));
        assert!(matches!(store.migrate(TIMEOUT).await, Err(StoreError::Outdated(_))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_unreachable_server_is_unavailable_in_time_without_the_password() {
        let config = PostgresConfig {
            trust: pp_lib::tls::Trust::default(),
            url: "postgres://pp:s3cret@127.0.0.1:1/pp".to_owned(),
            pool: 1,
            timeout: Duration::from_millis(300),
        };
        assert!(!format!("{config:?}").contains("s3cret"));
        let error = PostgresStore::open(config).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(
            error.to_string().contains("refused") && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_succeed_after_every_session_was_terminated() {
        let (store, database) = migrated(8).await;
        let client = database.client().await;
        for _ in 0..5 {
            // Use all connections of the pool, so that all are idle and then terminated.
            let completing = (0..8).map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.complete(KindName::add_up_to(), &demands(20)).await.unwrap() })
            });
            for completed in completing.collect::<Vec<_>>() {
                assert_eq!(applied(&completed.await.unwrap()), 20);
            }
            terminate(&client).await;
        }
        assert_eq!(count(&database, "works").await, 5 * 8 * 20);
        assert_eq!(count(&database, "events").await, 3 * 5 * 8 * 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sessions_terminated_in_mid_statement_lose_and_double_nothing() {
        let (store, database) = migrated(4).await;
        let client = database.client().await;
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..25 {
                        store.complete(KindName::add_up_to(), &demands(100)).await.unwrap();
                    }
                })
            })
            .collect();
        let ended = || workers.iter().all(|worker| worker.is_finished());
        let mut terminations = 0;
        while !ended() {
            terminate(&client).await;
            terminations += 1;
            // Some call succeeds between two terminations, even on a slow machine.
            let before = count(&database, "works").await;
            while !ended() && count(&database, "works").await == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        for worker in workers {
            worker.await.unwrap();
        }
        assert!(terminations > 10, "{terminations} terminations");
        assert_eq!(count(&database, "works WHERE status = 'done'").await, 4 * 25 * 100);
        assert_eq!(count(&database, "events").await, 3 * 4 * 25 * 100);
    }

    async fn terminate(client: &tokio_postgres::Client) {
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pp'";
        client.query(terminate, &[]).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_stores_complete_the_same_demands_once_and_meet_no_deadlock() {
        let (one, database) = migrated(4).await;
        let two = open(&database, 4).await;
        for _ in 0..10 {
            let works = one.create(&new_works(1..=200)).await.unwrap();
            let mut same = demands(200);
            for claim in one.claim(&[], None, HOLD, 1000).await.unwrap() {
                same.push(Completion {
                    message_id: claim.message_id,
                    work_code: claim.work_code,
                    args: Some(claim.args.clone()),
                    guard: Guard::Pending(claim.run),
                    outcome: Outcome::Done { result: Json::from(1) },
                });
            }
            let mut reversed = same.clone();
            reversed.reverse();
            let (first, second) = tokio::join!(
                one.complete(KindName::add_up_to(), &same),
                two.complete(KindName::add_up_to(), &reversed)
            );
            assert_eq!(applied(&first.unwrap()) + applied(&second.unwrap()), 400);
            assert_eq!(works.len(), 200);
        }
        assert_eq!(
            count(&database, "events WHERE variable = 'compute/result'").await,
            10 * 400
        );
        assert_eq!(count(&database, "events").await, 10 * (400 * 3 + 200));
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let client = database.client().await;
        assert_eq!(client.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn dispatchers_share_due_works_while_workers_complete_them() {
        let (store, database) = migrated(8).await;
        for _ in 0..5 {
            store.create(&new_works(1..=400)).await.unwrap();
        }
        let dispatchers = (0..4).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let claims = store.claim(&[], None, HOLD, 50).await.unwrap();
                    if claims.is_empty() {
                        return mine;
                    }
                    let completions: Vec<Completion> = claims
                        .iter()
                        .rev()
                        .map(|claim| Completion {
                            message_id: claim.message_id.clone(),
                            work_code: claim.work_code.clone(),
                            args: Some(claim.args.clone()),
                            guard: Guard::Pending(Run::FIRST),
                            outcome: Outcome::Done { result: Json::from(1) },
                        })
                        .collect();
                    let (sent, completed) = tokio::join!(
                        store.mark_sent(&claims),
                        store.complete(KindName::add_up_to(), &completions)
                    );
                    sent.unwrap();
                    assert_eq!(applied(&completed.unwrap()), claims.len());
                    mine.extend(claims.into_iter().map(|claim| claim.id));
                }
            })
        });
        let mut all = Vec::new();
        for dispatcher in dispatchers.collect::<Vec<_>>() {
            all.extend(dispatcher.await.unwrap());
        }
        assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (2000, 2000));
        assert_eq!(
            count(&database, "works WHERE status = 'done' AND due_at IS NULL").await,
            2000
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn works_with_one_message_id_are_one_work() {
        let (store, _database) = migrated(1).await;
        let mut twice = new_works(1..=1);
        twice.push(NewWork {
            work_code: new_work_code(Origin::Api),
            ..twice[0].clone()
        });
        let created = store.create(&twice).await.unwrap();
        assert_eq!(created[0], created[1]);
        assert_eq!(
            store
                .events(created[0].as_ref().unwrap().id)
                .await
                .unwrap()
                .unwrap()
                .len(),
            1
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_outcome_of_a_work_belongs_to_its_last_generation() {
        let (store, database) = migrated(1).await;
        let works = store.create_all(&new_works(1..=3)).await.unwrap().unwrap();
        let lease = HOLD;
        let outcomes = [Outcome::Done { result: Json::from(1) }, Outcome::running(lease)];
        let claims = store.claim(&[], None, HOLD, 2).await.unwrap();
        let completions = claims.iter().zip(outcomes).map(|(claim, outcome)| Completion {
            message_id: claim.message_id.clone(),
            work_code: claim.work_code.clone(),
            args: Some(claim.args.clone()),
            guard: Guard::Pending(Run::FIRST),
            outcome,
        });
        store
            .complete(KindName::add_up_to(), &completions.collect::<Vec<_>>())
            .await
            .unwrap();
        for work in &works {
            assert_eq!(
                store.delete(&Principal::Open, work.id, None).await.unwrap(),
                Changed::Applied(())
            );
        }
        let told = "SELECT work_id FROM events WHERE variable = 'work/cancelled' AND generation = 1 ORDER BY work_id";
        let told = database.client().await.query(told, &[]).await.unwrap();
        let told: Vec<i64> = told.iter().map(|row| row.get(0)).collect();
        let all: Vec<i64> = works.iter().map(|work| work.id.0).collect();
        assert_eq!(told, all, "of the finished one as of the others");
        assert_eq!(count(&database, "works WHERE status = 'cancelled'").await, 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failure_leaves_a_dead_letter_with_its_reason() {
        let (store, database) = migrated(1).await;
        let mut demand = demands(1);
        demand[0].outcome = Outcome::Failed {
            reason: "never\0again".to_owned(),
        };
        store.complete(KindName::add_up_to(), &demand).await.unwrap();
        let letter = "SELECT reason, attempts, message_id FROM dead_letters JOIN works USING (message_id)
            WHERE dead_letters.work_id = works.id AND dead_letters.generation = works.generation";
        let letter = database.client().await.query_one(letter, &[]).await.unwrap();
        assert_eq!(letter.get::<_, String>(0), "never\u{fffd}again");
        assert_eq!(letter.get::<_, i32>(1), 1);
        assert_eq!(letter.get::<_, String>(2), demand[0].message_id.as_str());
    }
}
