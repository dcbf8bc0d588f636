//! The address of the broker and the names of this deployment's queues.

use clap::Args;
use url::Url;

use super::parse::is_plain_name;
use super::{ConfigError, Secret, not_built_in};
use pp_lib::broker::queues::QueueNames;
use pp_lib::domain::KindName;

/// The settings of the broker.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker")]
pub struct BrokerArgs {
    /// `amqp://user:password@host:port/vhost`, `amqps://` with TLS, `database:` for a system without a broker, or
    /// `memory:` within one process.
    #[arg(
        id = "broker_url",
        long = "broker-url",
        value_name = "URL",
        env = "PP_BROKER_URL",
        hide_env_values = true
    )]
    url: Option<Secret>,

    /// The management API of RabbitMQ, `http://user:password@host:15672` or `https://`; PP asks it for policies that drop messages.
    #[arg(
        id = "broker_management_url",
        long = "broker-management-url",
        value_name = "URL",
        env = "PP_BROKER_MANAGEMENT_URL",
        hide_env_values = true
    )]
    management_url: Option<Secret>,

    /// The prefix of the queue names: `<prefix>.demand` for sums, `<prefix>.<kind>.demand` for other kinds, and
    /// `<prefix>.deadletter`.
    #[arg(long = "queue-prefix", env = "PP_QUEUE_PREFIX", default_value = QueueNames::DEFAULT_PREFIX, value_parser = prefix)]
    pub queue_prefix: String,

    /// The queue for sums. A queue that exists is used as it is, whatever its arguments [default: `<prefix>.demand`].
    #[arg(long = "demand-queue", value_name = "NAME", env = "PP_DEMAND_QUEUE", value_parser = queue)]
    demand_queue: Option<String>,

    /// The queues of other kinds that have a name, where a program knows no policies.
    #[arg(skip)]
    pub kind_queues: Vec<(KindName, String)>,
}

impl BrokerArgs {
    /// The broker for a program that holds every part of the system. The default is the memory broker.
    pub fn address_or_memory(&self) -> Result<BrokerUrl, ConfigError> {
        self.url
            .as_ref()
            .map_or(Ok(BrokerUrl::Memory), |url| BrokerUrl::parse(url.expose()))
    }

    /// True if a broker is named.
    pub fn is_set(&self) -> bool {
        self.url.is_some()
    }

    /// The broker for a program that shares it with other processes.
    pub fn shared_address(&self) -> Result<BrokerUrl, ConfigError> {
        let missing = || ConfigError::missing("PP_BROKER_URL", "amqp://user:password@host:5672");
        match BrokerUrl::parse(self.url.as_ref().ok_or_else(missing)?.expose())? {
            BrokerUrl::Memory => Err(ConfigError::new(
                "PP_BROKER_URL",
                "`memory:` works within one process, so only pp_standalone can use it; expected amqp:// or database:",
            )),
            shared => Ok(shared),
        }
    }

    /// The address of the management API, if it is set.
    pub fn management_url(&self) -> Option<&Secret> {
        self.management_url.as_ref()
    }

    /// The names of the queues.
    pub fn queue_names(&self) -> QueueNames {
        let sums = self.demand_queue.iter().map(|name| (KindName::default(), name.clone()));
        let all = sums.chain(self.kind_queues.iter().cloned());
        all.fold(QueueNames::new(&self.queue_prefix), |names, (kind, name)| {
            names.with_demand(kind, name)
        })
    }
}

/// A broker. The scheme of the URL selects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerUrl {
    /// RabbitMQ.
    RabbitMq(Secret),
    /// None: demands are rows, and consumers claim them from the database.
    Database,
    /// The broker within this process.
    Memory,
}

impl BrokerUrl {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |why: &str| ConfigError::new("PP_BROKER_URL", why);
        match text {
            "memory:" => return Ok(Self::Memory),
            "database:" => return Ok(Self::Database),
            _ => {}
        }
        let url = Url::parse(text).map_err(|error| wrong(&format!("not a URL: {error}")))?;
        match url.scheme() {
            "amqp" | "amqps" if !cfg!(feature = "rabbitmq") => Err(wrong(&not_built_in("rabbitmq"))),
            "amqp" | "amqps" if url.host().is_none() => {
                Err(wrong("no host, expected amqp://user:password@host:port/virtual-host"))
            }
            "amqp" | "amqps" => Ok(Self::RabbitMq(Secret::from(text))),
            other => Err(wrong(&format!(
                "unknown scheme `{other}`, expected amqp://, amqps://, database: or memory:"
            ))),
        }
    }
}

/// Checks a prefix. A queue name has at most 255 bytes; the limit leaves room for the part after the prefix.
fn prefix(text: &str) -> Result<String, String> {
    if is_plain_name(text) && !text.starts_with("amq.") {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 200 letters, digits, `.`, `_` or `-`, not beginning with `amq.`".to_owned())
    }
}

/// Checks the name of a queue.
fn queue(text: &str) -> Result<String, String> {
    QueueNames::checked(text).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_refuses_the_memory_broker() {
        let args = |url: &str| BrokerArgs {
            url: Some(Secret::from(url)),
            management_url: None,
            queue_prefix: "pp.work".into(),
            demand_queue: None,
            kind_queues: Vec::new(),
        };
        assert_eq!(args("memory:").address_or_memory(), Ok(BrokerUrl::Memory));
        assert_eq!(args("database:").shared_address(), Ok(BrokerUrl::Database));
        assert!(args("amqp://u:p@h").shared_address().is_ok());
        assert!(args("amqps://u:p@h").shared_address().is_ok());
        let none = BrokerArgs {
            url: None,
            management_url: None,
            queue_prefix: "pp.work".into(),
            demand_queue: None,
            kind_queues: Vec::new(),
        };
        for bad in [args("memory:"), args("redis://hunter2@h"), args("x"), none] {
            let error = bad.shared_address().unwrap_err().to_string();
            assert!(
                error.starts_with("PP_BROKER_URL: ") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
