//! The HTTP server of every service: actix's own, on connections of [`crate::connection`].
//!
//! `actix_web::HttpServer` reads from plain sockets alone; this is what it does beside that.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::body::MessageBody;
use actix_server::Server;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;

use crate::budget::Budget;
use crate::connection::Connection;
use crate::socket;

/// How long a connection without requests is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How many bytes of incomplete heads all connections may keep.
const HEADS: usize = 8 * 1024 * 1024;

/// What limits a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// How many threads serve.
    pub workers: usize,
    /// How many connections there may be; others wait to be accepted.
    pub connections: usize,
    /// How long the head of a request may take.
    pub head_timeout: Duration,
    /// How long a client may leave unread what it is sent, until its connection is ended.
    pub unread: Duration,
    /// How long a stop waits for requests under way.
    pub grace: Duration,
}

/// Serves an app until `shutdown` ends, then finishes the requests under way.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve_app<F, I, S, B>(
    options: ServerOptions,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    app: F,
) -> io::Result<()>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, actix_http::Request>,
    S: ServiceFactory<actix_http::Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<actix_http::Response<B>> + 'static,
    <S::Service as Service<actix_http::Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let address = listener.local_addr()?;
    let heads = Budget::new(HEADS);
    let builder = Server::build()
        .workers(options.workers)
        .max_concurrent_connections(options.connections.div_ceil(options.workers))
        .shutdown_timeout(options.grace.as_secs().max(1))
        .shutdown_signal(shutdown);
    let stopping = builder.graceful_shutdown_signal();
    let connections = move || {
        let (stopping, heads) = (stopping.clone(), heads.clone());
        let app = app().into_factory().map_err(|error| error.into().error_response());
        let http = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            // Connections measure this themselves, for every request.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(Duration::from_secs(1))
            .h1_allow_half_closed(true)
            .local_addr(address)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.client());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            socket::bound(&stream, options.unread);
            let peer = stream.peer_addr().ok();
            let connection = Connection::new(stream, options.head_timeout, &heads);
            async move { Ok((connection, peer)) }
        })
        .and_then(http)
    };
    builder.listen("http", listener, connections)?.run().await
}
