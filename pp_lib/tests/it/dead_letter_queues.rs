//! The queues that policies name, on RabbitMQ: made by a user with arguments of his own, or by PP.

mod on_servers {
    use std::sync::Arc;
    use std::time::Duration;

    use lapin::BasicProperties;
    use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
    use lapin::types::{AMQPValue, FieldTable};
    use pp_conformance::store::everything;
    use pp_lib::broker::{AnyBroker, Queue};
    use pp_lib::domain::{DeadLetter, Json, KindName, Principal, Status};
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::kinds::{Policy, Registry};
    use pp_lib::maintenance::{DeadLetterDrainer, DispatchSettings, Dispatcher};
    use pp_lib::runtime::Health;
    use pp_lib::store::{AnyStore, LetterFilter, Selection};
    use pp_lib::worker::{ConsumeSettings, Consumer};
    use tokio::time::{sleep, timeout};
    use tokio_util::sync::CancellationToken;

    use crate::foreign::QueuesOfOneTest;
    use crate::handlers::Sums;

    const LIMIT: Duration = Duration::from_secs(30);
    const SUM: &str = r#"{"add_up_to":2}"#;

    /// A kind whose policy names both queues, with a drainer and a dispatcher.
    struct System {
        queues: QueuesOfOneTest,
        kind: KindName,
        demands: String,
        dead_letters: String,
        store: AnyStore,
        broker: AnyBroker,
        shutdown: CancellationToken,
        _folder: tempfile::TempDir,
    }

    impl System {
        async fn new() -> Self {
            let queues = QueuesOfOneTest::new().await;
            // A prefix of PP is refused.
            let own = queues.names.get(&Queue::sums()).replacen("pp.", "user.", 1);
            let (store, folder) = crate::store::embedded::fresh().await;
            Self {
                kind: "user.mail".parse().unwrap(),
                demands: format!("{own}.mail"),
                dead_letters: format!("{own}.deadletter"),
                store,
                broker: Arc::new(queues.broker().await),
                shutdown: CancellationToken::new(),
                queues,
                _folder: folder,
            }
        }

        /// Declares the kind, and follows its policy.
        async fn start(&self) {
            let (demands, dead_letters) = (&self.demands, &self.dead_letters);
            let policy = format!(r#"{{"policy":{{"queue":"{demands}","dead_letter_queue":"{dead_letters}"}}}}"#);
            self.store
                .declare(&Principal::Open, &self.kind, &Json::accepted(policy))
                .await
                .unwrap()
                .unwrap();
            let registry = Registry::new(self.store.clone(), self.broker.clone());
            registry.refresh().await.unwrap();
            let drainer = DeadLetterDrainer::new(self.store.clone(), self.broker.clone(), 64 << 20);
            let settings = DispatchSettings {
                within: Duration::from_secs(3600),
                poll: Duration::from_millis(50),
                max_lost_leases: 3,
                retain: Duration::MAX,
            };
            let feed = Arc::new(MemoryFeed::new());
            let dispatcher = Dispatcher::new(self.store.clone(), self.broker.clone(), feed, settings);
            let part = || Health::new().part("a part", true);
            tokio::spawn(drainer.run(part(), self.shutdown.clone()));
            tokio::spawn(dispatcher.run(part(), self.shutdown.clone()));
        }

        fn work(&self) {
            let settings = ConsumeSettings {
                prefetch: 10,
                prefetch_bytes: 64 << 20,
                batch_wait: Duration::from_millis(5),
                args_limit: Json::USUAL_LIMIT,
                policy: Policy::DEFAULT,
                grace: Duration::from_secs(5),
            };
            let (store, broker, feed) = (self.store.clone(), self.broker.clone(), Arc::new(MemoryFeed::new()));
            let consumer = Consumer::new(store, broker, feed, self.kind.clone(), Arc::new(Sums), settings);
            let part = Health::new().part("consumer", true);
            tokio::spawn(consumer.run(part, self.shutdown.clone()));
        }

        /// Publishes as a client that knows a queue's name.
        async fn publish(&self, queue: &str, id: &str, expiration: Option<&str>, body: &str) {
            let channel = self.queues.channel().await;
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            let mut properties = BasicProperties::default().with_message_id(id.into());
            if let Some(milliseconds) = expiration {
                properties = properties.with_expiration(milliseconds.into());
            }
            let (options, body) = (BasicPublishOptions::default(), body.as_bytes());
            let publish = async {
                // A new queue may refuse a message until its members have agreed on a leader.
                loop {
                    let sent = channel.basic_publish("".into(), queue.into(), options, body, properties.clone());
                    if sent.await.unwrap().await.unwrap().is_ack() {
                        break;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(LIMIT, publish).await.unwrap();
        }

        async fn letters(&self) -> Vec<DeadLetter> {
            self.store.dead_letters(&LetterFilter::ALL, None, 10).await.unwrap()
        }

        /// The newest letter, once there are this many.
        async fn letter(&self, number: usize) -> DeadLetter {
            let mut letters = Vec::new();
            let come = async {
                while letters.len() != number {
                    sleep(Duration::from_millis(10)).await;
                    letters = self.letters().await;
                }
            };
            timeout(LIMIT, come).await.unwrap();
            letters.remove(0)
        }

        /// Declares a queue as its user likes it.
        async fn declare(&self, queue: &str, arguments: FieldTable) {
            let channel = self.queues.channel().await;
            let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments);
            declared.await.unwrap();
        }

        /// The messages that wait in a queue; `None` if there is no such queue.
        async fn waiting(&self, queue: &str) -> Option<u32> {
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::durable()
            };
            let channel = self.queues.channel().await;
            let declared = channel
                .queue_declare(queue.into(), passive, FieldTable::default())
                .await;
            declared.ok().map(|queue| queue.message_count())
        }

        async fn done(&self) -> usize {
            let works = self.store.search(&everything()).await.unwrap();
            works
                .iter()
                .filter(|work| work.status == Status::Done && work.kind == self.kind)
                .count()
        }

        async fn until(&self, condition: impl AsyncFn() -> bool) {
            let waiting = async {
                while !condition().await {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(LIMIT, waiting).await.unwrap();
        }

        async fn leave(self) {
            self.shutdown.cancel();
            self.queues.delete_queue(&self.demands).await;
            self.queues.delete_queue(&self.dead_letters).await;
            self.queues.delete().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_demand_goes_by_the_named_queue_into_the_table() {
        let system = System::new().await;
        system.start().await;
        system.work();
        // A message that arrives before the consumer has declared the queue would be lost.
        system
            .until(async || system.waiting(&system.demands).await.is_some())
            .await;
        system.publish(&system.demands, "a", None, "{").await;
        system.publish(&system.demands, "b", None, SUM).await;
        let letter = system.letter(1).await;
        assert_eq!(letter.kind, system.kind);
        assert!(letter.reason.starts_with("malformed demand"), "{letter:?}");
        system.until(async || system.done().await == 1).await;
        assert_eq!(system.waiting(&system.dead_letters).await, Some(0));

        // One that says neither its kind nor a reason is of the kind whose queue it is.
        system.publish(&system.dead_letters, "c", None, SUM).await;
        assert_eq!(system.letter(2).await.kind, system.kind);
        assert_eq!(
            system.store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(),
            2
        );
        system.until(async || system.done().await == 2).await;
        assert_eq!(system.letter(1).await.body.as_deref(), Some("{"));
        system.leave().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_that_the_broker_moves_to_the_named_queue_become_letters_too() {
        let system = System::new().await;
        let mut arguments = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(&system.dead_letters));
        system.declare(&system.demands, arguments).await;
        system.declare(&system.dead_letters, FieldTable::default()).await;
        system.start().await;
        system.publish(&system.demands, "late", Some("1"), SUM).await;
        let letter = system.letter(1).await;
        assert_eq!(
            (&letter.kind, letter.message_id.as_deref()),
            (&system.kind, Some("late"))
        );

        // Queues with arguments of their own are used as they are, and a redriven message expires no more.
        system.work();
        system.publish(&system.demands, "bad", None, "{").await;
        let bad = system.letter(2).await;
        assert_eq!(bad.kind, system.kind);
        assert_eq!(
            system
                .store
                .redrive(&Principal::Open, &Selection::Ids(vec![letter.id]))
                .await
                .unwrap(),
            1
        );
        system.until(async || system.done().await == 1).await;
        assert_eq!(system.letter(1).await.id, bad.id);
        system.leave().await;
    }
}
