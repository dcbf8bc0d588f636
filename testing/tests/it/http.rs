//! A client of the REST API: one agent, every status an answer, nothing waited for longer than a few seconds.

use std::time::Duration;

use serde_json::Value;

use crate::program::Process;

/// The API at one address; clones share their connections.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) port: u16,
    agent: ureq::Agent,
}

/// A work that was read.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) work: Value,
    /// Where it came from, in the words of `Cache-Status`.
    pub(crate) source: String,
}

impl Api {
    /// A client of the API on this loopback port.
    pub(crate) fn at(port: u16) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Self {
            port,
            agent: agent.into(),
        }
    }

    /// The status and the body of an answer, when there is one.
    pub(crate) fn try_get(&self, path: &str) -> Result<(u16, String), ureq::Error> {
        read(self.agent.get(self.url(path)).call()?)
    }

    /// The JSON of an answer that must be a good one.
    pub(crate) fn get(&self, path: &str) -> Value {
        match self.try_get(path) {
            Ok((200, body)) => serde_json::from_str(&body).unwrap(),
            other => panic!("GET {path}: {other:?}"),
        }
    }

    /// Asks for a work; of one that was acknowledged, its JSON.
    pub(crate) fn try_post(&self, body: &str) -> Result<(u16, String), ureq::Error> {
        let request = self.agent.post(self.url("/work"));
        match body {
            "" => read(request.send_empty()?),
            json => read(request.content_type("application/json").send(json)?),
        }
    }

    /// Demands a work, perhaps under a key.
    pub(crate) fn try_demand(&self, body: &str, key: Option<&str>) -> Result<(u16, String), ureq::Error> {
        let mut request = self.agent.post(self.url("/work/demand"));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        read(request.content_type("application/json").send(body)?)
    }

    /// The JSON of a demand that must be accepted.
    pub(crate) fn demand(&self, body: &str, key: Option<&str>) -> Value {
        match self.try_demand(body, key) {
            Ok((202, body)) => serde_json::from_str(&body).unwrap(),
            other => panic!("POST /work/demand {body}: {other:?}"),
        }
    }

    /// Deletes a work that is there.
    pub(crate) fn delete(&self, id: &Value) {
        let deleted = self.agent.delete(self.url(&format!("/work/{id}"))).call();
        assert_eq!(deleted.unwrap().status(), 204, "DELETE /work/{id}");
    }

    /// Has all dead letters run again; how many.
    pub(crate) fn redrive_all(&self) -> i64 {
        let answer = self.agent.post(self.url("/deadletter/redrive?all=true")).send_empty();
        match read(answer.unwrap()) {
            Ok((200, body)) => serde_json::from_str::<Value>(&body).unwrap()["redriven"]
                .as_i64()
                .unwrap(),
            other => panic!("POST /deadletter/redrive: {other:?}"),
        }
    }

    /// Creates a work.
    pub(crate) fn post(&self, body: &str) -> Value {
        match self.try_post(body) {
            Ok((200, body)) => serde_json::from_str(&body).unwrap(),
            other => panic!("POST /work {body}: {other:?}"),
        }
    }

    /// Gives a work another bound; the work as it is then.
    pub(crate) fn patch(&self, id: i64, add_up_to: i64) -> Value {
        let request = self.agent.patch(self.url(&format!("/work/{id}")));
        let body = format!(r#"{{"add_up_to":{add_up_to}}}"#);
        match read(request.content_type("application/json").send(body).unwrap()) {
            Ok((200, body)) => serde_json::from_str(&body).unwrap(),
            other => panic!("PATCH /work/{id} to {add_up_to}: {other:?}"),
        }
    }

    /// Reads a work that is there.
    pub(crate) fn see(&self, id: i64) -> Seen {
        let answer = self.agent.get(self.url(&format!("/work/{id}"))).call().unwrap();
        let source = answer.headers()["cache-status"].to_str().unwrap().to_owned();
        match read(answer) {
            Ok((200, body)) => Seen {
                work: serde_json::from_str(&body).unwrap(),
                source,
            },
            other => panic!("GET /work/{id}: {other:?}"),
        }
    }

    /// Whether the health page says that requests may be sent.
    pub(crate) fn is_ready(&self) -> bool {
        self.try_get("/health/ready").is_ok_and(|(status, _)| status == 200)
    }

    /// Waits until the process that serves it is ready.
    pub(crate) fn ready(&self, process: &mut Process) {
        process.is_seen_to("be ready", |_| self.is_ready());
    }

    /// The names of a work's events, oldest first, and the value of its result.
    pub(crate) fn history(&self, id: i64) -> (Vec<String>, Option<String>) {
        let events = self.get(&format!("/work/{id}/events"));
        let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
        let events = events.as_array().unwrap();
        let result = events
            .iter()
            .find(|event| event["variable"] == "compute/result")
            .map(|event| text(event, "value"));
        (events.iter().map(|event| text(event, "variable")).collect(), result)
    }

    /// Every work there is, newest first, page by page.
    pub(crate) fn all(&self) -> Vec<Value> {
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

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<(u16, String), ureq::Error> {
    let body = answer.body_mut().read_to_string()?;
    Ok((answer.status().as_u16(), body))
}
