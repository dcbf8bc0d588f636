//! The feed between processes, with `LISTEN` and `NOTIFY` on its own connection.
//!
//! A commit is announced after it. A `NOTIFY` inside a transaction would make commits wait for each other.

mod tls;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use pp_storage::{Encryption, SslMode as Mode};
use pp_tls::Trust;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};

use self::tls::{Connector, TlsStream};
use super::{Feed, Waiter, wake};

use crate::log_repeated;
use crate::runtime::backoff;

/// The channels in the database: rows became due, and other changes.
const DUE: &str = "pp_due";
const CHANGED: &str = "pp_changed";
/// Announcements within this time are sent as one.
const PAUSE: Duration = Duration::from_millis(2);
/// The time limit of connecting and of each answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The parameters of a URL that this client understands. libpq knows more, but none of them concerns the feed.
const KNOWN: [&str; 9] = [
    "application_name",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "user",
];

/// The reason why a feed cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The URL does not name a PostgreSQL server.
    #[error("the URL is not one of a PostgreSQL server")]
    Url,
    /// The URL asks for TLS in a way that is not possible.
    #[error("{0}")]
    Tls(String),
}

/// Wakes waiters in every process that listens on the same database.
#[derive(Debug)]
pub struct PostgresFeed {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// The state shared by the feed and its connection.
#[derive(Debug, Default)]
struct Shared {
    due: watch::Sender<u64>,
    changes: watch::Sender<u64>,
    /// Signals that there is something to announce.
    news: Notify,
    /// True if rows became due.
    due_news: AtomicBool,
}

impl Shared {
    fn wake_all(&self) {
        wake(&self.due);
        wake(&self.changes);
    }

    fn wake_of(&self, channel: &str) {
        match channel {
            CHANGED => wake(&self.changes),
            _ => self.wake_all(),
        }
    }

    fn tell(&self, due: bool) {
        if due {
            self.due_news.store(true, Ordering::Relaxed);
        }
        self.news.notify_one();
    }
}

impl PostgresFeed {
    /// A feed on the database of this URL. It connects in the background and reconnects when necessary. Each connect
    /// wakes all waiters once, because announcements may have been missed. It must be called on a Tokio runtime.
    ///
    /// `trust` has the authorities of the server's certificate, unless the URL names some.
    pub fn connect(url: &str, trust: &Trust) -> Result<Self, FeedError> {
        let server = Server::of(url, trust)?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(keep_connected(server, Arc::clone(&shared)));
        Ok(Self {
            shared,
            task: task.abort_handle(),
        })
    }
}

impl Feed for PostgresFeed {
    fn poke(&self) {
        self.shared.wake_all();
        self.shared.tell(true);
    }

    fn announce(&self) {
        wake(&self.shared.changes);
        self.shared.tell(false);
    }

    fn listen(&self) -> Waiter {
        Waiter(self.shared.due.subscribe())
    }

    fn watch(&self) -> Waiter {
        Waiter(self.shared.changes.subscribe())
    }
}

impl Drop for PostgresFeed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server, and how it is connected to.
struct Server {
    config: Config,
    connector: Connector,
}

type Connected = (Client, Connection<Socket, TlsStream<Socket>>);

impl Server {
    fn of(url: &str, trust: &Trust) -> Result<Self, FeedError> {
        let mut config = config(url).ok_or(FeedError::Url)?;
        let encryption = Encryption::of(url).map_err(FeedError::Tls)?;
        config.ssl_mode(match encryption.mode() {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        let connector = Connector(encryption.client(trust).map_err(FeedError::Tls)?);
        Ok(Self { config, connector })
    }

    /// Connects, with `prefer` once more without TLS, as libpq does.
    async fn connect(&self) -> Result<Connected, tokio_postgres::Error> {
        let connected = self.config.connect(self.connector.clone()).await;
        match connected {
            Err(error) if self.config.get_ssl_mode() == SslMode::Prefer => {
                let mut plain = self.config.clone();
                plain.ssl_mode(SslMode::Disable);
                plain.connect(self.connector.clone()).await.map_err(|_| error)
            }
            connected => connected,
        }
    }
}

fn config(url: &str) -> Option<Config> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let known = query
        .split('&')
        .filter(|pair| pair.split_once('=').is_some_and(|(name, _)| KNOWN.contains(&name)));
    let url = format!("{base}?{}", known.collect::<Vec<_>>().join("&"));
    let mut config: Config = url.parse().ok()?;
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| base.starts_with(scheme))
    {
        return None;
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host("localhost");
    }
    if config.get_application_name().is_none() {
        config.application_name("pp feed");
    }
    config
        .connect_timeout(TIMEOUT)
        .keepalives(true)
        .keepalives_idle(TIMEOUT)
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3)
        .tcp_user_timeout(2 * TIMEOUT);
    Some(config)
}

/// True if the server refuses this user, password or database, or has a certificate that is refused here, which no retry
/// changes. Unlike libpq this client reports a refusal as a code instead of a message in the server's language.
pub(crate) async fn refuses_for_good(url: &str, trust: &Trust) -> bool {
    let Ok(server) = Server::of(url, trust) else {
        return false;
    };
    let Ok(Err(error)) = timeout(TIMEOUT, server.connect()).await else {
        return false;
    };
    if pp_tls::is_refused(&error) {
        return true;
    }
    /// The class of `invalid_authorization_specification`.
    const NOT_LET_IN: &str = "28";
    let code = error.code();
    code.is_some_and(|code| code.code().starts_with(NOT_LET_IN) || *code == SqlState::INVALID_CATALOG_NAME)
}

async fn keep_connected(server: Server, shared: Arc<Shared>) {
    let mut pauses = backoff();
    let lost = AtomicBool::new(false);
    loop {
        let (why, lived) = converse(&server, &lost, &shared).await;
        if lived {
            pauses = backoff();
        }
        if lost.swap(true, Ordering::Relaxed) {
            log::debug!("the change feed is still without a connection: {why}");
        } else {
            log_repeated!(Warn, "the change feed reconnects, polls continue meanwhile", "{why}");
        }
        sleep(pauses.next().unwrap_or(TIMEOUT)).await;
    }
}

/// Connects, listens and announces until an error. Answers the error, and `true` if there had been a connection.
async fn converse(server: &Server, lost: &AtomicBool, shared: &Shared) -> (String, bool) {
    let (client, mut connection) = match timeout(2 * TIMEOUT, server.connect()).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return (words(&error), false),
        Err(_) => return ("no answer to the attempt to connect".to_owned(), false),
    };
    // The id of this session, for ignoring its own announcements. No session has the id 0.
    let this = AtomicI32::new(0);
    let mut telling = pin!(tell(&client, &this, lost, shared));
    let hearing = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    if notification.process_id() != this.load(Ordering::Relaxed) {
                        shared.wake_of(notification.channel());
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return words(&error),
                None => return "closed".to_owned(),
            }
        }
    };
    let why = tokio::select! {
        why = hearing => why,
        why = &mut telling => why,
    };
    (why, true)
}

/// Listens, wakes all waiters for missed changes, and then sends announcements.
async fn tell(client: &Client, this: &AtomicI32, lost: &AtomicBool, shared: &Shared) -> String {
    let listening = answered(async {
        client.batch_execute(&format!("LISTEN {DUE}; LISTEN {CHANGED}")).await?;
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
        row.try_get(0)
    });
    match listening.await {
        Ok(number) => this.store(number, Ordering::Relaxed),
        Err(why) => return why,
    }
    if lost.swap(false, Ordering::Relaxed) {
        log_repeated!(Info, "the change feed is connected again", "");
    }
    shared.wake_all();
    loop {
        shared.news.notified().await;
        let due = shared.due_news.swap(false, Ordering::Relaxed);
        let channel = if due { DUE } else { CHANGED };
        if let Err(why) = answered(client.batch_execute(&format!("NOTIFY {channel}"))).await {
            // The next connection announces it.
            shared.tell(due);
            return why;
        }
        sleep(PAUSE).await;
    }
}

async fn answered<T>(question: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, String> {
    match timeout(TIMEOUT, question).await {
        Ok(answer) => answer.map_err(|error| words(&error)),
        Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
    }
}

/// The server's message if there is one. The client's own messages never quote the URL.
fn words(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| pp_tls::words(error), |error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_like_libpq_reads_it() {
        let url = "postgres://p%40p:a%2Fb%40c%3Ad%25e%3Ff+g@10.0.0.1:5433/d%20b?sslmode=prefer&tcp_user_timeout=1&options=-c%20a%3Db";
        let config = config(url).unwrap();
        assert_eq!(config.get_user(), Some("p@p"));
        assert_eq!(config.get_password(), Some(&b"a/b@c:d%e?f+g"[..]));
        assert_eq!(
            (config.get_dbname(), config.get_options()),
            (Some("d b"), Some("-c a=b"))
        );
        assert_eq!(config.get_ports(), [5433]);
        assert!(!format!("{config:?}").contains("a/b@c"));
    }
}
