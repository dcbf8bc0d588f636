//! Servers, databases and services of their own for each figure. Everything ends with its value.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use tokio::runtime::Runtime;

use pp_chaos::ledger::{self, Ledger};
use pp_chaos::queues;
use pp_testkit::client;
use pp_testkit::servers::{Kind, PrivateServers, redis_command};
use pp_testkit::service::Service;
use pp_testkit::{ports, wait};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// The settings of a service.
pub(super) type Variables = Vec<(&'static str, String)>;

/// What all figures share.
pub struct Stand {
    pub(super) runtime: Runtime,
    pub(super) servers: PrivateServers,
    folder: PathBuf,
    /// How many places there were.
    places: Cell<u32>,
}

/// A program with a REST API, ready.
pub(super) struct Api {
    pub(super) service: Service,
    pub(super) port: u16,
}

/// A database, two queues and a part of the cache that nobody else uses.
pub(super) struct Place {
    name: String,
    /// The database's URL.
    pub(super) database: String,
    /// How the queues are called.
    pub(super) queues: String,
}

impl Stand {
    /// Starts the servers; logs and data of services go to the folder.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        Ok(Self {
            runtime: Runtime::new()?,
            servers: PrivateServers::temporary(&Kind::ALL)?,
            folder: folder.to_path_buf(),
            places: Cell::new(0),
        })
    }

    /// A place with an empty database and PP's schema. What was written before is on disk by now, so that it costs what
    /// comes next nothing.
    pub(super) fn place(&self, name: &str) -> Result<Place> {
        let number = self.places.get();
        self.places.set(number + 1);
        let name = format!("{name}_{number}");
        let server = self.servers.url(Kind::Postgres)?;
        let database = self.runtime.block_on(async {
            let database = Ledger::create_database(&server, &name).await?;
            migrate(&database).await?;
            ledger::client(&database).await?.batch_execute("CHECKPOINT").await?;
            anyhow::Ok(database)
        })?;
        Ok(Place {
            queues: format!("bench.{name}"),
            database,
            name,
        })
    }

    /// Gives up the place with all that is in it, whoever is still there.
    pub(super) fn leave(&self, place: Place) -> Result<()> {
        let (postgres, rabbitmq) = (self.servers.url(Kind::Postgres)?, self.servers.url(Kind::RabbitMq)?);
        // Whoever begins with a cache looks through all of its keys.
        redis_command(&self.servers.url(Kind::Redis)?, "FLUSHALL")?;
        self.runtime.block_on(async {
            Ledger::drop_database(&postgres, &place.name).await?;
            for queue in ["demand", "deadletter"] {
                queues::delete(&rabbitmq, &format!("{}.{queue}", place.queues)).await?;
            }
            Ok(())
        })
    }

    /// What services are told.
    pub(super) fn variables(&self, place: &Place) -> Result<Variables> {
        Ok(vec![
            ("PP_DATABASE_URL", place.database.clone()),
            ("PP_BROKER_URL", self.servers.url(Kind::RabbitMq)?),
            ("PP_QUEUE_PREFIX", place.queues.clone()),
            ("PP_CACHE_URL", self.servers.url(Kind::Redis)?),
            ("PP_CACHE_PREFIX", place.name.clone()),
            ("PP_PROBE_BIND", "off".to_owned()),
            ("PP_LOG", "warn".to_owned()),
        ])
    }

    /// What the embedded program is told.
    pub(super) fn embedded(&self, name: &str) -> Variables {
        let number = self.places.get();
        self.places.set(number + 1);
        let data = self.folder.join(format!("{name}-{number}"));
        vec![
            ("PP_DATA_DIR", data.to_string_lossy().into_owned()),
            ("PP_LOG", "warn".to_owned()),
        ]
    }

    /// Starts a program.
    pub(super) fn service(&self, name: &'static str, program: &str, variables: Variables) -> Result<Service> {
        self.service_with(name, program, variables, &[])
    }

    /// Starts a program with arguments.
    pub(super) fn service_with(
        &self,
        name: &'static str,
        program: &str,
        variables: Variables,
        args: &[String],
    ) -> Result<Service> {
        let mut service = Service::new(name, program, &self.folder, variables)?.with_args(args);
        service.start()?;
        Ok(service)
    }

    /// Starts a program with an API and waits until it is ready.
    pub(super) fn api(&self, name: &'static str, program: &str, variables: Variables) -> Result<Api> {
        let mut api = self.starting_api(name, program, variables)?;
        wait::until_ok("the API is not ready", READY_LIMIT, || {
            api.service.ensure_running()?;
            ensure!(client::Api::at(api.port).is_ready(), "its readiness is not 200");
            Ok(())
        })?;
        Ok(api)
    }

    /// Starts a program with an API.
    pub(super) fn starting_api(&self, name: &'static str, program: &str, mut variables: Variables) -> Result<Api> {
        let [port] = ports::free()?;
        variables.push(("PP_API_BIND", format!("127.0.0.1:{port}")));
        let service = self.service(name, program, variables)?;
        Ok(Api { service, port })
    }

    /// A file of this run.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

async fn migrate(database: &str) -> Result<()> {
    let config = PostgresConfig {
        trust: pp_lib::tls::Trust::default(),
        url: database.to_owned(),
        pool: 1,
        timeout: Duration::from_secs(10),
    };
    let store = PostgresStore::open(config).await?;
    Ok(store.migrate(READY_LIMIT).await?)
}

/// The variables with one of them set to something else.
pub(super) fn with(variables: &Variables, name: &'static str, value: impl Into<String>) -> Variables {
    let others = variables.iter().filter(|(other, _)| *other != name).cloned();
    others.chain([(name, value.into())]).collect()
}
