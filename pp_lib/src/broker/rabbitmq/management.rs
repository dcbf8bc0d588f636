//! Reads the policies of the queues from RabbitMQ's management API. AMQP does not show policies, and some of them drop
//! confirmed messages.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use pp_tls::Trust;
use serde::Deserialize;
use serde_json::{Map, Value};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use url::Url;

use super::super::{BrokerError, Result};

/// The time limit of an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of an answer. The description of a queue is smaller.
const LARGEST_ANSWER: u64 = 1 << 20;
/// The smallest harmless delivery limit. A lower one drops demands whose workers crash.
const ENOUGH_DELIVERIES: i64 = 1_000_000;

/// The management API of a RabbitMQ server.
#[derive(Clone)]
pub struct Management {
    agent: Agent,
    /// The address of the virtual host's queues, without the login.
    queues: Url,
    authorization: String,
}

/// The used part of a queue's description.
#[derive(Deserialize)]
struct Described {
    /// Missing for some seconds after the queue was created.
    effective_policy_definition: Option<Definition>,
}

/// RabbitMQ sends an empty list if there is no policy.
#[derive(Deserialize)]
#[serde(untagged)]
enum Definition {
    Keys(Map<String, Value>),
    None(#[allow(dead_code, reason = "only its form counts")] Vec<Value>),
}

impl Management {
    /// The API at `http://user:password@host:15672`, or `https://`, for the broker at a URL. An error does not quote
    /// secrets. An address without a login uses the broker's login.
    pub fn new(address: &str, broker: &str, trust: &Trust) -> Result<Self> {
        let wrong = |why: &str| BrokerError::Rejected(format!("expected http://user:password@host:15672: {why}"));
        let mut base = Url::parse(address).map_err(|error| wrong(&error.to_string()))?;
        let broker = Url::parse(broker).map_err(|error| wrong(&error.to_string()))?;
        if !["http", "https"].contains(&base.scheme()) || base.host().is_none() {
            return Err(wrong("another scheme, or no host"));
        }
        let with_login = if base.username().is_empty() { &broker } else { &base };
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let (user, password) = (with_login.username(), with_login.password().unwrap_or_default());
        let login = STANDARD.encode(format!("{}:{}", decoded(user), decoded(password)));
        // The broker's virtual host has the same encoding in both URLs.
        let virtual_host = match broker.path().strip_prefix('/') {
            None | Some("") => "%2f",
            Some(named) => named,
        };
        let _ = (base.set_username(""), base.set_password(None));
        let root = base.as_str().trim_end_matches('/').to_owned();
        let queues = Url::parse(&format!("{root}/api/queues/{virtual_host}"));
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(tls(trust))
            .build();
        Ok(Self {
            agent: agent.into(),
            queues: queues.map_err(|error| wrong(&error.to_string()))?,
            authorization: format!("Basic {login}"),
        })
    }

    /// The policies that drop messages of these queues, described for an operator. An empty list is fine.
    pub async fn dropping(&self, queues: Vec<String>) -> Result<Vec<String>> {
        let management = self.clone();
        let asked = tokio::task::spawn_blocking(move || management.ask(&queues)).await;
        asked.unwrap_or_else(|error| Err(BrokerError::Unavailable(error.to_string())))
    }

    fn url_of(&self, queue: &str) -> Url {
        let mut url = self.queues.clone();
        // It has a host, so it has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(queue);
        }
        url
    }

    fn ask(&self, queues: &[String]) -> Result<Vec<String>> {
        let mut dropping = Vec::new();
        for name in queues {
            let url = self.url_of(name);
            let failed = |why: String| BrokerError::Unavailable(format!("{url}: {why}"));
            let asked = self
                .agent
                .get(url.as_str())
                .header("authorization", &self.authorization);
            let mut reply = asked.call().map_err(|error| failed(pp_tls::words(&error)))?;
            if !reply.status().is_success() {
                return Err(failed(format!("it answers {}", reply.status())));
            }
            let body = reply.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
            let body = body.map_err(|error| failed(error.to_string()))?;
            let described: Described = serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
            match described.effective_policy_definition {
                Some(Definition::Keys(keys)) => dropping.extend(drops(&keys).map(|why| format!("{name}: {why}"))),
                Some(Definition::None(_)) => {}
                None => return Err(failed("it does not know the policy yet".to_owned())),
            }
        }
        Ok(dropping)
    }
}

/// TLS for the client, with the authorities that are trusted.
fn tls(trust: &Trust) -> TlsConfig {
    let authorities = trust.certificates();
    let authorities = authorities.iter().map(|one| Certificate::from_der(one).to_owned());
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(pp_tls::provider())
        .root_certs(RootCerts::from(authorities))
        .build()
}

/// The ways in which a policy drops messages.
fn drops(policy: &Map<String, Value>) -> impl Iterator<Item = String> + use<> {
    let rejects = policy.get("overflow").and_then(Value::as_str) == Some("reject-publish");
    let harmless = move |key: &str, value: &Value| match key {
        "max-length" | "max-length-bytes" => rejects,
        "message-ttl" | "expires" => false,
        "delivery-limit" => (value.as_i64()).is_some_and(|limit| !(0..ENOUGH_DELIVERIES).contains(&limit)),
        _ => true,
    };
    let dropping: Vec<String> = policy
        .iter()
        .filter(|(key, value)| !harmless(key, value))
        .map(|(key, value)| match key.as_str() {
            "max-length" | "max-length-bytes" => format!("{key} {value} without overflow reject-publish"),
            _ => format!("{key} {value}"),
        })
        .collect();
    dropping.into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(address: &str, broker: &str) -> Result<Management> {
        Management::new(address, broker, &Trust::default())
    }

    fn login_of(management: &Management) -> String {
        let encoded = management.authorization.strip_prefix("Basic ").unwrap();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn the_queues_are_those_of_the_brokers_virtual_host() {
        for (broker, virtual_host) in [
            ("amqp://b:bp@h", "%2f"),
            ("amqp://b:bp@h/", "%2f"),
            ("amqp://b:bp@h/%2F", "%2F"),
            ("amqp://b:bp@h/orders", "orders"),
        ] {
            let own = named("http://user:p%40ss@host:15672/", broker).unwrap();
            let url = own.url_of("my/jobs é").to_string();
            assert_eq!(
                url,
                format!("http://host:15672/api/queues/{virtual_host}/my%2Fjobs%20%C3%A9")
            );
            assert_eq!(login_of(&own), "user:p@ss");
            assert_eq!(login_of(&named("http://host:15672", broker).unwrap()), "b:bp");
        }
        for bad in ["", "host", "amqp://u:secret@h", "ftp://u:secret@h"] {
            let error = named(bad, "amqp://b:secret@h").map(|_| ()).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_policy_that_drops_messages_is_reported() {
        let drops = |policy: Value| drops(policy.as_object().unwrap()).collect::<Vec<String>>();
        for safe in [
            json!({}),
            json!({"max-length": 5, "overflow": "reject-publish"}),
            json!({"max-length-bytes": 5, "overflow": "reject-publish", "queue-version": 2}),
            json!({"delivery-limit": 1_000_000_000}),
            json!({"delivery-limit": -1}),
        ] {
            assert_eq!(drops(safe.clone()), [""; 0], "{safe}");
        }
        let without = ["max-length 5 without overflow reject-publish"];
        assert_eq!(drops(json!({"max-length": 5})), without);
        assert_eq!(drops(json!({"max-length": 5, "overflow": "drop-head"})), without);
        assert_eq!(drops(json!({"message-ttl": 60_000})), ["message-ttl 60000"]);
        assert_eq!(drops(json!({"expires": 60_000})), ["expires 60000"]);
        assert_eq!(drops(json!({"delivery-limit": 20})), ["delivery-limit 20"]);
    }
}
