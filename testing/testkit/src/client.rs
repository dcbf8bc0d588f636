//! A client of the REST API for the load: every status is an answer, and nothing is waited for endlessly.

use std::time::Duration;

use serde_json::Value;

/// Longer than the API itself gives a request.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What became of a request.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// 200 or 202 with its JSON, or 204 with `null`.
    Good(Value),
    /// 404.
    Missing,
    /// 503 or 409: not now.
    Later,
    /// None: the connection broke, or it took too long. It may have taken effect.
    Lost,
    /// Something that a good server does not say to a good client.
    Odd(String),
}

/// The API at one address; clones share their connections.
#[derive(Clone)]
pub struct Client {
    base: String,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the API on this loopback port.
    pub fn at(port: u16) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self {
            base: format!("http://127.0.0.1:{port}"),
            agent: agent.into(),
        }
    }

    /// Posts a body, nothing if it is empty, perhaps under an idempotency key.
    pub fn post(&self, path: &str, body: &str, key: Option<&str>) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let sent = match body {
            "" => request.send_empty(),
            json => request.content_type("application/json").send(json),
        };
        answer(sent)
    }

    /// Posts a change that the work's status may rule out: 409, which is `null` here.
    pub fn change(&self, path: &str) -> Answer {
        let sent = self.agent.post(format!("{}{path}", self.base)).send_empty();
        match sent {
            Ok(response) if response.status().as_u16() == 409 => Answer::Good(Value::Null),
            sent => answer(sent),
        }
    }

    /// Changes.
    pub fn patch(&self, path: &str, body: &str) -> Answer {
        let request = self.agent.patch(format!("{}{path}", self.base));
        answer(request.content_type("application/json").send(body))
    }

    /// Deletes.
    pub fn delete(&self, path: &str) -> Answer {
        answer(self.agent.delete(format!("{}{path}", self.base)).call())
    }

    /// Reads.
    pub fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// Whether requests may be sent.
    pub fn is_ready(&self) -> bool {
        matches!(self.get("/health/ready"), Answer::Good(_))
    }
}

fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let Ok(mut response) = sent else { return Answer::Lost };
    let status = response.status().as_u16();
    let Ok(text) = response.body_mut().with_config().limit(64 << 20).read_to_string() else {
        return Answer::Lost;
    };
    match status {
        204 => Answer::Good(Value::Null),
        404 => Answer::Missing,
        200 | 202 => match serde_json::from_str(&text) {
            Ok(json) => Answer::Good(json),
            Err(_) => Answer::Odd(format!("{status} without JSON: {text}")),
        },
        409 | 503 => Answer::Later,
        other => Answer::Odd(format!("{other}: {text}")),
    }
}
