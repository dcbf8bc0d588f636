//! The REST API: HTTP in front of the flows of `pp_lib`, and nothing else. No SQL, no queues.
//!
//! [`run`] is handed everything that is shared or belongs to the process: the listener, the work service, the health
//! registry, the shutdown. So several services can live in one process.

mod answer;
mod args;
mod body;
mod contain;
mod error;
mod etag;
mod idempotent;
mod query;
mod routes;
mod stream;
mod wanted;

use std::io;
use std::net::TcpListener;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, web};
use pp_cli::watch::{WithoutWrites, watch_broker, watch_policies, watch_store};
use pp_http::{Budget, HostName, Hosts, ServerOptions, known_host, serve_app};
use pp_lib::broker::AnyBroker;
use pp_lib::feed::AnyFeed;
use pp_lib::runtime::Health;
use pp_lib::serving::Works;
use pp_lib::serving::{Caches, DemandService, Demanding, IdempotentRequests, Serving, forget_expired_keys};
use pp_lib::store::AnyStore;
use pp_lib::streams::Streams;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use args::{ApiArgs, bind};

/// What limits a request and the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest body that is read, in bytes.
    pub body_limit: usize,
    /// How many bytes the bodies of all requests may have together, and as many all answers.
    pub body_budget: usize,
    /// The hosts it answers to, beside loopback and the address it is bound to.
    pub hosts: Vec<HostName>,
    /// How many connections there may be.
    pub connections: usize,
    /// How long a request's head may take, its body, and its answer.
    pub request_timeout: Duration,
    /// How long a stop waits for requests under way.
    pub grace: Duration,
    /// How often a stream says that it is alive.
    pub heartbeat: Duration,
    /// How long a client may leave unread what it is sent, until its connection is ended.
    pub unread: Duration,
}

/// What the API serves.
#[derive(Clone)]
pub struct Parts {
    /// The works.
    pub works: Works,
    /// Works that come later.
    pub demands: DemandService,
    /// What happens to them.
    pub streams: Streams,
    /// What the health pages show.
    pub health: Health,
}

/// What every handler sees.
struct Api {
    works: Works,
    demands: DemandService,
    streams: Streams,
    requests: IdempotentRequests,
    bodies: Budget,
    answers: Budget,
    config: Config,
}

/// What the service is connected to.
#[derive(Clone)]
pub struct Ports {
    /// The truth.
    pub store: AnyStore,
    /// Says that something changed.
    pub feed: AnyFeed,
    /// Where demands go.
    pub broker: AnyBroker,
    /// What reads are served from.
    pub caches: Caches,
}

/// The whole service: its actors, its health, and requests until the shutdown.
///
/// # Errors
/// When the listener cannot be used, or a newer program has changed the database.
pub async fn serve(
    args: &ApiArgs,
    grace: Duration,
    listener: TcpListener,
    ports: Ports,
    health: &Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    log::info!("the API listens on http://{}", listener.local_addr()?);
    let Ports {
        store,
        feed,
        broker,
        caches,
    } = ports;
    // A broker that keeps demands takes them in without the store.
    let part = match broker.durable() {
        true => health.part_with_stand_in("store", "broker"),
        false => health.part("store", true),
    };
    let (serving, works) = Serving::start(&store, &feed, &caches, args.store_options(), health);
    let (cache, mailbox) = (&caches.cache, args.mailbox);
    let (demanding, demands) = Demanding::start(&store, &feed, &broker, works.clone(), cache, mailbox).await;
    let cleaning = tokio::spawn(forget_expired_keys(store.clone(), shutdown.clone()));
    let streams = Streams::start(store.clone(), feed.clone(), args.streams_options(), shutdown.clone());
    let watch = tokio::spawn(watch_store(store, part, WithoutWrites::Degraded, shutdown.clone()));
    tokio::spawn(watch_policies(broker.clone(), health.clone(), shutdown.clone()));
    let watch_broker = tokio::spawn(watch_broker(broker, health.part("broker", false), shutdown.clone()));
    let parts = Parts {
        works,
        demands,
        streams,
        health: health.clone(),
    };
    let served = run(args.config(grace), listener, parts, shutdown).await;
    // What was answered is committed; what was given up on has this long.
    demanding.stop(grace).await;
    serving.stop(grace).await;
    watch_broker.await?;
    cleaning.await?;
    watch.await??;
    Ok(served?)
}

/// Serves requests until the shutdown, then finishes those under way.
///
/// # Errors
/// When the listener cannot be used.
pub async fn run(config: Config, listener: TcpListener, parts: Parts, shutdown: CancellationToken) -> io::Result<()> {
    let Parts {
        works,
        demands,
        streams,
        health,
    } = parts;
    let stopping = health.clone();
    let signal = async move {
        shutdown.cancelled().await;
        stopping.stopping();
    };
    let requests = IdempotentRequests::new(&works);
    let api = web::Data::new(Api {
        works,
        demands,
        streams,
        requests: requests.clone(),
        bodies: Budget::new(config.body_budget),
        answers: Budget::new(config.body_budget),
        config: config.clone(),
    });
    let hosts = Hosts::of_api(listener.local_addr()?, config.hosts.clone());
    let app = move || {
        App::new()
            .app_data(api.clone())
            .app_data(hosts.clone())
            .wrap(from_fn(known_host))
            .wrap(from_fn(contain::contain))
            .configure(routes::configure)
            .configure(pp_http::configure(health.clone()))
            .default_service(pp_http::not_found())
    };
    let options = ServerOptions {
        workers: workers(),
        connections: config.connections,
        head_timeout: config.request_timeout,
        unread: config.unread,
        grace: config.grace,
    };
    serve_app(options, listener, signal, app).await?;
    // Those whose clients went away; what is left after this is tried again by whoever sends it again.
    let _ = timeout(config.grace, requests.finished()).await;
    Ok(())
}

/// As many as there are processors: what a request costs besides the store and the cache is the workers' own.
fn workers() -> usize {
    available_parallelism().map_or(1, |cores| cores.get().min(8))
}
