//! A place of one test on the servers of all: a database, two queues, and the programs that use them.

use pp_lib::broker::Queue;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use pp_chaos::ledger::{Account, Ledger};
use pp_lib::broker::queues::QueueNames;
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use pp_testkit::servers::Kind;
use pp_testkit::wait;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

use crate::program::Program;

/// What a test uses alone; it ends with [`Place::leave`].
pub(crate) struct Place {
    pub(crate) ledger: Ledger,
    pub(crate) prefix: String,
    pub(crate) rabbitmq: String,
    name: String,
    postgres: String,
    database: String,
}

impl Place {
    /// An empty database with PP's schema, and names for queues that nobody has.
    pub(crate) async fn new() -> Self {
        Self::with_broker(server(Kind::RabbitMq)).await
    }

    /// The same on a RabbitMQ of its own.
    pub(crate) async fn with_broker(rabbitmq: String) -> Self {
        Self::on(server(Kind::Postgres), rabbitmq).await
    }

    /// The same on servers of its own.
    pub(crate) async fn on(postgres: String, rabbitmq: String) -> Self {
        let name = format!("procs_{:016x}", rand::random::<u64>());
        let database = Ledger::create_database(&postgres, &name).await.unwrap();
        let store = open(&database).await;
        store.migrate(Duration::from_secs(60)).await.unwrap();
        Self {
            ledger: Ledger::connect(&database).await.unwrap(),
            prefix: format!("pp.test.{name}"),
            rabbitmq,
            name,
            postgres,
            database,
        }
    }

    /// The same after its database was away.
    pub(crate) async fn again(self) -> Self {
        let ledger = Ledger::connect(&self.database).await.unwrap();
        Self { ledger, ..self }
    }

    /// Its database, as PP's programs see it.
    pub(crate) async fn store(&self) -> PostgresStore {
        open(&self.database).await
    }

    /// A session of one's own in its database.
    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.database, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Moves its database to another folder of the server's machine, which belongs to the server.
    pub(crate) async fn moved_to(self, folder: &std::path::Path) -> Self {
        let (admin, connection) = tokio_postgres::connect(&self.postgres, NoTls).await.unwrap();
        tokio::spawn(connection);
        let folder = folder.display();
        for statement in [
            format!("CREATE TABLESPACE elsewhere LOCATION '{folder}'"),
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
                self.name
            ),
            format!("ALTER DATABASE {} SET TABLESPACE elsewhere", self.name),
        ] {
            admin.batch_execute(&statement).await.unwrap();
        }
        self.again().await
    }

    /// One of PP's services, in this place and without health pages.
    pub(crate) fn service(&self, name: &str) -> Program {
        Program::new(name)
            .set("PP_DATABASE_URL", &self.database)
            .set("PP_BROKER_URL", &self.rabbitmq)
            .set("PP_QUEUE_PREFIX", &self.prefix)
            .set("PP_PROBE_BIND", "off")
            .set("PP_STARTUP_TIMEOUT", "20s")
    }

    /// The URL of its database.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The names of its queues.
    pub(crate) fn queues(&self) -> QueueNames {
        QueueNames::new(&self.prefix)
    }

    /// Publishes messages to the queue of demands as a client does that knows nothing of PP but the queue's name:
    /// without properties, without a declaration.
    pub(crate) async fn publish_as_a_stranger(&self, bodies: &[Vec<u8>]) {
        let messages = bodies.iter().map(|body| (BasicProperties::default(), body.as_slice()));
        self.publish(&self.queues().get(&Queue::sums()), messages).await;
    }

    /// Publishes messages that say their identity and nothing else.
    pub(crate) async fn publish_with_ids(&self, messages: &[(String, &[u8])]) {
        let with_id = |id: &str| BasicProperties::default().with_message_id(id.into());
        let messages = messages.iter().map(|(id, body)| (with_id(id), *body));
        self.publish(&self.queues().get(&Queue::sums()), messages).await;
    }

    /// Publishes messages to a queue.
    pub(crate) async fn publish(&self, queue: &str, messages: impl Iterator<Item = (BasicProperties, &[u8])>) {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for (properties, body) in messages {
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish("".into(), queue.into(), options, body, properties);
            let confirmed = sent.await.unwrap().await.unwrap();
            assert!(confirmed.is_ack(), "{confirmed:?}");
        }
        connection.close(200, "done".into()).await.unwrap();
    }

    /// How many demands wait in its queue.
    pub(crate) async fn waiting(&self) -> u32 {
        self.waiting_in(&self.queues().get(&Queue::sums())).await.unwrap()
    }

    /// How many messages wait in a queue; `None` if there is no such queue.
    pub(crate) async fn waiting_in(&self, queue: &str) -> Option<u32> {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::durable()
        };
        let declared = channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await;
        let waiting = declared.ok().map(|queue| queue.message_count());
        connection.close(200, "done".into()).await.unwrap();
        waiting
    }

    /// Asserts that so many works are done, each with the history of one computation, and that nothing else is there.
    pub(crate) async fn all_done(&self, works: i64) -> Account {
        let account = self.ledger.account().await.unwrap();
        assert_eq!(
            (account.done, account.unfinished, account.wrong_history, account.orphans),
            (works, 0, 0, 0),
            "{account:?}"
        );
        account
    }

    /// Gives everything back.
    pub(crate) async fn leave(self) {
        let channel = self.connect().await.create_channel().await.unwrap();
        for queue in [self.queues().get(&Queue::sums()), self.queues().get(&Queue::DeadLetter)] {
            let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
            deleted.await.unwrap();
        }
        Ledger::drop_database(&self.postgres, &self.name).await.unwrap();
    }

    async fn connect(&self) -> Connection {
        Connection::connect(&self.rabbitmq, ConnectionProperties::default())
            .await
            .unwrap()
    }
}

async fn open(database: &str) -> PostgresStore {
    let config = PostgresConfig {
        trust: pp_lib::tls::Trust::default(),
        url: database.to_owned(),
        pool: 1,
        timeout: Duration::from_secs(10),
    };
    PostgresStore::open(config).await.unwrap()
}

/// The URL of a server of these tests.
pub(crate) fn server(kind: Kind) -> String {
    let variable = kind.test_variable();
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} names no {kind} server: run these tests with `make test`, which starts one")
    })
}

/// Looks again and again until `condition` holds.
pub(crate) async fn until(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        tokio::time::sleep(wait::PAUSE / 10).await;
    }
}
