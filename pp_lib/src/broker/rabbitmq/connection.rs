//! A connection with one channel, over which queues are declared before their first use.
//!
//! It does not recover. After an error the caller drops the link and opens another one when it needs it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::FutureExt as _;
use lapin::options::ConfirmSelectOptions;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, Error, ErrorKind};
use pp_tls::Check;
use pp_tls::rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::super::{BrokerError, Queue, Result, queues::QueueNames};
use super::RabbitMqConfig;
use super::budget::Gate;
use super::greeting::{Greeted, MajorVersion};
use super::topology::{self, Arguments};
use super::transport::transport;
use super::wire::Encryption;

const HEARTBEAT_SECONDS: u16 = 5;
const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// The address of the server and the names of its queues.
pub(super) struct Server {
    uri: AMQPUri,
    encryption: Option<Encryption>,
    pub(super) names: QueueNames,
    pub(super) config: RabbitMqConfig,
    limit_told: Once,
    /// True if the user may not declare queues. It is not tried again, because each refusal is an error in the server's
    /// log.
    may_not_declare: AtomicBool,
    /// The queues that this process has declared or found.
    used: Mutex<HashSet<Queue>>,
}

/// An open connection and its channel.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    /// The version of the server; empty if it does not tell.
    pub(super) version: String,
    /// The queues that were declared or found over it.
    declared: HashSet<Queue>,
}

/// The purpose of a link. The server's operator sees it in the connection's name.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Publish,
    /// Receives messages, for which the gate grants room.
    Consume(Gate),
}

impl Server {
    /// Parses the URL. An error does not quote it, because it contains a password.
    pub(super) fn new(url: &str, names: QueueNames, config: RabbitMqConfig) -> Result<Self> {
        const FORM: &str = "the broker's URL must be amqp://user:password@host:port/virtual-host, or amqps://";
        let bad_url = |why: &str| BrokerError::Rejected(format!("{FORM}: {why}"));
        let parsed = url::Url::parse(url).map_err(|error| bad_url(&error.to_string()))?;
        let mut uri: AMQPUri = url.parse().map_err(|_| bad_url("it has another form"))?;
        if let Some(url::Host::Ipv6(address)) = parsed.host() {
            uri.authority.host = address.to_string();
        }
        let encryption = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => {
                let name = ServerName::try_from(uri.authority.host.clone());
                let config = config.trust.client(Check::ChainAndName);
                Some(Encryption {
                    config: config.map_err(|error| bad_url(&error.to_string()))?,
                    name: name.map_err(|_| bad_url("TLS cannot check such a host"))?,
                })
            }
        };
        // The library gets a connection that has TLS already.
        uri.scheme = AMQPScheme::AMQP;
        for queue in [Queue::sums(), Queue::DeadLetter] {
            allowed(&names.get(&queue))?;
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self {
            uri,
            encryption,
            names,
            config,
            limit_told: Once::new(),
            may_not_declare: AtomicBool::new(false),
            used: Mutex::default(),
        })
    }

    /// The names of the queues that this process uses.
    ///
    /// # Errors
    /// There are none yet.
    pub(super) fn used(&self) -> Result<Vec<String>> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.is_empty() {
            return Err(BrokerError::Unavailable("no queue is in use yet".to_owned()));
        }
        Ok(used.iter().map(|queue| self.names.get(queue)).collect())
    }

    /// Opens a link, with retries for the time of one connect.
    pub(super) async fn reopen(&self, purpose: Purpose) -> Result<Link> {
        let mut last = None;
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(1))
            .with_jitter()
            .without_max_times();
        let open = (|| self.open(purpose.clone()))
            .retry(backoff)
            .when(|error| matches!(error, BrokerError::Unavailable(_)))
            .notify(|error, _| last = Some(error.clone()));
        let opened = timeout(self.config.connect_timeout, open).await;
        opened.unwrap_or_else(|_| Err(last.unwrap_or_else(|| self.no_answer("to connect"))))
    }

    /// Opens a link with a single attempt.
    pub(super) async fn open(&self, purpose: Purpose) -> Result<Link> {
        let link = timeout(self.config.connect_timeout, self.connect(purpose)).await;
        link.unwrap_or_else(|_| Err(self.no_answer("to connect")))
    }

    async fn connect(&self, purpose: Purpose) -> Result<Link> {
        let (name, gate) = match purpose {
            Purpose::Publish => (format!("{} publishes", self.config.name), None),
            Purpose::Consume(gate) => (format!("{} consumes", self.config.name), Some(gate)),
        };
        let confirms = gate.is_none();
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let greeted = Greeted::default();
        let limit = self.config.connect_timeout;
        let transport = transport(self.encryption.clone(), greeted.clone(), limit, gate);
        let connection = Connection::connect_uri_with_runtime(self.uri.clone(), properties, transport)
            .await
            .map_err(|error| self.refused(&error))?;
        // Every login has a greeting before it.
        let version = greeted.get().cloned().unwrap_or_default();
        let channel = connection
            .create_channel()
            .await
            .map_err(|error| self.refused(&error))?;
        if confirms {
            let confirm = channel.confirm_select(ConfirmSelectOptions::default());
            confirm.await.map_err(|error| self.refused(&error))?;
        }
        Ok(Link {
            connection,
            channel,
            version,
            declared: HashSet::new(),
        })
    }

    /// Declares a queue unless it was declared over this link. It warns once about a queue that is older than the server's
    /// upgrade to 4.0: such a queue works, except for the new default limit.
    pub(super) async fn declare(&self, link: &mut Link, queue: &Queue) -> Result<()> {
        if link.declared.contains(queue) {
            return Ok(());
        }
        let (name, arguments) = (self.names.get(queue), Arguments::of(MajorVersion::of(&link.version)));
        allowed(&name)?;
        let declaring = async {
            // A queue that a user has named is used as it is.
            match self.names.is_own(queue) || !self.is_there(&link.connection, &name).await? {
                true => self.declare_one(&link.connection, &name, arguments).await,
                false => Ok(arguments),
            }
        };
        let declared = timeout(self.config.answer_timeout, declaring).await;
        if declared.unwrap_or_else(|_| Err(self.no_answer("to the declaration of a queue")))? != arguments {
            self.limit_told.call_once(|| {
                log::warn!(
                    "made before the server's upgrade to 4.0, which drops a message after 20 failed deliveries unless a \
                     policy sets delivery-limit: {name}"
                );
            });
        }
        link.declared.insert(queue.clone());
        self.uses(queue);
        Ok(())
    }

    /// Remembers a queue that this process has declared or found.
    pub(super) fn uses(&self, queue: &Queue) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(queue.clone());
    }

    async fn is_there(&self, connection: &Connection, name: &str) -> Result<bool> {
        topology::exists(connection, name)
            .await
            .map_err(|error| self.refused(&error))
    }

    /// Declares a queue and answers its arguments. Old and new queues may exist side by side. A user without the right
    /// to declare uses an existing queue.
    async fn declare_one(&self, connection: &Connection, name: &str, arguments: Arguments) -> Result<Arguments> {
        let before = Arguments::LimitLeftOut;
        if self.may_not_declare.load(Ordering::Relaxed) {
            return self.find_one(connection, name).await.map(|()| arguments);
        }
        match topology::declare(connection, name, arguments).await {
            Ok(()) => Ok(arguments),
            Err(error) if reply_code(&error) == Some(PRECONDITION_FAILED) && arguments != before => {
                let declared = topology::declare(connection, name, before).await;
                declared.map(|()| before).map_err(|_| self.refused(&error))
            }
            Err(error) if reply_code(&error) == Some(ACCESS_REFUSED) => {
                self.may_not_declare.store(true, Ordering::Relaxed);
                self.find_one(connection, name).await.map(|()| arguments)
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// Finds a queue that another user declared.
    async fn find_one(&self, connection: &Connection, name: &str) -> Result<()> {
        match self.is_there(connection, name).await? {
            true => Ok(()),
            false => Err(BrokerError::Rejected(format!(
                "there is no queue {name}, and this user may not declare it ({})",
                self.address()
            ))),
        }
    }

    /// The error of a link being opened. Some errors will be the same for every attempt.
    fn refused(&self, error: &Error) -> BrokerError {
        if let ErrorKind::IOError(why) = error.kind() {
            let text = format!("{}: {}", self.address(), pp_tls::words(why.as_ref()));
            return match pp_tls::is_refused(why.as_ref()) {
                true => BrokerError::Rejected(text),
                false => BrokerError::Unavailable(text),
            };
        }
        let text = format!("{}: {error}", self.address());
        match reply_code(error) {
            Some(PRECONDITION_FAILED) => BrokerError::Rejected(format!(
                "a queue exists with other arguments, which cannot be changed: delete it, or use another prefix ({text})"
            )),
            Some(ACCESS_REFUSED | NOT_ALLOWED) => BrokerError::Rejected(text),
            _ => BrokerError::Unavailable(text),
        }
    }

    /// The error of an open link, which is unusable afterwards.
    pub(super) fn lost(&self, error: &Error) -> BrokerError {
        BrokerError::Unavailable(format!("{}: {error}", self.address()))
    }

    /// The error for a missing answer.
    pub(super) fn no_answer(&self, to: &str) -> BrokerError {
        BrokerError::Unavailable(format!("{}: no answer in time {to}", self.address()))
    }

    fn address(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }
}

/// Refuses a name that is too long for a queue.
fn allowed(name: &str) -> Result<()> {
    match name.len() <= QueueNames::MAX_LENGTH {
        true => Ok(()),
        false => Err(BrokerError::Rejected(format!(
            "a queue's name may have at most {} bytes: {name}",
            QueueNames::MAX_LENGTH
        ))),
    }
}

impl Link {
    /// Forgets that a queue was declared.
    pub(super) fn forget(&mut self, queue: &Queue) {
        self.declared.remove(queue);
    }

    /// True if it looks usable. The server may be gone without a sign.
    pub(super) fn connected(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// True if the server accepts no messages, because it lacks memory or disk.
    pub(super) fn blocked(&self) -> bool {
        self.connected() && self.connection.status().blocked()
    }
}

impl Drop for Link {
    /// Closes the connection. The library would do so with the last user of the channel, but a consumer whose start was
    /// abandoned stays one for ever.
    fn drop(&mut self) {
        // The first poll sends the request. Its answer is not needed.
        let _ = self.connection.close(200, "OK".into()).now_or_never();
    }
}

/// AMQP's code in an error sent by the server.
pub(super) fn reply_code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}
