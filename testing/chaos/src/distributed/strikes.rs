//! How each fault happens to the distributed system, and how it is undone.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use pp_lib::broker::Queue;
use pp_lib::broker::queues::QueueNames;
use pp_lib::domain::KindName;

use super::super::asks::other_kinds;
use super::super::fault::Fault;
use super::super::plan::Round;
use super::super::queues;
use super::super::system::{frozen, killed};
use super::super::tables::Tables;
use super::super::told::now;
use super::{Distributed, PREFIX, Part};
use pp_testkit::proxy::{Flow, Proxy};
use pp_testkit::servers::Kind;
use pp_testkit::service::Service;
use pp_testkit::signals::Stop;
use pp_testkit::wait;

/// What each way takes to a server that is slow.
const SLOW: Duration = Duration::from_millis(100);
/// How long messages may take to gather in the queue.
const GATHERING: Duration = Duration::from_secs(20);

const EVENTS_REFUSED: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'das geht heute nicht'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse()";
const EVENTS_TAKEN: &str = "DROP TRIGGER refuse ON events; DROP FUNCTION refuse()";

/// What new sessions of the database may do, said by a session that may change it.
fn read_only(whether: &str) -> String {
    format!(
        "SET transaction_read_only = off;
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {whether}',
            current_database()); END $$"
    )
}

impl Distributed {
    /// Lets a fault happen and undoes it.
    pub(super) fn happen(&mut self, round: &Round, stop: &Stop) -> Result<()> {
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
            Fault::ConsumerKilledWaiting => {
                let Part { service, postgres, .. } = &mut self.consumers[victim];
                killed_waiting(service, postgres, Flow::Frozen, pause)
            }
            Fault::ApiKilledWaiting => {
                let Part { service, postgres, .. } = &mut self.api;
                killed_waiting(service, postgres, Flow::RepliesDropped, pause)?;
                self.api_is_ready()
            }
            Fault::ConsumerStopped => {
                let service = &mut self.consumers[victim].service;
                service.stop()?;
                pause()?;
                service.start()
            }
            Fault::WorkerKilled => killed(&mut [&mut self.workers[victim]], pause),
            Fault::WorkerFrozen => frozen(&mut [&mut self.workers[victim]], pause),
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
            Fault::SessionsTerminated => self.sessions_terminated(),
            Fault::ConsumerRabbitMqCut => {
                let proxy = self.consumers[victim].rabbitmq.as_ref();
                proxy.context("there is no broker")?.cut();
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
            Fault::WorksRenamed => self.changed_database(
                "ALTER TABLE works RENAME TO works_away",
                "ALTER TABLE works_away RENAME TO works",
                pause,
            ),
            Fault::EventsRefused => self.changed_database(EVENTS_REFUSED, EVENTS_TAKEN, pause),
            Fault::DatabaseReadOnly => {
                self.changed_database(&read_only("on"), "SELECT 1", || self.sessions_terminated())?;
                pause()?;
                self.changed_database(&read_only("off"), "SELECT 1", || self.sessions_terminated())
            }
            Fault::QueueDeleted | Fault::QueuePurged => self.emptied_queue(round.fault, pause),
            Fault::ProgramKilled | Fault::ProgramStopped | Fault::DiskFull => {
                bail!("{} is for the embedded program", round.fault.name())
            }
        }
    }

    fn sessions_terminated(&self) -> Result<()> {
        let terminate = async { Tables::connect(&self.database).await?.terminate_others().await };
        let terminated = self.runtime.block_on(terminate)?;
        ensure!(terminated > 0, "there were no sessions to terminate");
        Ok(())
    }

    /// The database is another one for a while, by an operator's hand.
    fn changed_database(&self, change: &str, undo: &str, pause: impl FnOnce() -> Result<()>) -> Result<()> {
        let run = |statements: &str| {
            let running = async { Tables::connect(&self.database).await?.run(statements).await };
            self.runtime.block_on(running)
        };
        run(change)?;
        let waited = pause();
        run(undo)?;
        waited
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

    /// Messages gather in the queues of all kinds while the consumers are frozen, and then are gone.
    fn emptied_queue(&mut self, fault: Fault, pause: impl FnOnce() -> Result<()>) -> Result<()> {
        let url = self.rabbitmq.as_ref().context("there is no broker")?;
        let (runtime, names) = (&self.runtime, QueueNames::new(PREFIX));
        let kinds = other_kinds().chain([KindName::default()]);
        let queues: Vec<String> = kinds.map(|kind| names.get(&Queue::Demand(kind))).collect();
        let services = &mut self.consumers.each_mut().map(|part| &mut part.service);
        frozen(services, || {
            pause()?;
            let deadline = Instant::now() + GATHERING;
            loop {
                self.struck_at = now();
                let mut gone = 0;
                for queue in &queues {
                    gone += match fault {
                        Fault::QueueDeleted => runtime.block_on(queues::delete(url, queue))?,
                        _ => runtime.block_on(queues::purge(url, queue))?,
                    };
                }
                if gone > 0 {
                    return Ok(());
                }
                ensure!(
                    Instant::now() < deadline,
                    "the queues stay empty, so that nothing is lost with them"
                );
                thread::sleep(wait::PAUSE);
            }
        })
    }
}

/// Killed while its connections to PostgreSQL are not what they seem; started again when they are sound.
fn killed_waiting(
    service: &mut Service,
    postgres: &Proxy,
    flow: Flow,
    pause: impl FnOnce() -> Result<()>,
) -> Result<()> {
    through(postgres, flow, || {
        pause()?;
        let killed = service.kill();
        // What it said last must not arrive after its death.
        postgres.cut();
        killed
    })?;
    service.start()
}

fn through(proxy: &Proxy, flow: Flow, pause: impl FnOnce() -> Result<()>) -> Result<()> {
    proxy.set(flow);
    let waited = pause();
    proxy.set(Flow::Open);
    waited
}
