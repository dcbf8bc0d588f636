//! The system: three servers, two API processes that share a cache, and a consumer that changes works as well.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use tokio::runtime::Runtime;

use crate::ledger::Ledger;
use pp_testkit::client::Api;
use pp_testkit::servers::{Kind, PrivateServers, redis_command};
use pp_testkit::service::Service;
use pp_testkit::{ports, wait};

const READY_LIMIT: Duration = Duration::from_secs(60);
/// The time an API and the writers allow a statement.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Everything; it ends with this value.
pub(super) struct System {
    pub(super) ports: [u16; 2],
    pub(super) store: PostgresStore,
    pub(super) runtime: Runtime,
    apis: [Service; 2],
    consumer: Service,
    ledger: Ledger,
    redis: String,
    _servers: PrivateServers,
}

impl System {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let runtime = Runtime::new()?;
        let servers = PrivateServers::temporary(&Kind::ALL)?;
        let url = |kind| servers.url(kind);
        let (database, store) = runtime.block_on(prepare(&url(Kind::Postgres)?))?;
        let redis = url(Kind::Redis)?;
        let shared = vec![
            ("PP_DATABASE_URL", database.clone()),
            ("PP_BROKER_URL", url(Kind::RabbitMq)?),
            ("PP_CACHE_URL", redis.clone()),
            ("PP_PROBE_BIND", "off".to_owned()),
        ];
        let ports: [u16; 2] = ports::free()?;
        let service = |name, program: &str, more: Vec<_>| {
            let mut service = Service::new(name, program, folder, [shared.clone(), more].concat())?;
            service.start()?;
            anyhow::Ok(service)
        };
        let api = |name, port| {
            service(
                name,
                "pp_backend_api",
                vec![("PP_API_BIND", format!("127.0.0.1:{port}"))],
            )
        };
        let mut system = Self {
            apis: [api("api-0", ports[0])?, api("api-1", ports[1])?],
            consumer: service("consumer", "task_consumer", Vec::new())?,
            ledger: runtime.block_on(Ledger::connect(&database))?,
            ports,
            store,
            runtime,
            redis,
            _servers: servers,
        };
        for port in system.ports {
            wait::until_ok("the API is not ready", READY_LIMIT, || {
                system.ensure_running()?;
                ensure!(Api::at(port).is_ready(), "its readiness is not 200");
                Ok(())
            })?;
        }
        Ok(system)
    }

    /// Makes works, which are done soon; their ids.
    pub(super) fn create(&self, works: u16) -> Result<Vec<i64>> {
        let wanted = vec![serde_json::json!({}); usize::from(works)];
        let body = serde_json::Value::from(wanted).to_string();
        let answer = Api::at(self.ports[0]).try_post("/work/bulk", &body)?;
        ensure!(answer.status == 200, "the works cannot be created: {answer:?}");
        let created = answer.json();
        let ids = created.as_array().into_iter().flatten().map(|work| work["id"].as_i64());
        ids.collect::<Option<_>>().context("a work without an id")
    }

    pub(super) fn ensure_running(&mut self) -> Result<()> {
        self.apis.iter_mut().try_for_each(Service::ensure_running)?;
        self.consumer.ensure_running()
    }

    /// Cuts off everybody who listens to the change feed.
    pub(super) fn terminate_listeners(&self) -> Result<()> {
        self.runtime.block_on(self.ledger.terminate("pp feed")).map(drop)
    }

    /// Empties Redis.
    pub(super) fn flush(&self) -> Result<()> {
        redis_command(&self.redis, "FLUSHALL").map(drop)
    }

    /// Freezes one of the API processes, or lets it go on.
    pub(super) fn freeze(&mut self, api: usize, frozen: bool) -> Result<()> {
        self.apis[api].signal(if frozen { Signal::SIGSTOP } else { Signal::SIGCONT })
    }
}

/// A database with PP's schema, and a store on it that no API knows of.
async fn prepare(postgres: &str) -> Result<(String, PostgresStore)> {
    let url = Ledger::create_database(postgres, "staleness").await?;
    let config = PostgresConfig {
        trust: pp_lib::tls::Trust::default(),
        url: url.clone(),
        pool: 4,
        timeout: TIMEOUT,
    };
    let store = PostgresStore::open(config).await?;
    store.migrate(READY_LIMIT).await?;
    Ok((url, store))
}
