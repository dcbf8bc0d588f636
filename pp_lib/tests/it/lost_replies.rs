//! Statements that PostgreSQL executed but whose replies were lost: the store repeats them without a second effect.

mod on_servers {
    use std::time::Duration;

    use bytes::Bytes;
    use pp_conformance::store::new_works;
    use pp_lib::domain::{AddUpTo, Json, KindName, MessageId, Origin, Principal, Run, Status, Variable, Work, WorkId};
    use pp_lib::runtime::{new_message_id, new_work_code};
    use pp_lib::store::postgres::PostgresStore;
    use pp_lib::store::{
        Answer, Answered, Begin, Begun, Changed, Completed, Completion, Completions as _, DeadLetters as _,
        DeadMessage, DispatchRows as _, EventLog as _, Guard, IdempotencyKeys as _, LetterFilter, Outcome, RequestKey,
        RunningAttempt, Selection, Store as _, WorkChanges as _, WorkRows as _,
    };
    use pp_testkit::proxy::Proxy;
    use tokio::runtime::Handle;

    use crate::postgres::{Database, TIMEOUT};

    /// How PostgreSQL ends its reply to what is committed: ready for a query, and in no transaction.
    const READY: &[u8] = b"Z\0\0\0\x05I";
    const HOLD: Duration = Duration::from_secs(30);
    const AT_ONCE: Duration = Duration::ZERO;

    /// A store behind the proxy, on an open connection.
    struct Lossy {
        store: PostgresStore,
        proxy: Proxy,
        database: Database,
    }

    impl Lossy {
        async fn new() -> Self {
            let database = Database::create().await;
            drop(database.store(1).await);
            let (proxy, url) = Proxy::to_url(&Handle::current(), &database.url).unwrap();
            let store = database.store_by(&url, 1, TIMEOUT).await;
            store.check().await.unwrap();
            Self { store, proxy, database }
        }

        /// Makes a call and loses the reply to its request that contains these bytes.
        async fn losing<T>(&self, words: impl Into<Vec<u8>>, call: impl Future<Output = T>) -> T {
            let before = self.proxy.lost();
            self.proxy.lose_reply_to(words, READY);
            let answer = call.await;
            assert_eq!(self.proxy.lost(), before + 1, "the reply was not lost");
            answer
        }

        async fn count(&self, of: &str) -> i64 {
            self.database.number(&format!("SELECT count(*) FROM {of}")).await
        }

        async fn created(&self, count: i64) -> Vec<Work> {
            let created = self.store.create_all(&new_works(1..=count)).await.unwrap().unwrap();
            created.into_iter().map(|created| created.work).collect()
        }

        async fn history(&self, id: WorkId) -> Vec<Variable> {
            let events = self.store.events(id).await.unwrap().unwrap();
            events.into_iter().map(|event| event.variable).collect()
        }

        async fn work(&self, id: WorkId) -> Work {
            self.store.by_ids(&[id]).await.unwrap().remove(0)
        }
    }

    fn bound(number: i64) -> AddUpTo {
        AddUpTo::try_from(number).unwrap()
    }

    fn demand(guard: Guard, outcome: Outcome) -> Completion {
        Completion {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Consumer),
            args: Some(bound(1).args()),
            guard,
            outcome,
        }
    }

    const FIRST: Guard = Guard::Pending(Run::FIRST);

    fn failed() -> Outcome {
        Outcome::Failed {
            reason: "it does".to_owned(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn works_are_created_once() {
        let lossy = Lossy::new().await;
        let new = new_works(1..=3);
        let created = lossy
            .losing(new[2].message_id.as_str(), lossy.store.create(&new))
            .await
            .unwrap();
        assert!(created.iter().all(Option::is_some));
        let more = new_works(1..=4);
        let all = lossy
            .losing(*b"COMMIT", lossy.store.create_all(&more))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!((lossy.count("works").await, lossy.count("events").await), (7, 7));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn outcomes_are_recorded_once() {
        let lossy = Lossy::new().await;
        lossy.created(2).await;
        let claims = lossy.store.claim(&[], None, HOLD, 10).await.unwrap();
        for (guard, outcome) in [
            (Guard::NoRow, Outcome::Done { result: Json::from(1) }),
            (Guard::NoRow, failed()),
            (FIRST, Outcome::Done { result: Json::from(1) }),
            (FIRST, failed()),
        ] {
            let mut batch = [demand(guard, outcome.clone())];
            if guard == FIRST {
                let done = matches!(outcome, Outcome::Done { .. });
                let claim = &claims[usize::from(!done)];
                batch[0].message_id = claim.message_id.clone();
                batch[0].args = Some(claim.args.clone());
            }
            let words = batch[0].message_id.as_str().to_owned();
            let completed = lossy
                .losing(words, lossy.store.complete(KindName::add_up_to(), &batch))
                .await
                .unwrap();
            assert_eq!(
                completed,
                [Completed::Superseded],
                "finished, and nothing is left to do"
            );
        }
        assert_eq!(lossy.count("works WHERE status = 'done'").await, 2);
        assert_eq!(lossy.count("works WHERE status = 'failed'").await, 2);
        assert_eq!(lossy.count("events WHERE variable = 'compute/start'").await, 4);
        assert_eq!(lossy.count("events WHERE variable = 'compute/result'").await, 2);
        assert_eq!(lossy.count("dead_letters").await, 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_attempt_that_began_a_work_learns_that_it_is_running() {
        let lossy = Lossy::new().await;
        let ids: Vec<WorkId> = lossy.created(1).await.iter().map(|work| work.id).collect();
        let claim = lossy.store.claim(&[], None, HOLD, 1).await.unwrap().remove(0);
        let lease = Outcome::running(HOLD);
        let with_row = Completion {
            message_id: claim.message_id.clone(),
            work_code: claim.work_code,
            ..demand(FIRST, lease.clone())
        };
        let gone = demand(FIRST, lease.clone());
        let batch = [
            demand(Guard::NoRow, lease),
            with_row,
            demand(Guard::NoRow, failed()),
            gone,
        ];
        let completed = lossy
            .losing(
                batch[2].message_id.as_str(),
                lossy.store.complete(KindName::add_up_to(), &batch),
            )
            .await
            .unwrap();
        let started = || Completed::Started(bound(1).args());
        let superseded = Completed::Superseded;
        assert_eq!(completed, [started(), started(), superseded.clone(), superseded]);
        assert_eq!(
            lossy.history(ids[0]).await,
            [Variable::WorkCreated, Variable::ComputeStart]
        );
        assert_eq!(lossy.count("events WHERE variable = 'compute/start'").await, 3);
        let run = |completion: &Completion| RunningAttempt {
            message_id: completion.message_id.clone(),
            run: Run::FIRST,
        };
        let runs = [run(&batch[0]), run(&batch[1])];
        assert_eq!(
            lossy
                .store
                .extend_leases(KindName::add_up_to(), &runs, HOLD)
                .await
                .unwrap(),
            [true, true]
        );
        // A second call knows its claims too, and another claim is superseded.
        let again = lossy.store.complete(KindName::add_up_to(), &batch[..2]).await.unwrap();
        assert_eq!(again, [started(), started()]);
        let others = [demand(Guard::NoRow, Outcome::running(HOLD)), batch[1].clone()].map(|one| Completion {
            outcome: Outcome::running(HOLD),
            ..one
        });
        let [other, second] = others;
        let other = Completion {
            message_id: batch[0].message_id.clone(),
            ..other
        };
        let completed = lossy
            .store
            .complete(KindName::add_up_to(), &[other, second])
            .await
            .unwrap();
        assert_eq!(completed, [Completed::Superseded, Completed::Superseded]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn dead_letters_are_kept_and_run_again_once() {
        let lossy = Lossy::new().await;
        let batch = [demand(Guard::NoRow, failed())];
        lossy.store.complete(KindName::add_up_to(), &batch).await.unwrap();
        let message = DeadMessage {
            kind: KindName::default(),
            message_id: MessageId::try_from("a message".to_owned()).unwrap(),
            properties: None,
            body: Bytes::from_static(b"{"),
            reason: "no JSON".to_owned(),
        };
        lossy
            .losing(*b"a message", lossy.store.add_dead_letters(&[message]))
            .await
            .unwrap();
        let letters = lossy.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap();
        assert_eq!(letters.len(), 2);
        for letter in &letters {
            let which = Selection::Ids(vec![letter.id]);
            let count = lossy
                .losing(*b"COMMIT", lossy.store.redrive(&Principal::Open, &which))
                .await
                .unwrap();
            assert_eq!(count, 0, "the call that counted it was not heard of");
        }
        let audited = lossy.count("audit WHERE action = 'deadletter.redrive'").await;
        assert_eq!(audited, 2, "each redrive is told once");
        let work = lossy.work(letters[1].work_id.unwrap()).await;
        assert_eq!((work.status, work.version), (Status::Pending, 2));
        let told = [Variable::ComputeStart, Variable::ComputeError, Variable::WorkRedriven];
        assert_eq!(lossy.history(work.id).await, told);
        assert_eq!(
            lossy.store.claim(&[], None, HOLD, 10).await.unwrap()[0].run.generation,
            2
        );
        assert_eq!(lossy.store.claim_redriven(HOLD, 10).await.unwrap().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_begins_and_is_answered_once() {
        let lossy = Lossy::new().await;
        let key = RequestKey {
            scope: "POST /work nobody".to_owned(),
            key: "a key".to_owned(),
        };
        let request = |seed: &str| Begin {
            key: key.clone(),
            fingerprint: vec![1],
            seed: seed.to_owned(),
        };
        let begin = async |seed| lossy.store.begin(&[request(seed)], HOLD, HOLD).await.unwrap().remove(0);
        let seed = "the first".to_owned();
        assert_eq!(
            lossy.losing(seed.as_str(), begin("the first")).await,
            Begun::Mine { seed: seed.clone() }
        );
        assert_eq!(begin("another").await, Begun::InFlight);
        let answer = Answer {
            status: 200,
            headers: vec![("etag".to_owned(), "\"1\"".to_owned())],
            body: Bytes::from_static(b"{\"id\":1}"),
        };
        let answered = Answered {
            key: key.clone(),
            seed,
            answer: answer.clone(),
        };
        let kept = lossy
            .losing(*b"{\"id\":1}", lossy.store.keep_answers(&[answered]))
            .await
            .unwrap();
        assert_eq!(kept, [Some(answer.clone())]);
        assert_eq!(begin("another").await, Begun::Answered(answer));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_work_is_changed_once_at_the_given_version() {
        let lossy = Lossy::new().await;
        let works = lossy.created(2).await;
        for (work, version) in [(&works[0], None), (&works[1], Some(1))] {
            let nine = bound(9).args();
            let update = lossy.store.update(&Principal::Open, work.id, &nine, version, AT_ONCE);
            let Changed::Applied(updated) = lossy.losing(*b"COMMIT", update).await.unwrap() else {
                panic!("it was at version 1");
            };
            assert_eq!((updated.version, updated.add_up_to().unwrap()), (2, bound(9)));
            assert_eq!(
                lossy.history(work.id).await,
                [Variable::WorkCreated, Variable::WorkUpdated]
            );
            // The same call once more is another change.
            let again = lossy
                .store
                .update(&Principal::Open, work.id, &bound(9).args(), version, AT_ONCE)
                .await
                .unwrap();
            assert_eq!(again == Changed::OtherVersion, version.is_some());
        }
        let claims = lossy.store.claim(&[], None, HOLD, 10).await.unwrap();
        let generations: Vec<i32> = claims.iter().map(|claim| claim.run.generation).collect();
        assert_eq!(generations.iter().sum::<i32>(), 3 + 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_work_is_cancelled_and_restarted_once_and_its_caller_learns_it() {
        let lossy = Lossy::new().await;
        let works = lossy.created(2).await;
        for (work, versions) in [(&works[0], [None; 2]), (&works[1], [Some(1), Some(2)])] {
            let cancel = lossy.store.cancel(&Principal::Open, work.id, versions[0]);
            let Changed::Applied(cancelled) = lossy.losing(*b"COMMIT", cancel).await.unwrap() else {
                panic!("it was pending");
            };
            assert_eq!((cancelled.status, cancelled.version), (Status::Cancelled, 2));
            // The same call once more is another change.
            let again = lossy.store.cancel(&Principal::Open, work.id, None).await.unwrap();
            assert_eq!(again, Changed::WrongStatus(Status::Cancelled));
            let retry = lossy.store.retry(&Principal::Open, work.id, versions[1]);
            let Changed::Applied(retried) = lossy.losing(*b"COMMIT", retry).await.unwrap() else {
                panic!("it was cancelled");
            };
            assert_eq!((retried.status, retried.version), (Status::Pending, 3));
            let again = lossy.store.retry(&Principal::Open, work.id, None).await.unwrap();
            assert_eq!(again, Changed::WrongStatus(Status::Pending));
            assert_eq!(
                lossy.history(work.id).await,
                [Variable::WorkCreated, Variable::WorkCancelled, Variable::WorkRedriven]
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_work_is_deleted_once_and_its_caller_learns_it() {
        let lossy = Lossy::new().await;
        let works = lossy.created(2).await;
        for (work, version) in [(&works[0], None), (&works[1], Some(1))] {
            let delete = lossy.store.delete(&Principal::Open, work.id, version);
            assert_eq!(lossy.losing(*b"COMMIT", delete).await.unwrap(), Changed::Applied(()));
            assert_eq!(
                lossy.store.delete(&Principal::Open, work.id, version).await.unwrap(),
                Changed::Missing
            );
        }
        assert_eq!(lossy.count("works WHERE status = 'cancelled' AND version = 2").await, 2);
        assert_eq!(lossy.count("events WHERE variable = 'work/cancelled'").await, 2);
    }
}
