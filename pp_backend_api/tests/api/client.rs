//! A client that returns the complete answer for every status.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    /// The value of a header, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts problem details with this status and answers their detail.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], status, "{json}");
        assert_eq!(json["type"], "about:blank", "{json}");
        assert!(json["title"].as_str().is_some_and(|title| !title.is_empty()), "{json}");
        json["detail"].as_str().unwrap().to_owned()
    }
}

/// Sends a request. `body` is a content type and the bytes.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = match body {
        Some(body) => agent.run(request.body(body).unwrap()),
        None => agent.run(request.body(()).unwrap()),
    };
    let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    Answer {
        status: answer.status().as_u16(),
        body: answer.body_mut().read_to_string().unwrap(),
        headers: answer.headers().clone(),
    }
}

impl super::server::Server {
    pub(crate) fn get(&self, path: &str) -> Answer {
        send(self.address, "GET", path, &[], None)
    }

    pub(crate) fn post(&self, json: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        send(self.address, "POST", "/work", &headers, Some(json.as_bytes()))
    }

    /// Creates a work with this bound.
    pub(crate) fn created(&self, bound: u32) -> Value {
        let answer = self.post(&format!(r#"{{"add_up_to":{bound}}}"#));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}
