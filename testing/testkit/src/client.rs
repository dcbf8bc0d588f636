//! The HTTP client of all tests. Every status is an answer, and redirects are not followed.
//!
//! `try_…` returns what came, for tests of faults. The methods without it panic unless the answer is a good one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Longer than the API gives a request, and than a test freezes a process.
const TIMEOUT: Duration = Duration::from_secs(30);
const BODY_LIMIT: u64 = 64 << 20;

/// The answer, or why none came; the request may have taken effect all the same.
pub type Sent = Result<Answer, ureq::Error>;

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
    /// Its headers.
    pub headers: ureq::http::HeaderMap,
}

impl Answer {
    /// The value of a header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of an answer that must have this status.
    pub fn with(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Asserts problem details with this status and returns their detail.
    pub fn problem(&self, status: u16) -> String {
        let json = self.with(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(json["status"], status, "{json}");
        assert_eq!(json["type"], "about:blank", "{json}");
        assert!(json["title"].as_str().is_some_and(|title| !title.is_empty()), "{json}");
        json["detail"].as_str().unwrap().to_owned()
    }
}

/// What is told of each answer: method and target of its request, and the answer.
pub type Observer = fn(&str, &str, &Answer);

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Tells of each answer from now on. The first observer of a process stays.
pub fn observe(observer: Observer) {
    let _ = OBSERVER.set(observer);
}

/// Sends a request on a connection of its own. It must be answered.
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
    let sent = Api::at(address.port()).try_send(method, path, headers, body);
    sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// A client of the API on one port of this machine. Clones share their connections.
#[derive(Clone)]
pub struct Api {
    /// The port.
    pub port: u16,
    scheme: &'static str,
    agent: ureq::Agent,
}

/// A work that was read.
#[derive(Debug)]
pub struct Seen {
    /// Its JSON.
    pub work: Value,
    /// Where it came from, as in `Cache-Status`.
    pub source: String,
}

impl Api {
    /// A client of the API on this loopback port.
    pub fn at(port: u16) -> Self {
        Self::new("http", port, TlsConfig::default())
    }

    /// A client of the API on this port of localhost, over TLS, that trusts no other authority than this one in PEM
    /// format.
    pub fn over_tls(port: u16, authority: &str) -> Self {
        let authority = Certificate::from_pem(authority.as_bytes()).unwrap();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(pp_tls::provider())
            .root_certs(RootCerts::from([authority]))
            .build();
        Self::new("https", port, tls)
    }

    fn new(scheme: &'static str, port: u16, tls: TlsConfig) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            .build();
        Self {
            scheme,
            port,
            agent: agent.into(),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When no complete answer comes.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Sent {
        let mut request = ureq::http::Request::builder().method(method).uri(format!(
            "{}://{}:{}{path}",
            self.scheme,
            self.host(),
            self.port
        ));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let answer = Answer {
            status: answer.status().as_u16(),
            body: answer.body_mut().with_config().limit(BODY_LIMIT).read_to_string()?,
            headers: answer.headers().clone(),
        };
        if let Some(observer) = OBSERVER.get() {
            observer(method, path, &answer);
        }
        Ok(answer)
    }

    fn host(&self) -> &'static str {
        if self.scheme == "https" {
            "localhost"
        } else {
            "127.0.0.1"
        }
    }

    /// Gets a page.
    ///
    /// # Errors
    /// When no complete answer comes.
    pub fn try_get(&self, path: &str) -> Sent {
        self.try_send("GET", path, &[], None)
    }

    /// Sends JSON, or no body if it is empty, with an idempotency key if there is one.
    ///
    /// # Errors
    /// When no complete answer comes.
    pub fn try_json(&self, method: &str, path: &str, json: &str, key: Option<&str>) -> Sent {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        match json {
            "" => self.try_send(method, path, &headers[1..], None),
            json => self.try_send(method, path, &headers, Some(json.as_bytes())),
        }
    }

    /// Posts JSON, or no body if it is empty.
    ///
    /// # Errors
    /// When no complete answer comes.
    pub fn try_post(&self, path: &str, json: &str) -> Sent {
        self.try_json("POST", path, json, None)
    }

    /// Demands a work, with an idempotency key if there is one.
    ///
    /// # Errors
    /// When no complete answer comes.
    pub fn try_demand(&self, json: &str, key: Option<&str>) -> Sent {
        self.try_json("POST", "/work/demand", json, key)
    }

    /// Whether the API can be used.
    pub fn is_ready(&self) -> bool {
        self.try_get("/health/ready").is_ok_and(|answer| answer.status == 200)
    }

    /// The JSON of a page.
    pub fn get(&self, path: &str) -> Value {
        self.try_get(path).unwrap().with(200)
    }

    /// Creates a work.
    pub fn post(&self, json: &str) -> Value {
        self.try_post("/work", json).unwrap().with(200)
    }

    /// Demands a work, with an idempotency key if there is one.
    pub fn demand(&self, json: &str, key: Option<&str>) -> Value {
        self.try_demand(json, key).unwrap().with(202)
    }

    /// Changes the bound of a work and returns the new work.
    pub fn patch(&self, id: i64, add_up_to: i64) -> Value {
        let json = format!(r#"{{"add_up_to":{add_up_to}}}"#);
        let sent = self.try_json("PATCH", &format!("/work/{id}"), &json, None);
        sent.unwrap().with(200)
    }

    /// Deletes a work.
    pub fn delete(&self, id: &Value) {
        let answer = self.try_send("DELETE", &format!("/work/{id}"), &[], None).unwrap();
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// Redrives all dead letters and returns their number.
    pub fn redrive_all(&self) -> i64 {
        let answer = self.try_post("/deadletter/redrive?all=true", "").unwrap();
        answer.with(200)["redriven"].as_i64().unwrap()
    }

    /// Reads a work.
    pub fn see(&self, id: i64) -> Seen {
        let answer = self.try_get(&format!("/work/{id}")).unwrap();
        Seen {
            work: answer.with(200),
            source: answer.header("cache-status").to_owned(),
        }
    }

    /// The names of a work's events, oldest first, and the value of its result.
    pub fn history(&self, id: i64) -> (Vec<String>, Option<String>) {
        let events = self.get(&format!("/work/{id}/events"));
        let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
        let events = events.as_array().unwrap();
        let result = events.iter().find(|event| event["variable"] == "compute/result");
        (
            events.iter().map(|event| text(event, "variable")).collect(),
            result.map(|event| text(event, "value")),
        )
    }

    /// All works, newest first, read page by page.
    pub fn all(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let before = all.last().map(|work| format!("&before={}", work["id"]));
            let page = self.get(&format!("/work?limit=1000{}", before.unwrap_or_default()));
            match page.as_array().unwrap().as_slice() {
                [] => return all,
                page => all.extend_from_slice(page),
            }
        }
    }
}
