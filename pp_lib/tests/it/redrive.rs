//! Redriving dead letters on RabbitMQ: messages keep their properties and headers.

mod on_servers {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use crate::handlers::Sums;
    use lapin::BasicProperties;
    use lapin::options::{BasicGetOptions, BasicPublishOptions};
    use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable};
    use pp_conformance::broker::until_ready;
    use pp_lib::broker::{AnyBroker, Queue};
    use pp_lib::domain::{DeadLetter, Json, KindName, Principal};
    use pp_lib::feed::memory::MemoryFeed;
    use pp_lib::kinds::Policy;
    use pp_lib::maintenance::{DeadLetterDrainer, DispatchSettings, Dispatcher};
    use pp_lib::runtime::Health;
    use pp_lib::store::{AnyStore, LetterFilter, Selection};
    use pp_lib::worker::{ConsumeSettings, Consumer};
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;

    use crate::foreign::{QueuesOfOneTest, server_url};

    const DONE_ALREADY: &[u8] = br#"{"add_up_to":2,"done":true}"#;

    /// The parts that store and redrive dead letters, on queues of one test.
    struct System {
        queues: QueuesOfOneTest,
        store: AnyStore,
        broker: AnyBroker,
        _folder: tempfile::TempDir,
    }

    /// A part of the system under way.
    struct Running {
        task: JoinHandle<()>,
        shutdown: CancellationToken,
    }

    impl Running {
        async fn stop(self) {
            self.shutdown.cancel();
            self.task.await.unwrap();
        }
    }

    impl System {
        async fn new() -> Self {
            let queues = QueuesOfOneTest::new().await;
            let broker: AnyBroker = Arc::new(queues.broker().await);
            let (store, _folder) = crate::store::embedded::fresh().await;
            Self {
                queues,
                store,
                broker,
                _folder,
            }
        }

        fn start<F: Future<Output = ()> + Send + 'static>(
            &self,
            part: impl FnOnce(pp_lib::runtime::Part, CancellationToken) -> F,
        ) -> Running {
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(part(Health::new().part("a part", true), shutdown.clone()));
            Running { task, shutdown }
        }

        fn consume(&self) -> Running {
            let settings = ConsumeSettings {
                prefetch: 10,
                prefetch_bytes: 64 << 20,
                batch_wait: Duration::from_millis(5),
                args_limit: Json::USUAL_LIMIT,
                policy: Policy {
                    places: 10,
                    max_attempts: 3,
                    lease: Duration::from_secs(10),
                    timeout: Duration::from_secs(60),
                    ..Policy::DEFAULT
                },
                grace: Duration::from_secs(5),
            };
            let feed = Arc::new(MemoryFeed::new());
            let (store, broker) = (self.store.clone(), self.broker.clone());
            let consumer = Consumer::new(store, broker, feed, KindName::default(), Arc::new(Sums), settings);
            self.start(|part, shutdown| consumer.run(part, shutdown))
        }

        fn drain(&self) -> Running {
            let drainer = DeadLetterDrainer::new(self.store.clone(), self.broker.clone(), 64 << 20);
            self.start(|part, shutdown| drainer.run(part, shutdown))
        }

        /// Turns the message in the demand queue into a dead letter, and redrives it.
        async fn bury_and_redrive(&self) -> DeadLetter {
            let consumer = self.consume();
            let drainer = self.drain();
            let letter = self.letter().await;
            consumer.stop().await;
            self.redrive().await;
            drainer.stop().await;
            letter
        }

        async fn letter(&self) -> DeadLetter {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                if let Some(letter) = self
                    .store
                    .dead_letters(&LetterFilter::ALL, None, 10)
                    .await
                    .unwrap()
                    .pop()
                {
                    return letter;
                }
                assert!(Instant::now() < deadline, "no letter within 30 s");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }

        /// Redrives all letters. On return they are in the demand queue, without a consumer.
        async fn redrive(&self) {
            let sent = self.store.redrive(&Principal::Open, &Selection::ALL).await.unwrap();
            let settings = DispatchSettings {
                within: Duration::from_secs(3600),
                poll: Duration::from_millis(50),
                max_lost_leases: 3,
                retain: Duration::MAX,
            };
            let feed = Arc::new(MemoryFeed::new());
            let dispatcher = Dispatcher::new(self.store.clone(), self.broker.clone(), feed, settings);
            let dispatcher = self.start(|part, shutdown| dispatcher.run(part, shutdown));
            until_ready(&*self.broker, &Queue::sums(), sent).await;
            dispatcher.stop().await;
        }

        /// The message in the demand queue as a client reads it, without the delivery count that the server adds.
        async fn message(&self) -> (BasicProperties, Vec<u8>) {
            let channel = self.queues.channel().await;
            let queue = self.queues.names.get(&Queue::sums()).as_str().into();
            let got = channel
                .basic_get(queue, BasicGetOptions { no_ack: true })
                .await
                .unwrap();
            let message = got.expect("a message in the queue").delivery;
            let mut headers = message.properties.headers().clone().unwrap_or_default().inner().clone();
            headers.remove("x-delivery-count");
            (message.properties.with_headers(headers.into()), message.data)
        }
    }

    fn table(entries: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert(name.into(), value);
        }
        table
    }

    fn every_type() -> FieldTable {
        let array = vec![AMQPValue::LongInt(-1), AMQPValue::LongString("two".into())];
        table([
            ("bool", AMQPValue::Boolean(true)),
            ("i8", AMQPValue::ShortShortInt(-8)),
            ("i16", AMQPValue::ShortInt(-16)),
            ("i32", AMQPValue::LongInt(-32)),
            ("u32", AMQPValue::LongUInt(u32::MAX)),
            ("i64", AMQPValue::LongLongInt(i64::MIN)),
            ("f32", AMQPValue::Float(0.25)),
            ("f64", AMQPValue::Double(f64::MAX)),
            (
                "decimal",
                AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 }),
            ),
            ("text", AMQPValue::LongString("größer".into())),
            ("no text", AMQPValue::LongString(vec![0xff, 0].into())),
            ("array", AMQPValue::FieldArray(FieldArray::from(array))),
            ("moment", AMQPValue::Timestamp(1_634_115_736)),
            (
                "table",
                AMQPValue::FieldTable(table([("in", AMQPValue::LongLongInt(7))])),
            ),
            ("bytes", AMQPValue::ByteArray(vec![1, 2, 0xff].into())),
            ("nothing", AMQPValue::Void),
            ("reason", AMQPValue::LongString("the sender\u{2019}s own".into())),
        ])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redriven_message_keeps_its_properties_and_headers() {
        let system = System::new().await;
        let came = BasicProperties::default()
            .with_content_type("text/x-demand".into())
            .with_content_encoding("identity".into())
            .with_headers(every_type())
            .with_priority(3)
            .with_correlation_id("c".into())
            .with_reply_to("r".into())
            .with_message_id("foreign-1".into())
            .with_timestamp(1_634_115_736)
            .with_type("demand".into())
            .with_app_id("a stranger".into());
        system.queues.publish(came.clone(), DONE_ALREADY).await;
        let letter = system.bury_and_redrive().await;
        assert_eq!(letter.message_id.as_deref(), Some("foreign-1"));
        let (again, body) = system.message().await;
        assert_eq!(body, DONE_ALREADY);
        assert_eq!(again, came.with_delivery_mode(2));
        system.queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redriven_message_drops_expiration_user_and_copy_headers() {
        let system = System::new().await;
        let elsewhere = AMQPValue::FieldArray(vec![AMQPValue::LongString("no.such.queue".into())].into());
        let user: url::Url = server_url().parse().unwrap();
        let mine = [("colour", AMQPValue::LongString("blue".into()))];
        let came = BasicProperties::default()
            .with_message_id("foreign-2".into())
            .with_user_id(user.username().into())
            .with_expiration("600000".into())
            .with_headers(table([("CC", elsewhere), mine[0].clone()]));
        system.queues.publish(came, DONE_ALREADY).await;
        system.bury_and_redrive().await;
        let expected = BasicProperties::default()
            .with_message_id("foreign-2".into())
            .with_headers(table(mine))
            .with_delivery_mode(2);
        assert_eq!(system.message().await.0, expected);
        system.queues.delete().await;
    }

    /// A server policy with a dead-letter exchange does this.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_dead_lettered_by_a_policy_keeps_its_headers() {
        let system = System::new().await;
        let code = [("new_work_code", AMQPValue::LongString("consumer-0123456789".into()))];
        let server = [("x-death", AMQPValue::LongString("of the server".into()))];
        let came = BasicProperties::default()
            .with_message_id("demand-1".into())
            .with_headers(table(code.clone().into_iter().chain(server)));
        let channel = system.queues.channel().await;
        let letters = system.queues.names.get(&Queue::DeadLetter);
        let options = BasicPublishOptions::default();
        channel
            .basic_publish("".into(), letters.as_str().into(), options, br#"{"add_up_to":2}"#, came)
            .await
            .unwrap();
        let drainer = system.drain();
        system.letter().await;
        system.redrive().await;
        drainer.stop().await;
        let (again, _) = system.message().await;
        assert_eq!(again.headers(), &Some(table(code)));
        assert_eq!(
            again.message_id().as_ref().map(ToString::to_string),
            Some("demand-1".into())
        );
        system.queues.delete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_reason_mentions_headers_that_are_too_long() {
        let system = System::new().await;
        let long = table([("long", AMQPValue::LongString("x".repeat(100_000).into()))]);
        let came = BasicProperties::default()
            .with_message_id("foreign-3".into())
            .with_headers(long);
        system.queues.publish(came, DONE_ALREADY).await;
        let letter = system.bury_and_redrive().await;
        assert!(
            letter.reason.contains("bytes of properties are too many to be kept"),
            "{}",
            letter.reason
        );
        assert_eq!(system.message().await.1, DONE_ALREADY);
        system.queues.delete().await;
    }
}
