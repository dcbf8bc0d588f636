//! The settings of the API, which the standalone program uses too.

use std::net::{TcpListener, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use pp_cli::config::{ConfigError, RuntimeArgs, duration, whole};
use pp_http::{Budget, HostName, OriginName, ProbeBind};
use pp_lib::serving::StoreOptions;
use pp_lib::streams::StreamsOptions;
use pp_lib::tls::{Identity, IdentityError};

use crate::{Asking, Config, PathPrefix, ProxyArgs};

const CERT: &str = "PP_TLS_CERT";
const KEY: &str = "PP_TLS_KEY";
/// The interval of heartbeats on a stream. It is shorter than the timeouts of proxies.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The time a client may leave sent bytes unread.
const UNREAD: Duration = Duration::from_secs(30);

/// The settings of the REST API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub struct ApiArgs {
    /// The address the API listens on.
    #[arg(long, env = "PP_API_BIND", value_name = "HOST:PORT", default_value = "127.0.0.1:3000", value_parser = host_and_port)]
    pub api_bind: String,

    /// The maximum size of a request body [unit: bytes, as in 256KiB].
    #[arg(long, env = "PP_BODY_LIMIT", value_name = "SIZE", default_value = "256KiB", value_parser = size)]
    pub body_limit: usize,

    /// The maximum size of all request bodies together, and of all answers together; a request beyond it is answered
    /// with 503 [unit: bytes, as in 64MiB].
    #[arg(long, env = "PP_BODY_BUDGET", value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub body_budget: usize,

    /// The hosts the API answers to, in addition to localhost and the bound address: the names clients and proxies use
    /// [as in pp.example.com,api:3000].
    #[arg(long, env = "PP_API_HOSTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub api_hosts: Vec<HostName>,

    /// The origins whose pages may use the API from a browser, with a key of their own [as in https://app.example.com].
    #[arg(long, env = "PP_API_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub api_origins: Vec<OriginName>,

    /// The path in front of every path, which a proxy takes away before it passes a request on; links begin with it [as in
    /// /pp].
    #[arg(
        long,
        env = "PP_API_PREFIX",
        value_name = "PATH",
        default_value = "",
        hide_default_value = true
    )]
    pub api_prefix: PathPrefix,

    /// The requests that one key, one user of a proxy, or one peer without a key, may send in a second, and at once; one more is answered with
    /// 429 [a number or off].
    #[arg(long, env = "PP_RATE", value_name = "COUNT", default_value = "off", value_parser = rate)]
    pub rate: Rate,

    /// The number of connections beside live streams; others wait to be accepted.
    #[arg(long, env = "PP_CONNECTIONS", value_name = "COUNT", default_value = "4096", value_parser = whole(1..=1_000_000_usize))]
    pub connections: usize,

    /// The number of connections of one address, which a proxy is as well; one more is answered with 503 [default: 1000,
    /// and loopback is not counted].
    #[arg(long, env = "PP_PEER_CONNECTIONS", value_name = "COUNT", value_parser = whole(1..=1_000_000_usize))]
    pub peer_connections: Option<usize>,

    /// The number of live streams of one address; one more is answered with 503 [default: 1000, and loopback is not
    /// counted].
    #[arg(long, env = "PP_PEER_STREAMS", value_name = "COUNT", value_parser = whole(1..=1_000_000_usize))]
    pub peer_streams: Option<usize>,

    /// The address of a listener for health pages and metrics alone, which answers while the API's connections are taken,
    /// or `off`. It asks for no key.
    #[arg(long, env = "PP_PROBE_BIND", value_name = "HOST:PORT", default_value = "off")]
    pub probe_bind: ProbeBind,

    /// Whether API keys are asked for: auto asks on loopback as soon as there is a key or a proxy signs users in, and
    /// always elsewhere; off never asks.
    #[arg(long, env = "PP_AUTH", value_enum, default_value = "auto")]
    pub auth: Auth,

    /// A file with the admin key of a database that has none. If it is missing, a key is made and written to it.
    #[arg(long, env = "PP_ADMIN_KEY_FILE", value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,

    /// The proxies that sign users in.
    #[command(flatten)]
    pub proxies: ProxyArgs,

    /// The time that rows of the audit are kept [unit: duration, as in 90d].
    #[arg(long, env = "PP_AUDIT_RETAIN", value_name = "DURATION", default_value = "90d", value_parser = audit_retain)]
    pub audit_retain: Duration,

    /// The time limit of a request's head, of its body and of its answer [unit: duration, as in 10s].
    #[arg(long, env = "PP_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub request_timeout: Duration,

    /// The number of requests of a kind that may wait for the store; one more is answered with 503.
    #[arg(long, env = "PP_MAILBOX", value_name = "COUNT", default_value = "1024", value_parser = whole(1..=1_000_000_usize))]
    pub mailbox: usize,

    /// The maximum number of waiting requests combined into one statement.
    #[arg(long, env = "PP_STORE_BATCH", value_name = "COUNT", default_value = "512", value_parser = whole(1..=8192_usize))]
    pub store_batch: usize,

    /// The time an answer to an `Idempotency-Key` is remembered [unit: duration, as in 24h].
    #[arg(long, env = "PP_IDEMPOTENCY_TTL", value_name = "DURATION", default_value = "24h", value_parser = idempotency_ttl)]
    pub idempotency_ttl: Duration,

    /// The number of clients that may follow live streams at once; one more is answered with 503.
    #[arg(long, env = "PP_STREAM_CLIENTS", value_name = "COUNT", default_value = "10000", value_parser = whole(1..=1_000_000_usize))]
    pub stream_clients: usize,

    /// The certificate of the API in a PEM file, with those of the authorities between it and a root; the API then speaks
    /// HTTPS. A changed file is read within seconds.
    #[arg(long, env = "PP_TLS_CERT", value_name = "FILE", help_heading = "TLS")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of the certificate in a PEM file.
    #[arg(long, env = "PP_TLS_KEY", value_name = "FILE", help_heading = "TLS")]
    pub tls_key: Option<PathBuf>,
}

/// A rate of requests in a second, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub Option<NonZeroU32>);

/// Whether API keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Auth {
    /// On loopback as soon as there is a key, and always elsewhere.
    Auto,
    /// Never.
    Off,
}

impl ApiArgs {
    /// The configuration of the server, with settings of the process and without [`Self::identity`].
    pub fn config(&self, runtime: &RuntimeArgs, asking: Asking) -> Config {
        Config {
            asking,
            body_limit: self.body_limit,
            args_limit: runtime.args_limit,
            body_budget: self.body_budget,
            hosts: self.hosts(),
            origins: self.api_origins.clone(),
            prefix: self.api_prefix.clone(),
            proxies: self.proxies.trusted(),
            rate: self.rate.0,
            connections: self.stream_clients.saturating_add(self.connections),
            peer_connections: self.peer_connections,
            peer_streams: self.peer_streams,
            request_timeout: self.request_timeout,
            grace: runtime.grace,
            heartbeat: HEARTBEAT,
            unread: UNREAD,
            identity: None,
        }
    }

    /// The names in `PP_API_HOSTS`, and the name in `PP_API_BIND`.
    fn hosts(&self) -> Vec<HostName> {
        let bound = self.api_bind.rsplit_once(':').and_then(|(host, _)| host.parse().ok());
        self.api_hosts.iter().cloned().chain(bound).collect()
    }

    /// The certificate and the key, or nothing if neither is set. The error names the variable and the file.
    pub fn identity(&self) -> Result<Option<Arc<Identity>>, ConfigError> {
        let (certificate, key) = match (&self.tls_cert, &self.tls_key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => return Err(ConfigError::new(KEY, "not set, but PP_TLS_CERT is; set both or none")),
            (None, Some(_)) => return Err(ConfigError::new(CERT, "not set, but PP_TLS_KEY is; set both or none")),
        };
        let identity = Identity::load(certificate, key);
        identity.map(Some).map_err(|error| match error {
            IdentityError::Certificate(why) => ConfigError::new(CERT, why),
            IdentityError::Key(why) => ConfigError::new(KEY, why),
        })
    }

    /// The scheme of the API's URLs.
    pub fn scheme(&self) -> &'static str {
        match self.tls_cert {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Checks the settings that depend on each other, and the files. The error is one line that names the variables.
    pub fn check(&self) -> anyhow::Result<()> {
        let largest = Budget::new(self.body_budget).largest_share();
        if largest < self.body_limit {
            bail!(
                "a body of PP_BODY_LIMIT ({}) bytes does not fit into seven eighths of PP_BODY_BUDGET ({}) bytes; choose a \
                 larger budget or a smaller limit",
                self.body_limit,
                self.body_budget
            );
        }
        self.identity()?;
        Ok(())
    }

    /// The options of live streams.
    pub fn streams_options(&self) -> StreamsOptions {
        StreamsOptions {
            clients: self.stream_clients,
            ..StreamsOptions::default()
        }
    }

    /// The options of the store's actor.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            mailbox: self.mailbox,
            batch: self.store_batch,
            idempotency_ttl: self.idempotency_ttl,
            ..StoreOptions::default()
        }
    }
}

/// Opens the listener of `PP_API_BIND`. The error is one line that names the address and the variable.
pub fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("port {port} is taken"),
            std::io::ErrorKind::PermissionDenied => format!("port {port} is not permitted"),
            _ => error.to_string(),
        };
        anyhow!("cannot listen on {address}: {why}; choose another address with PP_API_BIND (--api-bind)")
    })
}

fn host_and_port(text: &str) -> Result<String, String> {
    let numbered = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if numbered && text.to_socket_addrs().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("expected a host and a port, as in 127.0.0.1:3000".to_owned())
    }
}

fn size(text: &str) -> Result<usize, String> {
    pp_cli::config::size(1..=1 << 30)(text)
}

fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected more than 0".to_owned()),
        duration => Ok(duration),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "off" => Ok(Rate(None)),
        _ => {
            let number = whole(1..=1_000_000_u32)(text).map_err(|why| format!("{why}, or off"))?;
            Ok(Rate(NonZeroU32::new(number)))
        }
    }
}

fn audit_retain(text: &str) -> Result<Duration, String> {
    let day = Duration::from_secs(24 * 3600);
    let retain = duration(text)?;
    let within = (day..=day * 3660).contains(&retain).then_some(retain);
    within.ok_or_else(|| "expected a duration from 1d to 3660d".to_owned())
}

fn idempotency_ttl(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
    let ttl = duration(text)?;
    let within = bounds.contains(&ttl).then_some(ttl);
    within.ok_or_else(|| "expected a duration from 1m to 30d".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn parse(args: &[&str]) -> Result<ApiArgs, String> {
        let command = ApiArgs::augment_args(clap::Command::new("api"));
        let matches = command.try_get_matches_from([&["api"], args].concat());
        let matches = matches.map_err(|error| error.to_string())?;
        ApiArgs::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_match_the_documentation() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.api_bind, "127.0.0.1:3000");
        assert_eq!(
            (args.body_limit, args.request_timeout),
            (262_144, Duration::from_secs(10))
        );
        assert_eq!((args.body_budget, args.api_hosts.len()), (67_108_864, 0));
        let options = args.store_options();
        assert_eq!((options.mailbox, options.batch), (1024, 512));
        assert_eq!(options.idempotency_ttl, Duration::from_secs(86_400));
        assert_eq!(args.streams_options().clients, 10_000);
    }

    #[test]
    fn an_invalid_value_is_refused_with_the_name_of_its_setting() {
        for (flag, value) in [
            ("--api-bind", "3000"),
            ("--api-bind", "127.0.0.1:70000"),
            ("--body-limit", "0"),
            ("--body-limit", "lots"),
            ("--body-limit", "2GiB"),
            ("--body-budget", "0"),
            ("--api-hosts", "http://pp.example.com"),
            ("--request-timeout", "10"),
            ("--request-timeout", "0"),
            ("--mailbox", "0"),
            ("--store-batch", "-1"),
            ("--stream-clients", "0"),
            ("--stream-clients", "1000001"),
            ("--idempotency-ttl", "59s"),
            ("--idempotency-ttl", "31d"),
            ("--audit-retain", "0"),
            ("--api-origins", "*"),
            ("--api-prefix", "pp/"),
            ("--rate", "0"),
            ("--connections", "0"),
            ("--peer-connections", "0"),
            ("--peer-streams", "many"),
        ] {
            let argument = format!("{flag}={value}");
            let error = parse(&[&argument]).unwrap_err();
            assert!(
                error.contains(flag) && error.contains("expected") || error.contains("need"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_taken_port_is_one_line_with_the_port_and_the_variable() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(&address.to_string()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "cannot listen on {address}: port {} is taken; choose another address with PP_API_BIND (--api-bind)",
                address.port()
            )
        );
    }
}
