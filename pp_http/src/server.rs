//! The HTTP server of every service: actix's own, on [`crate::connection`].
//!
//! `actix_web::HttpServer` reads only from plain sockets. This module replaces the setup it would do.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::body::MessageBody;
use actix_http::error::DispatchError;
use actix_server::Server;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use pp_lib::tls::Identity;

use crate::budget::Budget;
use crate::connection::{Connection, Pace};
use crate::metrics::Connections;
use crate::peers::Peers;
use crate::wire::Entrance;
use crate::{renewal, socket};

/// The time an idle connection stays open.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The usual [`ServerOptions::least_rate`]: a page of 1 MiB is sent within five minutes, or not at all.
pub const LEAST_RATE: u32 = 4 * 1024;
/// The bytes of incomplete heads that all connections may keep together.
const HEADS: usize = 8 * 1024 * 1024;

/// The limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// The name of the listener among the metrics.
    pub listener: &'static str,
    /// The number of threads that serve.
    pub workers: usize,
    /// The maximum number of connections. Others wait to be accepted.
    pub connections: usize,
    /// The maximum number of connections of one peer; see [`Peers::new`]. One more is answered with 503.
    pub peer_connections: Option<usize>,
    /// The maximum time for the head of a request, and for the handshake of TLS before it.
    pub head_timeout: Duration,
    /// The time a client may leave sent bytes unread before its connection is ended.
    pub unread: Duration,
    /// The bytes that a client must read in a second, over time: waiting for it uses up `unread`, and these give a second
    /// back. A stream only has to be read at all.
    pub least_rate: u32,
    /// The time a stop waits for running requests.
    pub grace: Duration,
}

/// Serves an app until `shutdown` completes, then finishes the running requests. With an identity it serves HTTPS, and
/// follows changes of the identity's files.
pub async fn serve_app<F, I, S, B>(
    options: ServerOptions,
    identity: Option<Arc<Identity>>,
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
    let (heads, peers) = (Budget::new(HEADS), Peers::new(options.peer_connections));
    let counted = Connections::new(options.listener, options.connections);
    let entrance = Entrance::new(identity.as_ref(), options.head_timeout)?;
    let builder = Server::build()
        .workers(options.workers)
        .max_concurrent_connections(options.connections.div_ceil(options.workers))
        .shutdown_timeout(options.grace.as_secs().max(1))
        .shutdown_signal(shutdown);
    let stopping = builder.graceful_shutdown_signal();
    let connections = move || {
        let (stopping, heads, entrance) = (stopping.clone(), heads.clone(), entrance.clone());
        let (peers, counted) = (peers.clone(), counted.clone());
        let app = app().into_factory().map_err(|error| error.into().error_response());
        let http = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            // Connections measure this time themselves, for every request.
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
            // A client that has left already has no address.
            let place = peer.and_then(|peer| peers.admit(peer.ip()));
            let (entrance, heads, open) = (entrance.clone(), heads.clone(), counted.opened());
            async move {
                let Some(place) = place else {
                    return Err(DispatchError::Io(entrance.turn_away(stream).await));
                };
                let wire = entrance.admit(stream).await.map_err(DispatchError::Io)?;
                let pace = Pace::new(options.unread, options.least_rate);
                let connection = Connection::new(wire, options.head_timeout, pace, &heads, place, open);
                Ok((connection, peer))
            }
        })
        .and_then(http)
    };
    let server = builder.listen("http", listener, connections)?.run();
    match identity {
        None => server.await,
        Some(identity) => tokio::select! {
            served = server => served,
            never = renewal::follow(&identity) => match never {},
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::SocketAddr;
    use std::thread::sleep;
    use std::time::Instant;

    use actix_web::{App, HttpRequest, HttpResponse, web};
    use socket2::{Domain, Socket, Type};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::connection::Client;

    const UNREAD: Duration = Duration::from_secs(3);
    /// More than the kernel takes for a client that does not read.
    const LARGE: usize = 4 * 1024 * 1024;

    async fn answer() -> HttpResponse {
        HttpResponse::Ok().body(vec![b' '; LARGE])
    }

    async fn stream(request: HttpRequest) -> HttpResponse {
        request.conn_data::<Client>().unwrap().takes_no_more();
        answer().await
    }

    /// A server that wants this rate.
    fn serve(least_rate: u32) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let options = ServerOptions {
            listener: "test",
            workers: 1,
            connections: 10,
            peer_connections: None,
            head_timeout: Duration::from_secs(10),
            unread: UNREAD,
            least_rate,
            grace: Duration::from_secs(1),
        };
        let app = || {
            App::new()
                .route("/", web::get().to(answer))
                .route("/stream", web::get().to(stream))
        };
        let ending = shutdown.clone().cancelled_owned();
        tokio::spawn(serve_app(options, None, listener, ending, app));
        (address, shutdown)
    }

    /// Reads an answer at some 80 KiB a second, until it ends or three times [`UNREAD`] are over. Returns the time, and
    /// whether it ended.
    fn read(address: SocketAddr, path: &str) -> (Duration, bool) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut client = std::net::TcpStream::from(socket);
        write!(client, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let (begin, mut buffer) = (Instant::now(), [0; 4096]);
        while begin.elapsed() < 3 * UNREAD {
            if !matches!(client.read(&mut buffer), Ok(1..)) {
                return (begin.elapsed(), true);
            }
            sleep(Duration::from_millis(50));
        }
        (begin.elapsed(), false)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_reads_too_slowly_is_cut_off_unless_it_reads_a_stream() {
        let ((hasty, end), (patient, end_too)) = (serve(1024 * 1024), serve(LEAST_RATE));
        let reading = |address, path| tokio::task::spawn_blocking(move || read(address, path));
        let [slow, streamed, slow_enough] =
            [(hasty, "/"), (hasty, "/stream"), (patient, "/")].map(|(address, path)| reading(address, path));
        let (after, ended) = slow.await.unwrap();
        assert!(ended && after >= UNREAD, "{after:?}");
        assert!(!streamed.await.unwrap().1);
        assert!(!slow_enough.await.unwrap().1);
        end.cancel();
        end_too.cancel();
    }
}
