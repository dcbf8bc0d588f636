//! A small server of its own for services that have no other.

use std::io;
use std::net::TcpListener;

use actix_web::{App, HttpServer};
use pp_lib::health::Health;
use tokio_util::sync::CancellationToken;

/// Serves the pages until the shutdown.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: TcpListener, health: Health, shutdown: CancellationToken) -> io::Result<()> {
    let stopping = health.clone();
    let signal = async move {
        shutdown.cancelled().await;
        stopping.stopping();
    };
    let pages = move || {
        App::new()
            .configure(crate::configure(health.clone()))
            .default_service(crate::not_found())
    };
    let server = HttpServer::new(pages)
        .workers(1)
        .max_connections(256)
        .shutdown_timeout(2)
        .shutdown_signal(signal)
        .listen(listener)?
        .run();
    server.await
}
