//! The distributed system under test: PostgreSQL, RabbitMQ and Redis of its own, an API, a dispatcher and two consumers, each
//! a process with its own ways to the servers. One of the consumers reaches PostgreSQL by way of a connection pooler. How
//! each fault happens to it is in `strikes`.

mod strikes;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Queue as QueueKind};
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use tokio::runtime::Runtime;
use url::Url;

use super::evidence::Evidence;
use super::load::{Database, Load, Queue, Target};
use super::plan::Round;
use super::system::{PACE, READY_LIMIT, Struck, System, are_declared, drain_limit};
use super::tables::Tables;
use super::told::{Told, now};
use super::{asks, calls, handlers, outside};
use crate::ledger::Ledger;
use pp_testkit::client::Api;
use pp_testkit::pooler::Pooler;
use pp_testkit::proxy::Proxy;
use pp_testkit::servers::{Kind, PrivateServers};
use pp_testkit::service::Service;
use pp_testkit::signals::Stop;
use pp_testkit::{ports, wait};

const PREFIX: &str = "pp.chaos";
/// The program with the kinds of a run.
const WORKER: &str = "pp_chaos_worker";
/// Small, so that messages stay in the queue while consumers are frozen, and faults find batches half done.
const WINDOW: &str = "100";
/// A pooler that shares few sessions, and asks a PostgreSQL that was away again soon.
const POOLER: &str = "[pgbouncer]
    listen_addr = 127.0.0.1
    listen_port = 6432
    auth_type = scram-sha-256
    auth_file = /etc/pgbouncer/userlist.txt
    pool_mode = transaction
    default_pool_size = 3
    query_wait_timeout = 4
    server_login_retry = 1
    [databases]
    * = host=127.0.0.1";

/// The form of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With all servers.
    Whole,
    /// Without RabbitMQ: consumers claim works from PostgreSQL.
    WithoutBroker,
}

impl Form {
    /// Its servers.
    pub const fn servers(self) -> &'static [Kind] {
        match self {
            Self::Whole => &Kind::ALL,
            Self::WithoutBroker => &[Kind::Postgres, Kind::Redis],
        }
    }
}

/// A service and its ways to the servers.
struct Part {
    service: Service,
    postgres: Proxy,
    /// None in a system without a broker.
    rabbitmq: Option<Proxy>,
}

/// The system. Everything ends with it.
pub struct Distributed {
    api: Part,
    dispatcher: Part,
    consumers: [Part; 2],
    /// In Python.
    workers: [Service; 2],
    client: Api,
    /// The file of the handlers' calls.
    calls: PathBuf,
    database: String,
    /// The broker's URL, if there is one.
    rabbitmq: Option<String>,
    form: Form,
    _pooler: Pooler,
    servers: PrivateServers,
    runtime: Runtime,
    /// When the fault struck: for most kinds that is when it began to be prepared.
    struck_at: f64,
}

impl Distributed {
    /// Starts servers and services; logs go to `folder`.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub fn start(folder: &Path, form: Form) -> Result<Self> {
        let runtime = Runtime::new()?;
        let servers = PrivateServers::temporary(form.servers())?;
        let postgres = servers.url(Kind::Postgres)?;
        let rabbitmq = match form {
            Form::Whole => Some(servers.url(Kind::RabbitMq)?),
            Form::WithoutBroker => None,
        };
        let database = runtime.block_on(prepare(&postgres))?;
        let [port] = ports::free()?;
        let pooler = Pooler::start(&format!("{POOLER} port={}", port_of(&postgres)?), &postgres)?;
        let pooled = pooler.url(&database)?;
        let direct = ("PP_DATABASE_DIRECT_URL", database.clone());
        let part = |name, program: &str, database: &str, more: &[(&'static str, String)]| {
            let (to_postgres, database) = Proxy::to_url(runtime.handle(), database)?;
            let (to_rabbitmq, broker) = match &rabbitmq {
                Some(url) => {
                    let (proxy, url) = Proxy::to_url(runtime.handle(), url)?;
                    (Some(proxy), url)
                }
                None => (None, "database:".to_owned()),
            };
            let mut variables = vec![
                ("PP_DATABASE_URL", database),
                ("PP_BROKER_URL", broker),
                ("PP_QUEUE_PREFIX", PREFIX.to_owned()),
                ("PP_PROBE_BIND", "off".to_owned()),
            ];
            variables.extend_from_slice(more);
            let mut service = Service::new(name, program, folder, variables)?;
            service.start()?;
            anyhow::Ok(Part {
                service,
                postgres: to_postgres,
                rabbitmq: to_rabbitmq,
            })
        };
        let calls = folder.join("calls");
        let dispatch = |what: &str| ("PP_DISPATCH", what.to_owned());
        let worker = [
            dispatch("off"),
            ("PP_PACE", PACE.to_owned()),
            ("PP_PREFETCH", WINDOW.to_owned()),
            ("PP_BATCH", WINDOW.to_owned()),
            (handlers::CALLS, calls.display().to_string()),
        ];
        let api = [
            ("PP_API_BIND", format!("127.0.0.1:{port}")),
            ("PP_CACHE_URL", servers.url(Kind::Redis)?),
        ];
        let mut system = Self {
            api: part("api", "pp_backend_api", &database, &api)?,
            dispatcher: part("dispatcher", "task_consumer", &database, &[dispatch("only")])?,
            consumers: [
                part("consumer-0", WORKER, &database, &worker)?,
                part("consumer-1", WORKER, &pooled, &[&worker[..], &[direct]].concat())?,
            ],
            workers: outside::start(folder, port, &calls)?,
            _pooler: pooler,
            client: Api::at(port),
            calls,
            database,
            rabbitmq,
            form,
            servers,
            runtime,
            struck_at: now(),
        };
        system.api_is_ready()?;
        Ok(system)
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        [&mut self.api, &mut self.dispatcher]
            .into_iter()
            .chain(&mut self.consumers)
    }

    fn api_is_ready(&mut self) -> Result<()> {
        let client = self.client.clone();
        wait::until_ok("the API is not ready", READY_LIMIT, || {
            self.api.service.ensure_running()?;
            ensure!(client.is_ready(), "its readiness is not 200");
            Ok(())
        })?;
        are_declared(&client)
    }

    /// Messages that wait in all queues.
    async fn ready_messages(&self) -> Result<u64> {
        let Some(rabbitmq) = &self.rabbitmq else { return Ok(0) };
        let broker = RabbitMq::connect(rabbitmq, QueueNames::new(PREFIX), RabbitMqConfig::default()).await?;
        let mut waiting =
            broker.ready_messages(&QueueKind::sums()).await? + broker.ready_messages(&QueueKind::DeadLetter).await?;
        for kind in asks::other_kinds() {
            waiting += broker.ready_messages(&QueueKind::Demand(kind)).await?;
        }
        Ok(waiting)
    }
}

impl System for Distributed {
    fn target(&self, round: &Round) -> Target {
        let queue = self.rabbitmq.as_ref().map(|url| Queue {
            runtime: self.runtime.handle().clone(),
            url: url.clone(),
            prefix: PREFIX.to_owned(),
        });
        // Messages without a row that an operator destroys are gone, and so is what is redriven as a message.
        let spares = !round.fault.destroys_messages();
        Target {
            client: self.client.clone(),
            queue: queue.filter(|_| spares),
            database: Some(Database {
                runtime: self.runtime.handle().clone(),
                url: self.database.clone(),
            }),
            redrives: spares,
            demands: spares,
            limit: drain_limit(round.fault),
        }
    }

    fn strike(&mut self, round: &Round, _load: &Load, stop: &Stop) -> Result<Struck> {
        self.struck_at = now();
        self.happen(round, stop)?;
        Ok(Struck {
            began: self.struck_at,
            over: now(),
            recovered: None,
        })
    }

    fn missing(&mut self, told: &Told) -> Result<Option<String>> {
        self.runtime.block_on(async {
            let missing = Tables::connect(&self.database).await?.missing(told).await?;
            let in_queues = if missing.nothing() {
                self.ready_messages().await?
            } else {
                0
            };
            anyhow::Ok(
                (!missing.nothing() || in_queues > 0).then(|| format!("{missing:?}, {in_queues} messages in queues")),
            )
        })
    }

    fn evidence(&mut self, above: i64) -> Result<Evidence> {
        let reading = async { Tables::connect(&self.database).await?.evidence(above).await };
        Ok(Evidence {
            calls: calls::read(&self.calls)?,
            ..self.runtime.block_on(reading)?
        })
    }

    fn ensure_running(&mut self) -> Result<()> {
        self.parts().try_for_each(|part| part.service.ensure_running())?;
        self.workers.iter_mut().try_for_each(Service::ensure_running)
    }

    fn keep_logs(&self, folder: &Path) {
        for kind in self.form.servers() {
            let _ = fs::copy(self.servers.log(*kind), folder.join(format!("{}.log", kind.name())));
        }
    }
}

fn port_of(url: &str) -> Result<u16> {
    Url::parse(url)?.port().context("a URL without a port")
}

/// A database with PP's schema, whose errors are in German: nothing may be decided by their words.
async fn prepare(postgres: &str) -> Result<String> {
    let url = Ledger::create_database(postgres, "chaos").await?;
    Tables::connect(&url)
        .await?
        .run("ALTER DATABASE chaos SET lc_messages = 'C.UTF-8'")
        .await?;
    let config = PostgresConfig {
        trust: pp_lib::tls::Trust::default(),
        url: url.clone(),
        pool: 1,
        timeout: Duration::from_secs(10),
    };
    PostgresStore::open(config)
        .await?
        .migrate(Duration::from_secs(60))
        .await?;
    Ok(url)
}
