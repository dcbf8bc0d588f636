//! The REST API: HTTP in front of `pp_lib`, without its own SQL or queues.
//!
//! [`run`] gets everything that is shared or belongs to the process: the listener, the work service, the health
//! registry and the shutdown. Several services can therefore run in one process.

mod access;
mod answer;
mod args;
mod body;
mod contain;
mod error;
mod etag;
mod idempotent;
mod openapi;
mod prefix;
mod proxy;
mod query;
mod rates;
mod request_id;
mod request_json;
mod routes;
mod start;
mod stream;

use std::io;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::middleware::{Condition, from_fn};
use actix_web::{App, web};
use pp_cli::config::RuntimeArgs;
use pp_cli::metrics::{show_health, show_pool, watch_works};
use pp_cli::watch::{WithoutWrites, watch_broker, watch_policies, watch_store};
use pp_http::{
    Budget, HostName, Hosts, LEAST_RATE, OriginName, Peers, ProbeListener, ServerOptions, known_host, serve_app,
};
use pp_lib::access::{KeyRing, forget_old_audit};
use pp_lib::broker::AnyBroker;
use pp_lib::feed::AnyFeed;
use pp_lib::kinds::Registry;
use pp_lib::maintenance::upkeep;
use pp_lib::runtime::{Health, Metrics};
use pp_lib::serving::{
    Caches, DemandService, DemandServing, IdempotentRequests, RunLimits, RunService, RunServing, Serving, Works,
    forget_expired_keys,
};
use pp_lib::store::AnyStore;
use pp_lib::streams::Streams;
use pp_lib::tls::Identity;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::rates::Rates;

pub use access::Asking;
pub use args::{ApiArgs, Auth, Rate, bind};
pub use openapi::openapi;
pub use prefix::PathPrefix;
pub use proxy::{ProxyArgs, TrustedProxies};
pub use routes::needed_scopes;

/// The limits of requests and of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The maximum size of a body in bytes.
    pub body_limit: usize,
    /// The maximum size of a work's arguments in bytes.
    pub args_limit: usize,
    /// The maximum bytes of all request bodies together, and of all answers together.
    pub body_budget: usize,
    /// When keys are asked for.
    pub asking: Asking,
    /// The hosts it answers to, in addition to loopback and the bound address.
    pub hosts: Vec<HostName>,
    /// The origins whose pages may use it from a browser.
    pub origins: Vec<OriginName>,
    /// The path prefix that a proxy takes away.
    pub prefix: PathPrefix,
    /// The proxies that sign users in.
    pub proxies: Option<TrustedProxies>,
    /// The requests that one sender may send in a second: a key, a user of a proxy, or a peer.
    pub rate: Option<NonZeroU32>,
    /// The maximum number of connections.
    pub connections: usize,
    /// The maximum number of connections of one peer; see [`Peers::new`].
    pub peer_connections: Option<usize>,
    /// The maximum number of live streams of one peer; see [`Peers::new`].
    pub peer_streams: Option<usize>,
    /// The time limit of a request's head, of its body and of its answer.
    pub request_timeout: Duration,
    /// The time a stop waits for running requests.
    pub grace: Duration,
    /// The interval of heartbeats on a stream.
    pub heartbeat: Duration,
    /// The time a client may leave sent bytes unread before its connection is ended.
    pub unread: Duration,
    /// The certificate for HTTPS. Without it the API speaks HTTP.
    pub identity: Option<Arc<Identity>>,
}

/// The services behind the API.
#[derive(Clone)]
pub struct Services {
    /// Creating, reading and changing works.
    pub works: Works,
    /// Demands for works created later.
    pub demands: DemandService,
    /// Live streams of changes.
    pub streams: Streams,
    /// Workers in any language.
    pub runs: RunService,
    /// The kinds, and their settings.
    pub kinds: Registry,
    /// The API keys.
    pub keys: KeyRing,
    /// The health of the process, for the health pages.
    pub health: Health,
    /// The metrics of the process, for their page.
    pub metrics: Metrics,
}

/// The state of every handler.
struct Api {
    works: Works,
    demands: DemandService,
    streams: Streams,
    runs: RunService,
    kinds: Registry,
    keys: KeyRing,
    requests: IdempotentRequests,
    bodies: Budget,
    answers: Budget,
    rates: Option<Rates>,
    streaming: Peers,
    metrics: Metrics,
    config: Config,
}

/// The listeners of the service.
#[derive(Debug)]
pub struct Listeners {
    /// That of the API.
    pub api: TcpListener,
    /// That of health pages and metrics alone.
    pub probe: ProbeListener,
}

/// The adapters of the service.
#[derive(Clone)]
pub struct Ports {
    /// The store of works.
    pub store: AnyStore,
    /// The feed that announces changes.
    pub feed: AnyFeed,
    /// The broker for demands.
    pub broker: AnyBroker,
    /// The caches for reads.
    pub caches: Caches,
}

/// The whole service: its actors, its health, and requests until the shutdown. It fails if the listener does, or if a
/// newer program has changed the database.
pub async fn serve(
    args: &ApiArgs,
    runtime: &RuntimeArgs,
    listeners: Listeners,
    ports: Ports,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Listeners { api: listener, probe } = listeners;
    let identity = args.identity()?;
    let address = listener.local_addr()?;
    log::info!("the API listens on {}://{address}", args.scheme());
    let Ports {
        store,
        feed,
        broker,
        caches,
    } = ports;
    let keys = KeyRing::new(store.clone());
    let asking = start::asking(args, &keys, address).await?;
    // A durable broker accepts demands without the store.
    let part = match broker.durable() {
        true => health.part_with_stand_in("store", "broker"),
        false => health.part("store", true),
    };
    let (serving, works) = Serving::start(&store, &feed, &caches, args.store_options(), health);
    let (cache, mailbox) = (&caches.cache, args.mailbox);
    let kinds = Registry::new(store.clone(), broker.clone());
    let (demanding, demands) =
        DemandServing::start(&store, &feed, &broker, works.clone(), &kinds, cache, mailbox).await;
    let cleaning = tokio::spawn(forget_expired_keys(store.clone(), shutdown.clone()));
    let auditing = tokio::spawn(forget_old_audit(store.clone(), args.audit_retain, shutdown.clone()));
    let following_keys = tokio::spawn(keys.clone().run(shutdown.clone()));
    let streams = Streams::start(store.clone(), feed.clone(), args.streams_options(), shutdown.clone());
    let (running, runs) = RunServing::start(
        &store,
        &feed,
        &kinds,
        works.clone(),
        RunLimits {
            mailbox,
            args_limit: runtime.args_limit,
        },
        shutdown.clone(),
    );
    let upkeep = tokio::spawn(upkeep(store.clone(), feed.clone(), shutdown.clone()));
    let following = tokio::spawn(kinds.clone().run(shutdown.clone()));
    show_health(metrics, health);
    show_pool(metrics, &store);
    let watch_works = tokio::spawn(watch_works(store.clone(), shutdown.clone()));
    let probe = tokio::spawn(probe.serve(health.clone(), metrics.clone(), shutdown.clone()));
    let watch = tokio::spawn(watch_store(store, part, WithoutWrites::Degraded, shutdown.clone()));
    tokio::spawn(watch_policies(broker.clone(), health.clone(), shutdown.clone()));
    let watch_broker = tokio::spawn(watch_broker(broker, health.part("broker", false), shutdown.clone()));
    let services = Services {
        works,
        demands,
        streams,
        runs,
        kinds,
        keys,
        health: health.clone(),
        metrics: metrics.clone(),
    };
    let grace = runtime.grace;
    let config = Config {
        identity,
        ..args.config(runtime, asking)
    };
    let served = run(config, listener, services, shutdown).await;
    // Answered changes are committed. Abandoned ones get this time.
    demanding.stop(grace).await;
    running.stop(grace).await;
    serving.stop(grace).await;
    following.await?;
    upkeep.await?;
    following_keys.await?;
    auditing.await?;
    watch_broker.await?;
    watch_works.await?;
    probe.await?;
    cleaning.await?;
    watch.await??;
    Ok(served?)
}

/// Serves requests until the shutdown, then finishes running ones.
pub async fn run(
    config: Config,
    listener: TcpListener,
    services: Services,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let Services {
        works,
        demands,
        streams,
        runs,
        kinds,
        keys,
        health,
        metrics,
    } = services;
    let stopping = health.clone();
    let signal = async move {
        shutdown.cancelled().await;
        stopping.stopping();
    };
    let requests = IdempotentRequests::new(&works);
    let (bodies, answers) = (Budget::new(config.body_budget), Budget::new(config.body_budget));
    let (shown_bodies, shown_answers, shown_streams) = (bodies.clone(), answers.clone(), streams.clone());
    metrics.before_each_page(move || {
        shown_bodies.show("body");
        shown_answers.show("answer");
        shown_streams.show();
    });
    let api = web::Data::new(Api {
        works,
        demands,
        streams,
        runs,
        kinds,
        keys,
        requests: requests.clone(),
        bodies,
        answers,
        rates: config.rate.map(Rates::new),
        streaming: Peers::new(config.peer_streams),
        metrics,
        config: config.clone(),
    });
    let origins = config.origins.clone();
    let hosts = Hosts::of_api(listener.local_addr()?, config.hosts.clone(), origins.clone());
    let app = move || {
        App::new()
            .app_data(api.clone())
            .app_data(hosts.clone())
            .app_data(web::Data::new(health.clone()))
            .wrap(Condition::new(!origins.is_empty(), pp_http::cors(&origins)))
            .wrap(from_fn(known_host))
            .wrap(from_fn(contain::contain))
            .configure(routes::configure)
            .default_service(pp_http::not_found())
    };
    let options = ServerOptions {
        listener: "api",
        workers: workers(),
        connections: config.connections,
        peer_connections: config.peer_connections,
        head_timeout: config.request_timeout,
        unread: config.unread,
        least_rate: LEAST_RATE,
        grace: config.grace,
    };
    serve_app(options, config.identity, listener, signal, app).await?;
    // Requests of clients that have left may still run. The client repeats those that end here.
    let _ = timeout(config.grace, requests.finished()).await;
    Ok(())
}

/// One worker per processor, because the store and the cache have their own threads.
fn workers() -> usize {
    available_parallelism().map_or(1, |cores| cores.get().min(8))
}
