//! All kinds of calls at once on the same rows of PostgreSQL: the rows stay consistent, and no caller sees a deadlock.

mod on_servers {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use pp_conformance::store::the_counters_are_the_truth;
    use pp_conformance::store::{completion, everything, new_work};
    use pp_lib::domain::{AddUpTo, Json, KindName, MessageId, Origin, Principal, Status, Work, WorkId};
    use pp_lib::store::{
        AnyStore, Changed, Claim, Completed, Completion, DeadLetters as _, DeadMessage, Guard, LetterFilter, NewWork,
        Outcome, RetentionTimes, Selection, WorkChanges as _, WorkRows as _,
    };
    use tokio::task::JoinSet;

    use crate::postgres::Database;

    const HOLD: Duration = Duration::from_secs(30);
    const AT_ONCE: Duration = Duration::ZERO;
    const WORKS: i64 = 40;
    const ROUNDS: usize = 200;
    /// The lost leases allowed per work: few, so that many works exceed them.
    const MAX_LOST: i32 = 2;

    fn bound(number: i64) -> AddUpTo {
        AddUpTo::try_from(number).unwrap()
    }

    fn work(number: i64) -> NewWork {
        new_work(Origin::Api, number)
    }

    fn outcome(claim: &Claim, which: usize) -> Outcome {
        match which % 6 {
            0 | 1 => Outcome::Failed {
                reason: "it does".to_owned(),
            },
            2 => Outcome::Retry {
                reason: "not now".to_owned(),
                delay: AT_ONCE,
            },
            3 | 4 => Outcome::running(AT_ONCE),
            _ => Outcome::Done {
                result: Json::from(AddUpTo::of_args(&claim.args).unwrap().sum()),
            },
        }
    }

    /// Claims works and completes them with every outcome. Running works are completed again, in reverse order.
    async fn work_off(store: AnyStore, worker: usize) {
        for round in 0..ROUNDS {
            let mut claims = store.claim(&[], None, HOLD, 12).await.unwrap();
            let completions = claims.iter().enumerate();
            let first: Vec<Completion> = completions
                .map(|(index, claim)| completion(claim, outcome(claim, index + round + worker)))
                .collect();
            if round % 3 == 0 {
                let (sent, completed) =
                    tokio::join!(store.mark_sent(&claims), store.complete(KindName::add_up_to(), &first));
                sent.and(completed.map(drop)).unwrap();
            } else {
                store.complete(KindName::add_up_to(), &first).await.unwrap();
            }
            claims.reverse();
            let second = claims.iter().map(|claim| Completion {
                guard: Guard::Running(claim.run),
                ..completion(claim, outcome(claim, 5 * (round % 2)))
            });
            store
                .complete(KindName::add_up_to(), &second.collect::<Vec<_>>())
                .await
                .unwrap();
        }
    }

    /// Takes back lost rows, both running and sent ones.
    async fn rescue(store: AnyStore) {
        for round in 0..ROUNDS {
            store.rescue(MAX_LOST, 10).await.unwrap();
            if round % 8 == 0 {
                store.lose_sent(MAX_LOST).await.unwrap();
            }
        }
    }

    /// Redrives dead letters: all of them, or the listed ones.
    async fn redrive(store: AnyStore, operator: usize) {
        for round in 0..ROUNDS {
            let mut ids: Vec<_> = store
                .dead_letters(&LetterFilter::ALL, None, 100)
                .await
                .unwrap()
                .iter()
                .map(|letter| letter.id)
                .collect();
            let which = match (round + operator) % 3 {
                0 => Selection::ALL,
                1 => Selection::Ids(ids),
                _ => {
                    ids.reverse();
                    Selection::Ids(ids)
                }
            };
            store.redrive(&Principal::Open, &which).await.unwrap();
        }
    }

    async fn change(store: AnyStore, ids: Vec<WorkId>, owner: usize) {
        for round in 0..ROUNDS {
            let id = ids[(round * 7 + owner * 13) % ids.len()];
            let version = store.by_ids(&[id]).await.unwrap().pop().map(|work| work.version);
            let number = bound(i64::try_from(round + 1).unwrap());
            store
                .update(
                    &Principal::Open,
                    id,
                    &number.args(),
                    version.filter(|_| round % 2 == 0),
                    AT_ONCE,
                )
                .await
                .unwrap();
        }
    }

    async fn delete(store: AnyStore, ids: Vec<WorkId>) {
        for id in ids {
            for _ in 0..ROUNDS / 20 {
                store.rescue(MAX_LOST, 10).await.unwrap();
            }
            store.delete(&Principal::Open, id, None).await.unwrap();
        }
    }

    /// Stores the same dead messages, redrives them, and deletes the listed ones.
    async fn bury(store: AnyStore, digger: usize) {
        let message = |number: usize| DeadMessage {
            kind: KindName::default(),
            message_id: MessageId::try_from(format!("message {number}")).unwrap(),
            properties: None,
            body: Bytes::from_static(b"{"),
            reason: "no JSON".to_owned(),
        };
        for round in 0..ROUNDS {
            let mut messages: Vec<DeadMessage> = (0..8).map(message).collect();
            if (round + digger).is_multiple_of(2) {
                messages.reverse();
            }
            store.add_dead_letters(&messages).await.unwrap();
            let sent = store.claim_redriven(HOLD, 5).await.unwrap();
            store.end_redriven(&sent).await.unwrap();
            let letters = store.dead_letters(&LetterFilter::ALL, None, 100).await.unwrap();
            let of_messages = letters
                .iter()
                .filter(|letter| letter.work_id.is_none())
                .map(|letter| letter.id);
            store
                .drop_letters(&Principal::Open, &Selection::Ids(of_messages.collect()))
                .await
                .unwrap();
        }
    }

    async fn purge(store: AnyStore) {
        for round in 0..ROUNDS {
            let after = WorkId(i64::try_from(round).unwrap() % WORKS);
            store.purge(after, &RetentionTimes::all(AT_ONCE), 5).await.unwrap();
        }
    }

    /// The invariants that hold between transactions.
    const RULES: [(&str, &str); 8] = [
        (
            "a letter belongs to a work that failed, at the generation that failed",
            "SELECT count(*) FROM dead_letters AS letter
            LEFT JOIN works ON works.id = letter.work_id AND works.generation = letter.generation
                AND works.status = 'failed' AND works.deleted_on IS NULL
            WHERE letter.work_id IS NOT NULL AND works.id IS NULL",
        ),
        (
            "a work that failed has its letter",
            "SELECT count(*) FROM works
            LEFT JOIN dead_letters AS letter ON letter.work_id = works.id AND letter.generation = works.generation
            WHERE works.status = 'failed' AND works.deleted_on IS NULL AND letter.id IS NULL",
        ),
        (
            "every generation was told of",
            "SELECT count(*) FROM works WHERE generation <> 1 + (SELECT count(*) FROM events
                WHERE work_id = works.id AND variable IN ('work/updated', 'work/redriven'))",
        ),
        (
            "the bound is the last one that was told of",
            "SELECT count(*) FROM works WHERE args ->> 'add_up_to' <> (SELECT value FROM events
                WHERE work_id = works.id AND variable IN ('work/created', 'work/updated') ORDER BY id DESC LIMIT 1)",
        ),
        (
            "what began has ended, unless it runs or was cancelled",
            "SELECT count(*) FROM works WHERE status IN ('pending', 'done', 'failed') AND 0 <> (
                SELECT coalesce(sum(CASE variable WHEN 'compute/start' THEN 1
                    WHEN 'compute/stop' THEN -1 WHEN 'compute/error' THEN -1 ELSE 0 END), 0)
                FROM events WHERE work_id = works.id AND events.generation = works.generation)",
        ),
        (
            "a generation has one result at most, and a work that is done has its own",
            "SELECT count(*) FROM works WHERE (status = 'done') <> EXISTS (SELECT FROM events
                WHERE work_id = works.id AND events.generation = works.generation
                    AND variable = 'compute/result' AND value = works.result::text)
            OR EXISTS (SELECT FROM events WHERE work_id = works.id AND variable = 'compute/result'
                GROUP BY generation HAVING count(*) > 1)",
        ),
        (
            "what is deleted is finished and waits for nothing",
            "SELECT count(*) FROM works WHERE deleted_on IS NOT NULL
                AND (status IN ('pending', 'running') OR due_at IS NOT NULL)",
        ),
        (
            "an event has its work",
            "SELECT count(*) FROM events WHERE work_id NOT IN (SELECT id FROM works)",
        ),
    ];

    async fn hold_together(database: &Database) {
        for (rule, breaches) in RULES {
            assert_eq!(database.number(breaches).await, 0, "{rule}");
        }
    }

    /// Completes all remaining works.
    async fn finish(store: &AnyStore) -> Vec<Work> {
        let all = everything();
        loop {
            store.rescue(i32::MAX, 1000).await.unwrap();
            store.lose_sent(i32::MAX).await.unwrap();
            store.redrive(&Principal::Open, &Selection::ALL).await.unwrap();
            let claims = store.claim(&[], None, HOLD, 1000).await.unwrap();
            let completions: Vec<Completion> = claims
                .iter()
                .map(|claim| completion(claim, outcome(claim, 5)))
                .collect();
            let completed = store.complete(KindName::add_up_to(), &completions).await.unwrap();
            assert!(completed.iter().all(|completed| *completed == Completed::Applied));
            let works = store.search(&all).await.unwrap();
            if works.iter().all(Work::done) {
                return works;
            }
        }
    }

    /// Tasks for every kind of call.
    fn crowd(stores: &[AnyStore; 2], ids: &[WorkId]) -> JoinSet<()> {
        let mut crowd = JoinSet::new();
        for (number, store) in stores.iter().enumerate() {
            crowd.spawn(work_off(store.clone(), number));
            crowd.spawn(work_off(store.clone(), number + 3));
            crowd.spawn(rescue(store.clone()));
            crowd.spawn(redrive(store.clone(), number));
            crowd.spawn(redrive(store.clone(), number + 1));
            crowd.spawn(change(store.clone(), ids.to_vec(), number));
            crowd.spawn(bury(store.clone(), number));
        }
        crowd.spawn(delete(stores[0].clone(), ids[..10].to_vec()));
        crowd
    }

    async fn place() -> (Database, [AnyStore; 2], Vec<WorkId>) {
        let database = Database::create().await;
        let stores: [AnyStore; 2] = [Arc::new(database.store(8).await), Arc::new(database.store(8).await)];
        let works: Vec<NewWork> = (1..=WORKS).map(work).collect();
        let created = stores[0].create_all(&works).await.unwrap().unwrap();
        (database, stores, created.iter().map(|work| work.id).collect())
    }

    /// Finished works are purged at once, while other calls keep changing them.
    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_purges_meet_no_deadlock_and_leave_nothing_behind() {
        let (database, stores, ids) = place().await;
        let mut crowd = crowd(&stores, &ids);
        for store in &stores {
            crowd.spawn(purge(store.clone()));
            crowd.spawn(purge(store.clone()));
        }
        while let Some(one) = crowd.join_next().await {
            one.unwrap();
        }
        hold_together(&database).await;
        assert!(database.number("SELECT count(*) FROM works").await < WORKS);
        finish(&stores[0]).await;
        hold_together(&database).await;
        the_counters_are_the_truth(&stores[0]).await;
        drop(stores);
        assert_eq!(database.deadlocks().await, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_calls_on_the_same_rows_meet_no_deadlock_and_keep_them_consistent() {
        let (database, stores, ids) = place().await;
        let mut crowd = crowd(&stores, &ids);
        while let Some(one) = crowd.join_next().await {
            one.unwrap();
        }
        hold_together(&database).await;
        assert!(
            database
                .number("SELECT count(*) FROM events WHERE variable = 'work/redriven'")
                .await
                > 0
        );
        assert!(
            database
                .number("SELECT count(*) FROM events WHERE variable = 'work/updated'")
                .await
                > 0
        );

        let left = finish(&stores[0]).await;
        assert_eq!(left.len(), ids.len() - 10);
        assert!(left.iter().all(
            |work| work.status == Status::Done && work.result == Some(Json::from(work.add_up_to().unwrap().sum()))
        ));
        hold_together(&database).await;
        assert_eq!(
            database
                .number("SELECT count(*) FROM dead_letters WHERE work_id IS NOT NULL")
                .await,
            0
        );
        drop(stores);
        assert_eq!(database.deadlocks().await, 0);
    }

    /// Fails the work in a transaction that stays open until the change waits for it.
    async fn change_while_it_fails<T>(database: &Database, id: WorkId, change: impl Future<Output = T>) -> T {
        let mut client = database.client().await;
        let failing = client.transaction().await.unwrap();
        let fail = "WITH failed AS (
                UPDATE works SET status = 'failed', due_at = NULL, version = version + 1 WHERE id = $1
                RETURNING kind, id, generation, message_id
            )
            INSERT INTO dead_letters (kind, work_id, generation, message_id, reason)
            SELECT kind, id, generation, message_id, 'it does' FROM failed";
        assert_eq!(failing.execute(fail, &[&id.0]).await.unwrap(), 1);
        let commit = async {
            database.until_one_waits().await;
            failing.commit().await.unwrap();
        };
        tokio::join!(change, commit).0
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_that_waits_for_a_failure_removes_its_dead_letter() {
        let database = Database::create().await;
        let store = database.store(2).await;
        let works = store.create_all(&[work(1), work(2)]).await.unwrap().unwrap();
        let three = bound(3).args();
        let update = store.update(&Principal::Open, works[0].id, &three, None, AT_ONCE);
        let updated = change_while_it_fails(&database, works[0].id, update).await.unwrap();
        assert!(
            matches!(updated, Changed::Applied(work) if work.version == 3),
            "after the failure"
        );
        let delete = store.delete(&Principal::Open, works[1].id, None);
        let deleted = change_while_it_fails(&database, works[1].id, delete).await.unwrap();
        assert_eq!(deleted, Changed::Applied(()));
        assert_eq!(store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap(), []);
        hold_together(&database).await;
    }
}
