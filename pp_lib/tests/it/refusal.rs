//! Refusals by PostgreSQL. While it refuses all rows, the database counts as unwell, and no single work as refused. A
//! row that it refuses while it accepts others is refused permanently. The server's messages are German.

mod on_servers {
    use std::time::Duration;

    use pp_conformance::store::{new_work, without_row};
    use pp_lib::domain::{AddUpTo, Json, KindName, Origin, Principal, Run};
    use pp_lib::store::postgres::PostgresStore;
    use pp_lib::store::{
        Completed, Completion, Completions as _, DispatchRows as _, Guard, NewWork, Outcome, Result, Store as _,
        StoreError, WorkChanges as _, WorkRows as _,
    };

    use crate::postgres::{Database, TIMEOUT};

    fn work(bound: i64) -> NewWork {
        new_work(Origin::Api, bound)
    }

    /// The completion of an existing work.
    fn end(work: &NewWork, outcome: Outcome) -> Completion {
        Completion {
            message_id: work.message_id.clone(),
            work_code: work.work_code.clone(),
            args: Some(work.args.clone()),
            guard: Guard::Pending(Run::FIRST),
            outcome,
        }
    }

    fn outcomes() -> [Outcome; 4] {
        let reason = || "why".to_owned();
        let second = Duration::from_secs(1);
        [
            Outcome::Done { result: Json::from(1) },
            Outcome::running(second),
            Outcome::Retry {
                reason: reason(),
                delay: second,
            },
            Outcome::Failed { reason: reason() },
        ]
    }

    fn raise(table: &str, when: &str) -> String {
        format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'heute nicht'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW {when} EXECUTE FUNCTION refuse()"
        )
    }

    const UNDO_RAISE: &str = "DROP FUNCTION refuse() CASCADE";

    struct Rig {
        database: Database,
        store: PostgresStore,
    }

    impl Rig {
        async fn new() -> Self {
            let database = Database::create().await;
            database
                .run(
                    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lc_messages = ''C.UTF-8''', current_database());
                    END $$",
                )
                .await;
            let store = database.store(4).await;
            Self { database, store }
        }

        /// Asserts that no call is `Rejected` after `change`, and that all succeed after `undo`.
        async fn unwell(&self, change: &str, undo: &str) {
            let works: Vec<NewWork> = (1..=outcomes().len()).map(|_| work(5)).collect();
            let created = self.store.create(&works).await.unwrap();
            let other = created[0].as_ref().unwrap().id;
            let mut completions: Vec<Completion> =
                outcomes().into_iter().map(|outcome| without_row(7, outcome)).collect();
            completions.extend(works.iter().zip(outcomes()).map(|(work, outcome)| end(work, outcome)));
            self.database.run(change).await;
            let new = [work(3), work(4)];
            let mut refused = 0;
            let mut count = |what: &str, outcome: Result<()>| match outcome {
                Ok(()) => {}
                Err(StoreError::Unwell(_) | StoreError::Unavailable(_)) => refused += 1,
                Err(error) => panic!("{change}: {what}: {error:?}"),
            };
            for completion in &completions {
                let completed = self
                    .store
                    .complete(KindName::add_up_to(), std::slice::from_ref(completion))
                    .await;
                count("complete", completed.map(drop));
            }
            // A batch may be refused as a whole: its caller splits it, and most of it may be accepted.
            match self.store.complete(KindName::add_up_to(), &completions).await {
                Err(StoreError::Rejected(_)) => {}
                completed => count("complete", completed.map(drop)),
            }
            count("create", self.store.create(&new).await.map(drop));
            count("create all", self.store.create_all(&new).await.map(drop));
            let five = AddUpTo::try_from(5).unwrap();
            let updated = self
                .store
                .update(&Principal::Open, other, &five.args(), None, Duration::ZERO)
                .await;
            count("update", updated.map(drop));
            count("claim", self.store.claim(&[], None, TIMEOUT, 10).await.map(drop));
            count("check", self.store.check().await);
            assert!(refused > 0, "{change}: it is as well as before");
            let write = self.store.check_writes().await;
            assert!(
                matches!(write, Err(StoreError::Unwell(_))),
                "{change}: readiness does not see it: {write:?}"
            );
            self.database.run(undo).await;
            self.store.check_writes().await.unwrap();
            self.store.complete(KindName::add_up_to(), &completions).await.unwrap();
            self.store.create(&new).await.unwrap();
            let letters = self.database.number("SELECT count(*) FROM dead_letters").await;
            assert_eq!(letters, 2, "those that failed, and no trial's");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_missing_table_refuses_no_work() {
        let rig = Rig::new().await;
        rig.unwell("ALTER TABLE works RENAME TO away", "ALTER TABLE away RENAME TO works")
            .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_renamed_column_refuses_no_work() {
        let rig = Rig::new().await;
        let rename = "ALTER TABLE events RENAME COLUMN value TO what";
        rig.unwell(rename, "ALTER TABLE events RENAME COLUMN what TO value")
            .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_raising_trigger_refuses_no_work() {
        for table in ["works", "events", "stat_deltas", "dead_letters"] {
            let rig = Rig::new().await;
            rig.unwell(&raise(table, ""), UNDO_RAISE).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_constraint_that_every_row_violates_refuses_no_work() {
        let rig = Rig::new().await;
        let never = "ALTER TABLE works ADD CONSTRAINT never CHECK (false) NOT VALID";
        rig.unwell(never, "ALTER TABLE works DROP CONSTRAINT never").await;
        let rig = Rig::new().await;
        let needed = "ALTER TABLE events ADD COLUMN needed integer;
            ALTER TABLE events ADD CONSTRAINT needed CHECK (needed IS NOT NULL) NOT VALID";
        rig.unwell(needed, "ALTER TABLE events DROP COLUMN needed").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failing_commit_refuses_no_work() {
        let rig = Rig::new().await;
        let late = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'am Ende doch nicht'; END $$;
            CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON works DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION refuse()";
        rig.unwell(late, UNDO_RAISE).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_single_refused_row_is_refused_permanently() {
        for change in [
            "ALTER TABLE works ADD CONSTRAINT unlucky CHECK (args ->> 'add_up_to' <> '13')",
            &raise("works", "WHEN (NEW.args ->> 'add_up_to' = '13')"),
        ] {
            let rig = Rig::new().await;
            rig.database.run(change).await;
            let (wrong, right) = (
                without_row(13, Outcome::Done { result: Json::from(91) }),
                without_row(12, Outcome::Done { result: Json::from(78) }),
            );
            for refused in [vec![wrong.clone()], vec![wrong, right.clone()]] {
                let completed = rig.store.complete(KindName::add_up_to(), &refused).await;
                assert!(
                    matches!(completed, Err(StoreError::Rejected(_))),
                    "{change}: {completed:?}"
                );
            }
            assert_eq!(
                rig.store.complete(KindName::add_up_to(), &[right]).await.unwrap(),
                [Completed::Applied]
            );
            for refused in [vec![work(13)], vec![work(12), work(13)]] {
                let created = rig.store.create(&refused).await;
                assert!(matches!(created, Err(StoreError::Rejected(_))), "{change}: {created:?}");
                let created = rig.store.create_all(&refused).await;
                assert!(matches!(created, Err(StoreError::Rejected(_))), "{change}: {created:?}");
            }
            rig.store.check_writes().await.unwrap();
            assert_eq!(rig.database.number("SELECT count(*) FROM works").await, 1);
            assert_eq!(rig.database.number("SELECT count(*) FROM events").await, 3);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn checking_writes_uses_up_no_ids() {
        let rig = Rig::new().await;
        for _ in 0..5 {
            rig.store.check_writes().await.unwrap();
        }
        let created = rig.store.create(&[work(1)]).await.unwrap();
        assert_eq!(created[0].as_ref().unwrap().id.0, 1);
        assert_eq!(rig.database.number("SELECT id FROM events").await, 1);
        for table in ["works", "stat_deltas"] {
            let rows = rig.database.number(&format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(rows, 1, "{table}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn refusals_reveal_a_newer_schema() {
        let rig = Rig::new().await;
        let newer = "INSERT INTO __diesel_schema_migrations VALUES ('9999');
            ALTER TABLE works RENAME COLUMN result TO outcome";
        rig.database.run(newer).await;
        let outdated = |error: StoreError| matches!(error, StoreError::Outdated(_));
        let completion = without_row(3, Outcome::Done { result: Json::from(6) });
        assert!(outdated(
            rig.store
                .complete(KindName::add_up_to(), &[completion])
                .await
                .unwrap_err()
        ));
        assert!(outdated(rig.store.create(&[work(3)]).await.unwrap_err()));
        assert!(outdated(rig.store.by_ids(&[]).await.unwrap_err()));
        assert!(outdated(rig.store.check().await.unwrap_err()));
    }
}
