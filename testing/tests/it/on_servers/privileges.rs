//! Services with the rights of docs/operating.md and no others: data of tables that are there, messages of queues that are
//! there.

use std::time::Duration;

use pp_chaos::ledger::Ledger;
use pp_testkit::ports;
use pp_testkit::servers::{Kind, PrivateServers};
use tokio_postgres::{Client, NoTls};
use url::Url;

use super::place::until;
use crate::page;
use crate::program::{Process, Program};
use pp_testkit::client::Api;

const LIMIT: Duration = Duration::from_secs(60);
const HEADING: &str = "Least privilege";
const PAGE: &str = "docs/operating.md";
/// The page's database is there already, with another owner.
const DATABASE: &str = "pp_least";

/// Servers on which everything was done that the page says.
struct Place {
    servers: PrivateServers,
}

impl Place {
    async fn new() -> Self {
        let servers = PrivateServers::temporary(&[Kind::RabbitMq, Kind::Postgres]).unwrap();
        let place = Self { servers };
        let sql = page::blocks(PAGE, HEADING, "sql");
        let [roles, grants] = sql.as_slice() else {
            panic!("{sql:?}")
        };
        let roles = page::replaced(roles, "DATABASE pp ", &format!("DATABASE {DATABASE} "));
        execute(&place.servers.url(Kind::Postgres).unwrap(), &roles).await;
        execute(&place.database("pp_owner", "owner-secret"), grants).await;
        let mut commands = 0;
        for line in page::blocks(PAGE, HEADING, "").concat().lines() {
            let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
            let ("rabbitmqctl", words) = (words[0], &words[1..]) else {
                panic!("{line}")
            };
            place.servers.rabbitmqctl(words).unwrap();
            commands += 1;
        }
        assert_eq!(commands, 4);
        place
    }

    fn database(&self, user: &str, password: &str) -> String {
        let mut url = self.url(Kind::Postgres, user, password);
        url.set_path(DATABASE);
        url.into()
    }

    fn broker(&self, user: &str, password: &str) -> String {
        self.url(Kind::RabbitMq, user, password).into()
    }

    fn url(&self, kind: Kind, user: &str, password: &str) -> Url {
        let mut url: Url = self.servers.url(kind).unwrap().parse().unwrap();
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
        url
    }

    /// One of the services, with the rights of services.
    fn service(&self, name: &str, port: u16) -> Program {
        Program::new(name)
            .set("PP_DATABASE_URL", self.database("pp_service", "service-secret"))
            .set("PP_BROKER_URL", self.broker("pp_service", "service-secret"))
            .set("PP_STARTUP_TIMEOUT", "20s")
            .answers_at(port)
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Statements one by one: a database is not made in a transaction.
async fn execute(url: &str, statements: &str) {
    let client = connect(url).await;
    for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
        client.batch_execute(statement).await.unwrap();
    }
}

fn is_refused(program: Program, variable: &str, what: &str) {
    let ended = program.run();
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    let line = &ended.stderr;
    assert!(
        line.starts_with(&format!("error: {variable}: ")) && line.contains(what),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_run_with_the_rights_that_the_page_gives_them() {
    let place = Place::new().await;
    let [api_port, worker_port, producer_port] = ports::free().unwrap();

    // Without a schema, with a user who may not make one.
    is_refused(
        place.service("task_consumer", worker_port),
        "PP_DATABASE_URL",
        "run `pp_storage migrate`",
    );
    let migrate = |database: String| {
        Program::new("pp_storage")
            .args("migrate")
            .set("PP_DATABASE_URL", database)
    };
    is_refused(
        migrate(place.database("pp_service", "service-secret")),
        "PP_DATABASE_URL",
        "0001_works",
    );
    let migrated = migrate(place.database("pp_owner", "owner-secret")).run();
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);

    // Without queues, with a user who may not declare them.
    is_refused(
        place.service("task_consumer", worker_port),
        "PP_BROKER_URL",
        "there is no queue pp.work.demand, and this user may not declare it",
    );
    let broker = place.broker("pp_owner", "owner-secret");
    let declared = Program::new("cli_01")
        .args("kind declare user.welcome.email --call-type db")
        .set("PP_DATABASE_URL", place.database("pp_service", "service-secret"))
        .run();
    assert_eq!(declared.code, Some(0), "{}", declared.stderr);
    let owner = place
        .service("task_consumer", worker_port)
        .args("--setup")
        .set("PP_DATABASE_URL", place.database("pp_owner", "owner-secret"))
        .set("PP_BROKER_URL", broker)
        .run();
    assert_eq!(owner.code, Some(0), "{}", owner.stderr);
    assert!(owner.stderr.contains("for 2 kinds"), "{}", owner.stderr);
    let broker = place.servers.url(Kind::RabbitMq).unwrap();
    let connection = lapin::Connection::connect(&broker, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let passive = lapin::options::QueueDeclareOptions {
        passive: true,
        ..lapin::options::QueueDeclareOptions::durable()
    };
    let channel = connection.create_channel().await.unwrap();
    let queue = channel.queue_declare("pp.work.user.welcome.email.demand".into(), passive, Default::default());
    queue.await.unwrap();

    let api = Api::at(api_port);
    let mut service = place.service("pp_backend_api", api_port).start();
    let mut worker = place.service("task_consumer", worker_port).start();
    let mut producer = place
        .service("task_producer", producer_port)
        .set("PP_SCHEDULE", "* * * * * *")
        .start();
    service.gets_ready(&api);
    worker.gets_ready(&Api::at(worker_port));
    producer.gets_ready(&Api::at(producer_port));
    works_of_every_origin_are_done(&place, &api).await;
    given_up_and_run_again(&place, &api).await;
    let rebuilt = Program::new("cli_01")
        .args("stats --call-type db --rebuild")
        .set("PP_DATABASE_URL", place.database("pp_service", "service-secret"))
        .run();
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    for process in [service, worker, producer] {
        stops_without_trouble(process);
    }
}

/// From the API, with and without a row, from the producer; changed and deleted.
async fn works_of_every_origin_are_done(place: &Place, api: &Api) {
    let ledger = Ledger::connect(&place.database("pp_owner", "owner-secret"))
        .await
        .unwrap();
    for number in 1..=20 {
        let work = api.post(&format!(r#"{{"add_up_to":{number}}}"#));
        api.patch(work["id"].as_i64().unwrap(), number + 1);
        api.demand(&format!(r#"{{"add_up_to":{number}}}"#), None);
    }
    api.delete(&api.post("")["id"]);
    // 40 of these, and a few that were produced.
    until("works of every origin are done", LIMIT, async || {
        ledger.done().await.unwrap() >= 43
    })
    .await;
}

/// A message that is no demand becomes a letter, and again after it was sent once more.
async fn given_up_and_run_again(place: &Place, api: &Api) {
    let broker = place.servers.url(Kind::RabbitMq).unwrap();
    let connection = lapin::Connection::connect(&broker, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let sent = channel.basic_publish(
        "".into(),
        "pp.work.demand".into(),
        lapin::options::BasicPublishOptions::default(),
        b"no demand",
        lapin::BasicProperties::default(),
    );
    sent.await.unwrap().await.unwrap();
    let letters = || api.get("/deadletter").as_array().unwrap().clone();
    until("the message is a letter", LIMIT, async || letters().len() == 1).await;
    let first = letters()[0]["id"].clone();
    let redriven = Program::new("cli_01")
        .args("deadletter redrive --all")
        .set("PP_API_URL", format!("http://127.0.0.1:{}", api.port))
        .run();
    assert_eq!(redriven.code, Some(0), "{}", redriven.stderr);
    until("it is a letter again", LIMIT, async || {
        let now = letters();
        now.len() == 1 && now[0]["id"] != first
    })
    .await;
}

fn stops_without_trouble(process: Process) {
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
}
