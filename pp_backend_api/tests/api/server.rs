//! A running API for one test.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pp_backend_api::{Asking, Config, PathPrefix, Services};
use pp_cli::watch::{WithoutWrites, watch_store};
use pp_lib::access::KeyRing;
use pp_lib::broker::AnyBroker;
use pp_lib::broker::memory::Memory;
use pp_lib::cache::CacheOptions;
use pp_lib::cache::memory::MemoryCache;
use pp_lib::domain::Json;
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::Registry;
use pp_lib::runtime::{Health, Metrics};
use pp_lib::serving::StoreOptions;
use pp_lib::serving::{Caches, DemandServing, RunLimits, RunServing, Serving};
use pp_lib::store::AnyStore;
use pp_lib::streams::{Streams, StreamsOptions};
use pp_testkit::client::{Answer, send};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The default limits of a test's server.
pub(crate) const CONFIG: Config = Config {
    identity: None,
    body_limit: 64 * 1024,
    args_limit: Json::USUAL_LIMIT,
    body_budget: 64 * 1024 * 1024,
    asking: Asking::OnceThereAreKeys,
    hosts: Vec::new(),
    origins: Vec::new(),
    prefix: PathPrefix::NONE,
    proxies: None,
    rate: None,
    connections: 10_000,
    peer_connections: None,
    peer_streams: None,
    request_timeout: Duration::from_secs(10),
    grace: Duration::from_secs(10),
    heartbeat: Duration::from_secs(15),
    unread: Duration::from_secs(30),
};

/// A server that stops when it is dropped. The test fails if the stop fails.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: AnyStore,
    pub(crate) runtime: Arc<Runtime>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts an API with this store, on the runtime that opened the store.
    pub(crate) fn start(runtime: Runtime, store: AnyStore, config: Config, options: StoreOptions) -> Self {
        Self::start_with_streams(runtime, store, config, options, StreamsOptions::default())
    }

    /// Starts an API with other limits for its streams.
    pub(crate) fn start_with_streams(
        runtime: Runtime,
        store: AnyStore,
        config: Config,
        options: StoreOptions,
        streams: StreamsOptions,
    ) -> Self {
        super::declared::check_answers();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, runtime) = (CancellationToken::new(), Arc::new(runtime));
        let serving = serve(store.clone(), config, (options, streams), listener, shutdown.clone());
        let own = Arc::clone(&runtime);
        let running = std::thread::spawn(move || own.block_on(serving));
        Self {
            address,
            store,
            runtime,
            shutdown,
            running: Some(running),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        send(self.address, "GET", path, &[], None)
    }

    pub(crate) fn post(&self, json: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        send(self.address, "POST", "/work", &headers, Some(json.as_bytes()))
    }

    /// Creates a work with this bound.
    pub(crate) fn created(&self, bound: u32) -> Value {
        self.post(&format!(r#"{{"add_up_to":{bound}}}"#)).with(200)
    }

    /// Begins the stop without waiting for it.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the server has stopped.
    pub(crate) fn stopped(&mut self) {
        self.running.take().unwrap().join().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take()
            && running.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server did not stop well");
        }
    }
}

async fn serve(
    store: AnyStore,
    config: Config,
    (options, streams): (StoreOptions, StreamsOptions),
    listener: TcpListener,
    shutdown: CancellationToken,
) {
    let feed: AnyFeed = Arc::new(MemoryFeed::new());
    let streams = Streams::start(store.clone(), feed.clone(), streams, shutdown.clone());
    let health = Health::new();
    let part = health.part("store", true);
    let caches = caches();
    let (serving, works) = Serving::start(&store, &feed, &caches, options, &health);
    let broker: AnyBroker = Arc::new(Memory::default());
    let kinds = Registry::new(store.clone(), broker.clone());
    let (demanding, demands) =
        DemandServing::start(&store, &feed, &broker, works.clone(), &kinds, &caches.cache, 100).await;
    let keys = KeyRing::new(store.clone());
    let following_keys = tokio::spawn(keys.clone().run(shutdown.clone()));
    let following = tokio::spawn(kinds.clone().run(shutdown.clone()));
    let limits = RunLimits {
        mailbox: options.mailbox,
        args_limit: config.args_limit,
    };
    let (running, runs) = RunServing::start(&store, &feed, &kinds, works.clone(), limits, shutdown.clone());
    let watching = watch_store(store, part, WithoutWrites::Degraded, shutdown.clone());
    let watching = tokio::spawn(watching);
    let services = Services {
        works,
        demands,
        streams,
        runs,
        kinds,
        keys,
        health,
        metrics: Metrics::default(),
    };
    let grace = config.grace;
    pp_backend_api::run(config, listener, services, shutdown).await.unwrap();
    watching.await.unwrap().unwrap();
    following.await.unwrap();
    following_keys.await.unwrap();
    demanding.stop(grace).await;
    running.stop(grace).await;
    serving.stop(grace).await;
}

/// A cache that is never fresh enough, because tests change works behind the API and read them at once.
fn caches() -> Caches {
    let options = CacheOptions {
        ttl: Duration::from_secs(300),
        staleness: Duration::ZERO,
    };
    Caches {
        cache: Arc::new(MemoryCache::new(options)),
        near: None,
        staleness: Duration::from_secs(1),
    }
}
