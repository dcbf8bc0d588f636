//! The flows end to end on the embedded adapters: every demand reaches its outcome, however the computation behaves.

mod embedded {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use pp_lib::broker::memory::Memory;
    use pp_lib::broker::{self, AnyBroker, Outgoing, Prefetch, Queue};
    use pp_lib::domain::{
        AddUpTo, AddUpToSum, Computation, Computing, DeadLetter, DemandedRow, FailingExample, MessageId, Origin, Run,
        Status, Task, Work, WorkId,
    };
    use pp_lib::feed::Feed as _;
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::maintenance::{DispatchSettings, Dispatcher, Drainer};
    use pp_lib::runtime::Health;
    use pp_lib::runtime::{new_message_id, new_work_code};
    use pp_lib::store::sqlite::SqliteStore;
    use pp_lib::store::{AnyStore, Changed, Completion, Guard, NewWork, Outcome, Search, Selection};
    use pp_lib::worker::{ConsumeSettings, Consumer};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;

    struct System {
        store: AnyStore,
        broker: AnyBroker,
        feed: Arc<MemoryFeed>,
        shutdown: CancellationToken,
        tasks: Vec<JoinHandle<()>>,
        folder: tempfile::TempDir,
    }

    const LEASE: Duration = Duration::from_millis(600);
    const MAX_LOST: i32 = 3;

    impl System {
        async fn idle() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("pp.sqlite");
            let store = SqliteStore::open(file.to_str().unwrap(), 2, Duration::from_secs(5)).unwrap();
            store.migrate().await.unwrap();
            Self {
                store: Arc::new(store),
                broker: Arc::new(Memory::default()),
                feed: Arc::new(MemoryFeed::new()),
                shutdown: CancellationToken::new(),
                tasks: Vec::new(),
                folder,
            }
        }

        async fn computing(computation: impl Computation) -> Self {
            let mut system = Self::idle().await;
            system.dispatch();
            system.consume(computation, Duration::from_secs(10));
            system
        }

        fn consume(&mut self, computation: impl Computation, grace: Duration) {
            let part = Health::new().part("consumer", true);
            let consumer = self.consumer(computation, grace);
            self.tasks.push(tokio::spawn(consumer.run(part, self.shutdown.clone())));
        }

        fn consumer(&self, computation: impl Computation, grace: Duration) -> Consumer {
            let settings = ConsumeSettings {
                prefetch: 200,
                prefetch_bytes: 64 << 20,
                batch: 100,
                batch_wait: Duration::from_millis(5),
                max_attempts: 3,
                lease: LEASE,
                work_timeout: Duration::from_secs(60),
                grace,
            };
            Consumer::new(
                self.store.clone(),
                self.broker.clone(),
                self.feed.clone(),
                Arc::new(computation),
                settings,
            )
        }

        fn drain(&mut self) {
            let drainer = Drainer::new(self.store.clone(), self.broker.clone(), 64 << 20);
            let part = Health::new().part("drainer", true);
            self.tasks.push(tokio::spawn(drainer.run(part, self.shutdown.clone())));
        }

        fn dispatch(&mut self) {
            self.dispatch_every(Duration::from_millis(50));
        }

        fn dispatch_every(&mut self, poll: Duration) {
            let settings = DispatchSettings {
                within: Duration::from_secs(3600),
                poll,
                max_lost_leases: MAX_LOST,
                retain: None,
            };
            let dispatcher = Dispatcher::new(self.store.clone(), self.broker.clone(), self.feed.clone(), settings);
            let part = Health::new().part("dispatcher", true);
            self.tasks
                .push(tokio::spawn(dispatcher.run(part, self.shutdown.clone())));
        }

        async fn create(&self, bounds: impl IntoIterator<Item = i64>) -> Vec<WorkId> {
            let works: Vec<NewWork> = bounds.into_iter().map(new_work).collect();
            let created = self.store.create(&works).await.unwrap();
            self.feed.poke();
            created.into_iter().map(|work| work.unwrap().id).collect()
        }

        async fn send(&self, messages: &[Outgoing]) {
            self.broker.publish(messages).await.unwrap();
        }

        /// Waits until all these works are finished.
        async fn finished(&self, ids: &[WorkId]) -> HashMap<WorkId, Work> {
            self.until(|works| {
                let finished = |work: &Work| matches!(work.status, Status::Done | Status::Failed);
                ids.iter().all(|id| works.get(id).is_some_and(finished))
            })
            .await
        }

        async fn until(&self, holds: impl Fn(&HashMap<WorkId, Work>) -> bool) -> HashMap<WorkId, Work> {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let works: HashMap<WorkId, Work> = self.works().await.into_iter().map(|work| (work.id, work)).collect();
                if holds(&works) {
                    return works;
                }
                assert!(Instant::now() < deadline, "not within 30 s, but {works:#?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }

        async fn works(&self) -> Vec<Work> {
            let all = Search {
                work_code: None,
                status: None,
                since: None,
                before: None,
                limit: 1000,
            };
            self.store.search(&all).await.unwrap()
        }

        async fn letters(&self, holds: impl Fn(&[DeadLetter]) -> bool) -> Vec<DeadLetter> {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let letters = self.store.dead_letters(None, 100).await.unwrap();
                if holds(&letters) {
                    return letters;
                }
                assert!(Instant::now() < deadline, "not within 30 s, but {letters:#?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }

        async fn history(&self, id: WorkId) -> Vec<String> {
            let events = self.store.events(id).await.unwrap().unwrap();
            events.into_iter().map(|event| event.variable.to_string()).collect()
        }

        /// Stops everything and returns the folder of the database.
        async fn stop(mut self) -> tempfile::TempDir {
            self.halt().await;
            self.folder
        }

        async fn halt(&mut self) {
            self.shutdown.cancel();
            for task in self.tasks.drain(..) {
                task.await.unwrap();
            }
        }
    }

    fn new_work(bound: i64) -> NewWork {
        NewWork {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Api),
            add_up_to: AddUpTo::try_from(bound).unwrap(),
            run_at: None,
        }
    }

    fn message(message_id: MessageId, row: Option<DemandedRow>, body: &'static [u8]) -> Outgoing {
        Outgoing {
            message_id,
            row,
            new_work_code: None,
            body: Bytes::from_static(body),
        }
    }

    fn sum(work: &Work) -> Option<i64> {
        Some(AddUpToSum::sum(work.add_up_to))
    }

    const DONE: [&str; 4] = ["work/created", "compute/start", "compute/stop", "compute/result"];

    #[tokio::test(flavor = "multi_thread")]
    async fn every_created_work_is_computed_with_its_events_once() {
        let system = System::computing(AddUpToSum).await;
        let ids = system.create(1..=500).await;
        for (id, work) in system.finished(&ids).await {
            assert_eq!((work.status, work.result), (Status::Done, sum(&work)));
            assert_eq!(system.history(id).await, DONE);
        }
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn failures_are_retried_and_given_up_and_their_neighbours_finish() {
        let system = System::computing(FailingExample).await;
        let ids = system.create([4, 13, 17, 19, 100]).await;
        let works = system.finished(&ids).await;
        let told = [
            (4, Status::Done, vec!["start", "stop", "result"]),
            (13, Status::Failed, vec!["start", "error"]),
            (
                17,
                Status::Done,
                vec!["start", "error", "start", "error", "start", "stop", "result"],
            ),
            (
                19,
                Status::Failed,
                vec!["start", "error", "start", "error", "start", "error"],
            ),
            (100, Status::Done, vec!["start", "stop", "result"]),
        ];
        for ((bound, status, events), id) in told.into_iter().zip(ids) {
            let work = &works[&id];
            assert_eq!((work.add_up_to.get(), work.status), (bound, status));
            let history: Vec<String> = system.history(id).await.split_off(1);
            let expected: Vec<String> = events.into_iter().map(|name| format!("compute/{name}")).collect();
            assert_eq!(history, expected, "of {bound}");
        }
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn copies_of_a_demand_without_a_row_become_one_consumer_work() {
        let mut system = System::idle().await;
        let id = new_message_id();
        let other = message(new_message_id(), None, br#"{"add_up_to":3}"#);
        system
            .send(&[message(id.clone(), None, br#"{"add_up_to":2,"done":false}"#), other])
            .await;
        system
            .send(&[message(id.clone(), None, br#"{"add_up_to":2,"done":false}"#)])
            .await;
        system.consume(AddUpToSum, Duration::from_secs(10));
        system
            .until(|works| works.len() == 2 && works.values().all(Work::done))
            .await;
        // Deliver it once more after it is done.
        system
            .send(&[message(id, None, br#"{"add_up_to":2,"done":false}"#)])
            .await;
        let last = message(new_message_id(), None, br#"{"add_up_to":9}"#);
        system.send(&[last]).await;
        let works = system
            .until(|works| works.values().any(|work| work.add_up_to.get() == 9 && work.done()))
            .await;
        assert_eq!(works.len(), 3);
        for (id, work) in works {
            assert_eq!((work.work_code.origin(), work.result), (Origin::Consumer, sum(&work)));
            assert_eq!(
                system.history(id).await,
                ["compute/start", "compute/stop", "compute/result"]
            );
        }
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_undecodable_message_is_a_dead_letter_and_its_neighbours_finish() {
        let mut system = System::idle().await;
        let bodies: [&[u8]; 6] = [
            b"{",
            b"\xff\xfe",
            br#"{"add_up_to":"2"}"#,
            br#"{"add_up_to":0}"#,
            br#"{"add_up_to":2,"done":true}"#,
            b"",
        ];
        for body in bodies {
            system
                .send(&[message(new_message_id(), None, br#"{"add_up_to":2}"#)])
                .await;
            system.send(&[message(new_message_id(), None, body)]).await;
        }
        system.consume(AddUpToSum, Duration::from_secs(10));
        system
            .until(|works| works.len() == 6 && works.values().all(Work::done))
            .await;
        let mut dead = system
            .broker
            .subscribe(Queue::DeadLetter, Prefetch::messages(100))
            .await
            .unwrap();
        let mut letters = Vec::new();
        while letters.len() < bodies.len() {
            letters.extend(dead.next_batch(100, Duration::ZERO).await.unwrap());
        }
        for (letter, body) in letters.iter().zip(bodies) {
            assert_eq!(letter.body, body);
            assert!(!letter.properties.reason.as_deref().unwrap_or_default().is_empty());
        }
        assert_eq!(system.works().await.len(), 6);
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_demand_that_names_a_row_is_computed_with_the_rows_own_bound() {
        let mut system = System::idle().await;
        let ids = system.create([5]).await;
        let work = system.store.by_ids(&ids).await.unwrap().remove(0);
        let forged = DemandedRow {
            work_code: work.work_code.clone(),
            run: Run::FIRST,
            failures: 0,
            lost_leases: 0,
        };
        let unknown = DemandedRow {
            work_code: new_work_code(Origin::Api),
            ..forged.clone()
        };
        // A bound that differs from the row's, and a missing row: both are acknowledged without effect.
        system
            .send(&[message(new_message_id(), Some(unknown), br#"{"add_up_to":7}"#)])
            .await;
        system
            .send(&[message(new_message_id(), Some(forged), br#"{"add_up_to":7}"#)])
            .await;
        system.consume(AddUpToSum, Duration::from_secs(10));
        system.dispatch();
        let works = system.finished(&ids).await;
        assert_eq!((works.len(), works[&ids[0]].result), (1, Some(15)));
        assert_eq!(system.history(ids[0]).await, DONE);
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_demand_with_the_rows_state_wins_over_one_without() {
        let mut system = System::idle().await;
        let ids = system.create([5]).await;
        let first = system.store.claim(None, LEASE, 1).await.unwrap().remove(0);
        let retry = Completion {
            message_id: first.message_id.clone(),
            work_code: first.work_code.clone(),
            add_up_to: first.add_up_to,
            guard: Guard::Pending(Run::FIRST),
            outcome: Outcome::Retry {
                reason: "not now".to_owned(),
                delay: Duration::from_secs(600),
            },
        };
        system.store.complete(&[retry]).await.unwrap();
        let demand = |attempt| {
            let work_code = first.work_code.clone();
            let row = DemandedRow {
                work_code,
                run: Run { generation: 1, attempt },
                failures: attempt - 1,
                lost_leases: 0,
            };
            message(first.message_id.clone(), Some(row), br#"{"add_up_to":5}"#)
        };
        for attempt in [1, 2, 1] {
            system.send(&[demand(attempt)]).await;
        }
        system.consume(AddUpToSum, Duration::from_secs(10));
        assert_eq!(system.finished(&ids).await[&ids[0]].result, Some(15));
        system.stop().await;
    }

    /// Sums up, but a bound of 666 kills the whole worker.
    struct Deadly(Arc<Notify>);

    impl Computation for Deadly {
        fn compute(&self, task: &Task) -> Computing {
            let (deadly, add_up_to) = (task.add_up_to.get() == 666, task.add_up_to);
            let killed = self.0.clone();
            Box::pin(async move {
                if deadly {
                    killed.notify_one();
                    // Blocks the thread until the worker ends: its lanes share it, so they do nothing more.
                    std::thread::sleep(Duration::from_millis(200));
                    std::future::pending::<()>().await;
                }
                Ok(AddUpToSum::sum(add_up_to))
            })
        }
    }

    /// A worker on its own runtime ends like a killed process: nothing of it continues, its messages are redelivered,
    /// and its leases run out.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_demand_that_kills_its_workers_becomes_a_dead_letter_and_its_neighbours_finish() {
        let mut system = System::idle().await;
        let demands: Vec<Outgoing> = (0..300)
            .map(|number| match number {
                150 => message(new_message_id(), None, br#"{"add_up_to":666}"#),
                _ => message(new_message_id(), None, br#"{"add_up_to":100}"#),
            })
            .collect();
        system.send(&demands).await;
        system.dispatch();
        let given_up = |works: &[Work]| {
            works.len() == 300 && works.iter().all(|work| work.done() || work.status == Status::Failed)
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut kills = 0;
        while !given_up(&system.works().await) {
            assert!(
                Instant::now() < deadline,
                "after {kills} kills: {:?}",
                system.works().await.len()
            );
            let worker = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let killed = Arc::new(Notify::new());
            let (consumer, part) = (
                system.consumer(Deadly(killed.clone()), LEASE),
                Health::new().part("consumer", true),
            );
            worker.spawn(consumer.run(part, system.shutdown.clone()));
            let finished = async {
                while !given_up(&system.works().await) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                () = killed.notified() => kills += 1,
                () = finished => {}
            }
            worker.shutdown_background();
        }
        let works = system.works().await;
        let failed: Vec<&Work> = works.iter().filter(|work| work.status == Status::Failed).collect();
        assert_eq!((failed.len(), failed[0].add_up_to.get()), (1, 666));
        // It runs with all others, then in smaller groups, then alone until it has lost too many leases.
        assert!((5..=i64::from(MAX_LOST) + 5).contains(&kills), "{kills} kills");
        let told = system.history(failed[0].id).await;
        assert_eq!(
            told.len() % 2,
            0,
            "each attempt that was told of began and failed: {told:?}"
        );
        for work in works.iter().filter(|work| work.done()) {
            let history = system.history(work.id).await;
            assert_eq!(history, ["compute/start", "compute/stop", "compute/result"]);
        }
        let letters = system.store.dead_letters(None, 10).await.unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!(
            (letters[0].work_id, letters[0].reason.as_str()),
            (Some(failed[0].id), "lease lost")
        );
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redriven_dead_message_returns_if_it_fails_again() {
        let mut system = System::computing(AddUpToSum).await;
        system.drain();
        let id = new_message_id();
        let bad = [
            message(id.clone(), None, b"{"),
            message(new_message_id(), None, br#"{"add_up_to":0}"#),
        ];
        system.send(&bad).await;
        let first = system.letters(|letters| letters.len() == 2).await;
        assert!(first.iter().all(|letter| letter.work_id.is_none() && !letter.redriven));
        assert!(
            first
                .iter()
                .any(|letter| letter.message_id.as_deref() == Some(id.as_str()))
        );

        assert_eq!(system.store.redrive(&Selection::All).await.unwrap(), 2);
        system.feed.poke();
        let newest = first.iter().map(|letter| letter.id).max();
        let second = system
            .letters(|letters| {
                letters.len() == 2
                    && letters
                        .iter()
                        .all(|letter| Some(letter.id) > newest || !letter.redriven)
            })
            .await;
        let ids = |letters: &[DeadLetter]| {
            let mut ids: Vec<_> = letters.iter().map(|letter| letter.message_id.clone()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&first), ids(&second));
        assert_eq!(system.works().await, []);
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redriven_demand_keeps_its_promised_code() {
        let mut system = System::idle().await;
        let promised = new_work_code(Origin::Consumer);
        let demand = Outgoing {
            new_work_code: Some(promised.clone()),
            ..message(new_message_id(), None, br#"{"add_up_to":4}"#)
        };
        system.send(std::slice::from_ref(&demand)).await;
        let mut demands = system
            .broker
            .subscribe(Queue::Demand, Prefetch::messages(1))
            .await
            .unwrap();
        let came = demands.next_batch(1, Duration::ZERO).await.unwrap().remove(0);
        let letter = broker::DeadLetter {
            message_id: demand.message_id.clone(),
            properties: came.properties,
            body: came.body,
            reason: "refused".to_owned(),
        };
        system.broker.dead_letter(&[letter]).await.unwrap();
        demands.acknowledge(&[came.tag]).await.unwrap();
        drop(demands);
        system.drain();
        system.dispatch();
        system.letters(|letters| letters.len() == 1).await;
        system.consume(AddUpToSum, Duration::from_secs(10));
        assert_eq!(system.store.redrive(&Selection::All).await.unwrap(), 1);
        system.feed.poke();
        let works = system.until(|works| works.values().any(Work::done)).await;
        let work = works.into_values().next().unwrap();
        assert_eq!((work.work_code, work.result), (promised, Some(10)));
        system.letters(<[DeadLetter]>::is_empty).await;
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_work_that_is_redriven_runs_again() {
        let mut system = System::computing(FailingExample).await;
        let ids = system.create([13]).await;
        system.finished(&ids).await;
        assert_eq!(system.store.redrive(&Selection::All).await.unwrap(), 1);
        system.feed.poke();
        let again = system.letters(|letters| letters.len() == 1).await;
        assert_eq!(again[0].work_id, Some(ids[0]));
        let attempt = ["compute/start", "compute/error"];
        let told = [&["work/created"][..], &attempt, &["work/redriven"], &attempt].concat();
        assert_eq!(system.history(ids[0]).await, told);

        // A fixed computation succeeds where the old one failed.
        system.halt().await;
        system.shutdown = CancellationToken::new();
        system.dispatch();
        system.consume(AddUpToSum, Duration::from_secs(10));
        assert_eq!(
            system.store.redrive(&Selection::Ids(vec![again[0].id])).await.unwrap(),
            1
        );
        system.feed.poke();
        let works = system.until(|works| works[&ids[0]].done()).await;
        assert_eq!(works[&ids[0]].result, Some(91));
        assert_eq!(system.store.dead_letters(None, 10).await.unwrap(), []);
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn scheduled_works_do_not_wait_for_the_poll() {
        let mut system = System::idle().await;
        system.dispatch_every(Duration::from_secs(600));
        system.consume(AddUpToSum, Duration::from_secs(10));
        let ids = system.create([17]).await;
        system.finished(&ids).await;
        let pause = Duration::from_millis(300);
        let changed = system.store.update(ids[0], AddUpTo::MIN, None, pause).await.unwrap();
        assert!(matches!(changed, Changed::Applied(_)));
        system.feed.poke();
        let works = system.until(|works| works[&ids[0]].done()).await;
        assert_eq!(works[&ids[0]].result, Some(1));
        system.stop().await;
    }

    /// A computation that takes its bound in milliseconds.
    struct Slow;

    impl Computation for Slow {
        fn compute(&self, task: &Task) -> Computing {
            let add_up_to = task.add_up_to;
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(add_up_to.get().unsigned_abs()))).await;
                Ok(AddUpToSum::sum(add_up_to))
            })
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_work_is_running_and_keeps_its_lease() {
        let system = System::computing(Slow).await;
        let long = i64::try_from(LEASE.as_millis()).unwrap() * 3;
        let ids = system.create([1, 2, 3, long]).await;
        let works = system.until(|works| works[&ids[3]].status == Status::Running).await;
        assert_eq!(works[&ids[3]].version, 2);
        for (id, work) in system.finished(&ids).await {
            assert_eq!((work.status, work.result), (Status::Done, sum(&work)));
            assert_eq!(system.history(id).await, DONE, "its lease was never lost");
        }
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_finishes_works_under_way() {
        let system = System::computing(Slow).await;
        let ids = system.create([1000]).await;
        system.until(|works| works[&ids[0]].status == Status::Running).await;
        let (store, folder) = (system.store.clone(), system.stop().await);
        assert!(store.by_ids(&ids).await.unwrap()[0].done());
        drop(folder);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_hands_back_works_that_take_too_long() {
        let mut system = System::idle().await;
        system.consume(Slow, Duration::from_millis(50));
        system.dispatch();
        let ids = system.create([50_000]).await;
        system.until(|works| works[&ids[0]].status == Status::Running).await;
        let begun = Instant::now();
        system.halt().await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        system.shutdown = CancellationToken::new();
        system.dispatch();
        system.consume(AddUpToSum, Duration::from_secs(10));
        let works = system.finished(&ids).await;
        assert_eq!(works[&ids[0]].status, Status::Done);
        let expected = [
            "work/created",
            "compute/start",
            "compute/error",
            "compute/start",
            "compute/stop",
            "compute/result",
        ];
        assert_eq!(system.history(ids[0]).await, expected);
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_work_survives_any_number_of_stops_under_it() {
        const STOPS: usize = 25;
        let mut system = System::idle().await;
        let ids = system.create([50_000]).await;
        for _ in 0..STOPS {
            system.consume(Slow, Duration::from_millis(1));
            system.dispatch();
            system.until(|works| works[&ids[0]].status == Status::Running).await;
            system.halt().await;
            system.shutdown = CancellationToken::new();
            let work = system.store.by_ids(&ids).await.unwrap().remove(0);
            assert_eq!(work.status, Status::Pending, "handed back");
        }
        let claim = system.store.claim(None, Duration::from_millis(1), 1).await;
        let claim = claim.unwrap().remove(0);
        let stops = i32::try_from(STOPS).unwrap();
        assert_eq!(
            (claim.run.attempt, claim.failures, claim.lost_leases),
            (stops + 1, 0, 0)
        );
        system.dispatch();
        system.consume(AddUpToSum, Duration::from_secs(10));
        assert_eq!(system.finished(&ids).await[&ids[0]].status, Status::Done);
        let told = system.history(ids[0]).await;
        let stopped = ["compute/start", "compute/error"].repeat(STOPS);
        assert_eq!(told, [&DONE[..1], &stopped, &DONE[1..]].concat());
        assert_eq!(system.store.dead_letters(None, 10).await.unwrap(), []);
        system.stop().await;
    }

    /// Works recorded as running at the moment of the stop are handed back as well.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_leaves_no_running_row() {
        let mut system = System::idle().await;
        system.dispatch();
        for _ in 0..10 {
            let stop = CancellationToken::new();
            let consumer = system.consumer(Slow, Duration::ZERO);
            let part = Health::new().part("consumer", true);
            let consuming = tokio::spawn(consumer.run(part, stop.clone()));
            system.create(vec![50_000; 20]).await;
            system
                .until(|works| works.values().any(|work| work.status == Status::Running))
                .await;
            stop.cancel();
            consuming.await.unwrap();
            let works = system.works().await;
            assert!(works.iter().all(|work| work.status == Status::Pending), "{works:?}");
        }
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn demands_lost_by_the_broker_are_sent_again_at_start() {
        let mut system = System::idle().await;
        let ids = system.create(1..=20).await;
        let claims = system.store.claim(None, Duration::from_secs(30), 100).await.unwrap();
        system.store.mark_sent(&claims).await.unwrap();
        // The broker has lost the demands, as after the end of its process.
        system.consume(AddUpToSum, Duration::from_secs(10));
        system.dispatch();
        let works = system.finished(&ids).await;
        assert!(works.values().all(Work::done));
        system.stop().await;
    }
}
