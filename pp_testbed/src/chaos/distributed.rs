//! The distributed system under test: PostgreSQL and RabbitMQ of its own, an API, a dispatcher and two consumers, each
//! a process with its own ways to the servers; and how each fault happens to it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Queue as QueueKind};
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use tokio::runtime::Runtime;

use super::client::Client;
use super::evidence::Evidence;
use super::fault::Fault;
use super::load::{Load, Queue, Target};
use super::plan::Round;
use super::proxy::{Flow, Proxy};
use super::queues;
use super::service::Service;
use super::system::{Stop, Struck, System};
use super::tables::Tables;
use super::told::{Told, now};
use crate::ledger::Ledger;
use crate::servers::{Kind, PrivateServers};
use crate::{ports, wait};

const SERVERS: [Kind; 2] = [Kind::RabbitMq, Kind::Postgres];
const PREFIX: &str = "pp.chaos";
/// A bound of 4,000 takes 8 ms, one of a million 2 s, and the largest is refused, since it would take longer than an hour.
pub(super) const PACE: &str = "2us";
/// Small, so that messages stay in the queue while consumers are frozen, and faults find batches half done.
const WINDOW: &str = "100";
/// What each way takes to a server that is slow.
const SLOW: Duration = Duration::from_millis(100);
/// How long a service may take until it is ready.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long all that was acknowledged may take to be finished after a fault.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(90);
/// The sweep finds what was sent more than a minute ago, once a minute.
const SWEEP_LIMIT: Duration = Duration::from_secs(150);

/// How long all that was acknowledged in a round may take.
pub(super) fn drain_limit(fault: Fault) -> Duration {
    if fault.destroys_messages() {
        SWEEP_LIMIT
    } else {
        DRAIN_LIMIT
    }
}

/// A service and its ways to the servers.
struct Part {
    service: Service,
    postgres: Proxy,
    rabbitmq: Proxy,
}

/// The system. Everything ends with it.
pub struct Distributed {
    api: Part,
    dispatcher: Part,
    consumers: [Part; 2],
    client: Client,
    database: String,
    rabbitmq: String,
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
    pub fn start(folder: &Path) -> Result<Self> {
        let runtime = Runtime::new()?;
        let servers = PrivateServers::temporary(&SERVERS)?;
        let (postgres, rabbitmq) = (servers.url(Kind::Postgres)?, servers.url(Kind::RabbitMq)?);
        let database = runtime.block_on(prepare(&postgres))?;
        let [port] = ports::free()?;
        let part = |name, program: &str, more: &[(&'static str, String)]| {
            let (to_postgres, database) = Proxy::to_url(runtime.handle(), &database)?;
            let (to_rabbitmq, broker) = Proxy::to_url(runtime.handle(), &rabbitmq)?;
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
        let dispatch = |what: &str| ("PP_DISPATCH", what.to_owned());
        let worker = [
            dispatch("off"),
            ("PP_PACE", PACE.to_owned()),
            ("PP_PREFETCH", WINDOW.to_owned()),
            ("PP_BATCH", WINDOW.to_owned()),
        ];
        let mut system = Self {
            api: part("api", "pp_backend_api", &[("PP_API_BIND", format!("127.0.0.1:{port}"))])?,
            dispatcher: part("dispatcher", "task_consumer", &[dispatch("only")])?,
            consumers: [
                part("consumer-0", "task_consumer", &worker)?,
                part("consumer-1", "task_consumer", &worker)?,
            ],
            client: Client::at(port),
            database,
            rabbitmq,
            servers,
            runtime,
            struck_at: now(),
        };
        system.api_is_ready()?;
        Ok(system)
    }

    /// The database, to look at it, or to tamper with it in a test of the checks.
    pub fn database(&self) -> &str {
        &self.database
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
        })
    }

    fn happen(&mut self, round: &Round, stop: &Stop) -> Result<()> {
        let (lasts, victim) = (round.lasts, round.victim);
        let pause = || stop.pause(lasts);
        match round.fault {
            Fault::ConsumerKilled => killed(&mut [&mut self.consumers[victim].service], pause),
            Fault::BothConsumersKilled => killed(&mut self.consumers.each_mut().map(|part| &mut part.service), pause),
            Fault::DispatcherKilled => killed(&mut [&mut self.dispatcher.service], pause),
            Fault::ApiKilled => {
                killed(&mut [&mut self.api.service], pause)?;
                self.api_is_ready()
            }
            Fault::ConsumerStopped => {
                let service = &mut self.consumers[victim].service;
                service.stop()?;
                pause()?;
                service.start()
            }
            Fault::ConsumerFrozen => frozen(&mut [&mut self.consumers[victim].service], pause),
            Fault::RabbitMqKilled => self.killed_server(Kind::RabbitMq, pause),
            Fault::PostgresKilled => self.killed_server(Kind::Postgres, pause),
            Fault::PostgresStopped => self.stopped_postgres(pause),
            Fault::RabbitMqFrozen => {
                self.servers.freeze(Kind::RabbitMq)?;
                let waited = pause();
                self.servers.thaw(Kind::RabbitMq)?;
                waited
            }
            Fault::SessionsTerminated => {
                let terminate = async { Tables::connect(&self.database).await?.terminate_others().await };
                let terminated = self.runtime.block_on(terminate)?;
                ensure!(terminated > 0, "there were no sessions to terminate");
                Ok(())
            }
            Fault::ConsumerRabbitMqCut => {
                self.consumers[victim].rabbitmq.cut();
                Ok(())
            }
            Fault::ConsumerPostgresCut => {
                self.consumers[victim].postgres.cut();
                Ok(())
            }
            Fault::ApiPostgresCut => {
                self.api.postgres.cut();
                Ok(())
            }
            Fault::ConsumerPostgresSilent => through(&self.consumers[victim].postgres, Flow::Frozen, pause),
            Fault::ApiPostgresSlow => through(&self.api.postgres, Flow::Delayed(SLOW), pause),
            Fault::ApiRepliesLost => {
                let waited = through(&self.api.postgres, Flow::RepliesDropped, || {
                    let waited = pause();
                    self.api.postgres.cut();
                    waited
                });
                // Those that came between the cut and the opening heard nothing either.
                self.api.postgres.cut();
                waited
            }
            Fault::QueueDeleted | Fault::QueuePurged => self.emptied_queue(round.fault, pause),
            Fault::ProgramKilled | Fault::ProgramStopped | Fault::DiskFull => {
                anyhow::bail!("{} is for the embedded program", round.fault.name())
            }
        }
    }

    fn killed_server(&mut self, kind: Kind, pause: impl FnOnce() -> Result<()>) -> Result<()> {
        self.servers.kill(kind)?;
        pause()?;
        self.back(kind)
    }

    fn stopped_postgres(&mut self, pause: impl FnOnce() -> Result<()>) -> Result<()> {
        if let Some(process) = self.servers.process(Kind::Postgres) {
            process.signal(Signal::SIGQUIT)?;
            ensure!(
                process.ends_within(Duration::from_secs(20)),
                "PostgreSQL does not stop immediately"
            );
        }
        pause()?;
        self.back(Kind::Postgres)
    }

    /// The server serves again, where it did before.
    fn back(&self, kind: Kind) -> Result<()> {
        let before = self.servers.url(kind)?;
        self.servers.start(&[kind])?;
        ensure!(
            self.servers.url(kind)? == before,
            "{kind} came back on another port: the old one was taken"
        );
        Ok(())
    }

    /// Messages gather in the queue while the consumers are frozen, and then are gone.
    fn emptied_queue(&mut self, fault: Fault, pause: impl FnOnce() -> Result<()>) -> Result<()> {
        let (runtime, url, queue) = (&self.runtime, &self.rabbitmq, QueueNames::new(PREFIX).demand);
        let services = &mut self.consumers.each_mut().map(|part| &mut part.service);
        frozen(services, || {
            pause()?;
            self.struck_at = now();
            let gone = match fault {
                Fault::QueueDeleted => runtime.block_on(queues::delete(url, &queue))?,
                _ => runtime.block_on(queues::purge(url, &queue))?,
            };
            ensure!(gone > 0, "the queue was empty, so that nothing was lost with it");
            Ok(())
        })
    }

    async fn ready_messages(&self) -> Result<u64> {
        let broker = RabbitMq::connect(&self.rabbitmq, QueueNames::new(PREFIX), RabbitMqConfig::default()).await?;
        Ok(broker.ready_messages(QueueKind::Demand).await? + broker.ready_messages(QueueKind::DeadLetter).await?)
    }
}

impl System for Distributed {
    fn target(&self, round: &Round) -> Target {
        let queue = Queue {
            runtime: self.runtime.handle().clone(),
            url: self.rabbitmq.clone(),
            prefix: PREFIX.to_owned(),
        };
        // Messages without a row that an operator destroys are gone, and so is what is redriven as a message.
        let spares = !round.fault.destroys_messages();
        Target {
            client: self.client.clone(),
            queue: spares.then_some(queue),
            redrives: spares,
            surface: !matches!(self.client.get("/deadletter"), super::client::Answer::Odd(_)),
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
        let missing = self.runtime.block_on(async {
            let missing = Tables::connect(&self.database)
                .await?
                .missing(&told.message_ids(), &told.unreadable)
                .await?;
            let in_queues = if missing.nothing() {
                self.ready_messages().await?
            } else {
                0
            };
            anyhow::Ok(
                (!missing.nothing() || in_queues > 0).then(|| format!("{missing:?}, {in_queues} messages in queues")),
            )
        });
        missing
    }

    fn evidence(&mut self, above: i64) -> Result<Evidence> {
        self.runtime
            .block_on(async { Tables::connect(&self.database).await?.evidence(above).await })
    }

    fn ensure_running(&mut self) -> Result<()> {
        self.parts().try_for_each(|part| part.service.ensure_running())
    }

    fn keep_logs(&self, folder: &Path) {
        for kind in SERVERS {
            let _ = fs::copy(self.servers.log(kind), folder.join(format!("{}.log", kind.name())));
        }
    }
}

/// A database with PP's schema.
async fn prepare(postgres: &str) -> Result<String> {
    let url = Ledger::create_database(postgres, "chaos").await?;
    let config = PostgresConfig {
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

fn killed(services: &mut [&mut Service], pause: impl FnOnce() -> Result<()>) -> Result<()> {
    services.iter_mut().try_for_each(|service| service.kill())?;
    pause()?;
    services.iter_mut().try_for_each(|service| service.start())
}

fn frozen(services: &mut [&mut Service], pause: impl FnOnce() -> Result<()>) -> Result<()> {
    services
        .iter_mut()
        .try_for_each(|service| service.signal(Signal::SIGSTOP))?;
    let waited = pause();
    services
        .iter_mut()
        .try_for_each(|service| service.signal(Signal::SIGCONT))?;
    waited
}

fn through(proxy: &Proxy, flow: Flow, pause: impl FnOnce() -> Result<()>) -> Result<()> {
    proxy.set(flow);
    let waited = pause();
    proxy.set(Flow::Open);
    waited
}
