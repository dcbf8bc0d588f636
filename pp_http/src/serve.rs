//! A small server for health pages and metrics, which answers while the API's connections are taken.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_web::App;
use actix_web::http::header::X_CONTENT_TYPE_OPTIONS;
use actix_web::middleware::{DefaultHeaders, from_fn};
use pp_lib::runtime::{Health, Metrics};
use tokio_util::sync::CancellationToken;

use crate::hosts::Hosts;
use crate::server::{LEAST_RATE, ServerOptions, serve_app};

const OPTIONS: ServerOptions = ServerOptions {
    listener: "probe",
    workers: 1,
    connections: 256,
    peer_connections: None,
    head_timeout: Duration::from_secs(5),
    unread: Duration::from_secs(30),
    least_rate: LEAST_RATE,
    grace: Duration::from_secs(2),
};

/// Serves the pages until the shutdown.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let stopping = health.clone();
    let signal = async move {
        shutdown.cancelled().await;
        stopping.stopping();
    };
    let hosts = Hosts::of_probe(&listener)?;
    let pages = move || {
        App::new()
            .app_data(hosts.clone())
            .wrap(from_fn(crate::hosts::known_host))
            .wrap(DefaultHeaders::new().add((X_CONTENT_TYPE_OPTIONS, "nosniff")))
            .configure(crate::pages::configure(health.clone()))
            .configure(crate::pages::with_metrics(metrics.clone()))
            .default_service(crate::not_found())
    };
    serve_app(OPTIONS, None, listener, signal, pages).await
}
