//! Queries works over the REST API.
//!
//! An answer that no API of PP would give is an error, not a panic. Every answer is read up to a limit.

mod parts;
mod stream;

use std::time::Duration;

use pp_cli::config::DurationText;
use pp_lib::access::ApiKey;
use pp_lib::domain::{
    ApiKeyId, AuditEntry, DeadLetter, DeadLetterId, Event, Json, KeyInfo, KeyLabel, KindName, Problem, Scopes, Stats,
    Work, WorkId, WorksPerDay,
};
use pp_lib::kinds::Declaration;
use pp_lib::serving::CreateWork;
use pp_lib::store::{AuditFilter, LetterFilter, Search, Selection};
use pp_lib::tls::{self, Trust};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, RequestBuilder};

use self::parts::{args_field, body, filter_parameters, letters_parameters, parameters, sentence};
use crate::commands::{Followed, Works};
use crate::failure::Failure;

pub(crate) use stream::Stream;

/// The maximum size of an answer. A thousand works or the longest history fit.
const LARGEST_ANSWER: u64 = 16 * 1024 * 1024;

pub(crate) struct Api {
    agent: Agent,
    /// The header `Authorization`, if there is a key.
    bearer: Option<String>,
    base: String,
    timeout: Duration,
}

/// An answer as it came, for the doctor.
pub(crate) struct Raw {
    pub(crate) status: u16,
    /// The header `Date`, as a Unix second.
    pub(crate) date: Option<i64>,
    pub(crate) body: Value,
}

impl Api {
    /// An API whose requests take at most `timeout` each.
    pub(crate) fn new(url: &str, key: Option<&ApiKey>, trust: &Trust, timeout: Duration) -> Result<Self, Failure> {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Requests go directly to the given address, never through a proxy.
            .proxy(None)
            .tls_config(trusting(trust))
            .user_agent(concat!("cli_01/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .build();
        Ok(Self {
            agent: config.new_agent(),
            bearer: key.map(|key| format!("Bearer {}", key.secret())),
            base: base(url)?,
            timeout,
        })
    }

    /// The address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Gets a page, whatever its status is. A body that is no JSON is null.
    pub(crate) fn raw(&self, path: &str) -> Result<Raw, Failure> {
        let reply = self.get(path).call().map_err(|error| self.unreachable(&error))?;
        let date = reply.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
        let (status, body) = self.read(Ok(reply))?;
        Ok(Raw {
            status: status.as_u16(),
            date: date.map(|date| date.timestamp()),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }

    fn get(&self, path: &str) -> RequestBuilder<ureq::typestate::WithoutBody> {
        self.authorized(self.agent.get(self.url(path)))
    }

    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.bearer {
            Some(bearer) => request.header("authorization", bearer),
            None => request,
        }
    }

    fn post(&self, path: &str) -> RequestBuilder<ureq::typestate::WithBody> {
        self.authorized(self.agent.post(self.url(path)))
    }

    fn patch(&self, path: &str) -> RequestBuilder<ureq::typestate::WithBody> {
        self.authorized(self.agent.patch(self.url(path)))
    }

    fn delete_at(&self, path: &str) -> RequestBuilder<ureq::typestate::WithoutBody> {
        self.authorized(self.agent.delete(self.url(path)))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The answer of the API if it is a success of the expected form.
    fn answer<T: DeserializeOwned>(&self, reply: Result<Response<Body>, ureq::Error>) -> Result<T, Failure> {
        let (status, body) = self.read(reply)?;
        if status != StatusCode::OK {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body)
            .map_err(|error| Failure::Unavailable(format!("{} does not answer like an API of PP: {error}", self.base)))
    }

    /// Collects a list of at most `limit` items from its pages. `ask` gets the last item of the page before.
    fn pages<T: DeserializeOwned>(
        &self,
        limit: usize,
        ask: impl Fn(Option<&T>, usize) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Vec<T>, Failure> {
        let mut items: Vec<T> = Vec::new();
        loop {
            let reply = ask(items.last(), limit - items.len());
            let more = reply.as_ref().is_ok_and(|reply| reply.headers().contains_key("link"));
            let page: Vec<T> = self.answer(reply)?;
            let done = !more || page.is_empty();
            items.extend(page);
            if done || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    fn read(&self, reply: Result<Response<Body>, ureq::Error>) -> Result<(StatusCode, Vec<u8>), Failure> {
        let mut reply = reply.map_err(|error| self.unreachable(&error))?;
        let body = reply.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        Ok((reply.status(), body.map_err(|error| self.unreachable(&error))?))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let base = &self.base;
        Failure::Unavailable(match error {
            ureq::Error::Timeout(_) => format!("{base} did not answer within {}", DurationText(self.timeout)),
            ureq::Error::BodyExceedsLimit(limit) => format!("{base} answers with more than {limit} bytes"),
            ureq::Error::Io(error) => format!(
                "{base} cannot be reached (--api-url, PP_API_URL): {}",
                tls::words(error)
            ),
            ureq::Error::HostNotFound => format!("{base} cannot be reached (--api-url, PP_API_URL): unknown host"),
            other => format!("{base} does not answer like an API of PP: {other}"),
        })
    }

    /// The failure that an error status stands for.
    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let line = match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if !problem.detail.is_empty() => sentence(&problem),
            _ => format!("{} answers {status}", self.base),
        };
        match status {
            StatusCode::UNAUTHORIZED if self.bearer.is_none() => {
                Failure::Usage("the API asks for a key; set PP_API_KEY or PP_API_KEY_FILE".to_owned())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Usage(line),
            StatusCode::NOT_FOUND => Failure::NotFound(line),
            StatusCode::CONFLICT => Failure::Ended(line),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Failure::Usage(line),
            _ => Failure::Unavailable(line),
        }
    }
}

impl Works for Api {
    fn work(&self, id: WorkId) -> Result<Work, Failure> {
        self.answer(self.get(&format!("/work/{id}")).call())
    }

    fn search(&self, search: &Search) -> Result<Vec<Work>, Failure> {
        self.pages(search.limit.into(), |last: Option<&Work>, limit| {
            let part = Search {
                before: last.map(|work| work.id).or(search.before),
                limit: u16::try_from(limit).unwrap_or(search.limit),
                ..search.clone()
            };
            let pairs = parameters(&part);
            let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
            self.get("/work/search").query_pairs(pairs).call()
        })
    }

    fn events(&self, id: WorkId) -> Result<Vec<Event>, Failure> {
        self.pages(usize::MAX, |last: Option<&Event>, _| {
            let after = last.map(|event| ("after", event.id.to_string()));
            self.get(&format!("/work/{id}/events")).query_pairs(after).call()
        })
    }

    fn create(&self, wanted: CreateWork) -> Result<Work, Failure> {
        let request = self.post("/work");
        let reply = match body(&wanted) {
            Some(body) => request.content_type("application/json").send(body),
            None => request.send_empty(),
        };
        self.answer(reply)
    }

    fn update(&self, id: WorkId, args: &Json) -> Result<Work, Failure> {
        let request = self.patch(&format!("/work/{id}"));
        let body = format!("{{{}}}", args_field(args));
        self.answer(request.content_type("application/json").send(body))
    }

    fn cancel(&self, id: WorkId) -> Result<Work, Failure> {
        self.answer(self.post(&format!("/work/{id}/cancel")).send_empty())
    }

    fn retry(&self, id: WorkId) -> Result<Work, Failure> {
        self.answer(self.post(&format!("/work/{id}/retry")).send_empty())
    }

    fn delete(&self, id: WorkId) -> Result<(), Failure> {
        let request = self.delete_at(&format!("/work/{id}"));
        match self.read(request.call())? {
            (StatusCode::NO_CONTENT, _) => Ok(()),
            (status, body) => Err(self.refused(status, &body)),
        }
    }

    fn follow(&self, what: &Followed, last_id: Option<&str>) -> Result<Stream, Failure> {
        self.stream(what, last_id)
    }

    fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>, Failure> {
        self.pages(limit.into(), |last: Option<&DeadLetter>, limit| {
            let before = last.map(|letter| letter.id).or(before);
            let before = before.map(|before| ("before", before.to_string()));
            let pairs = [("limit", limit.to_string())].into_iter().chain(before);
            let pairs = pairs.chain(filter_parameters(filter));
            self.get("/deadletter").query_pairs(pairs).call()
        })
    }

    fn redrive(&self, which: &Selection, dry_run: bool) -> Result<u64, Failure> {
        let request = self.post("/deadletter/redrive");
        let request = request.query_pairs(letters_parameters(which, dry_run));
        let Redriven { redriven } = self.answer(request.send_empty())?;
        Ok(redriven)
    }

    fn drop_letters(&self, which: &Selection, dry_run: bool) -> Result<u64, Failure> {
        let request = self.delete_at("/deadletter");
        let request = request.query_pairs(letters_parameters(which, dry_run));
        let Dropped { dropped } = self.answer(request.call())?;
        Ok(dropped)
    }

    fn kinds(&self) -> Result<Vec<Value>, Failure> {
        self.answer(self.get("/kind").call())
    }

    fn workers(&self, limit: u16) -> Result<Vec<Value>, Failure> {
        self.answer(self.get(&format!("/worker?limit={limit}")).call())
    }

    fn declare(&self, kind: &KindName, declaration: &Declaration) -> Result<Value, Failure> {
        let request = self.authorized(self.agent.put(self.url(&format!("/kind/{kind}"))));
        let body = declaration.json().to_string();
        self.answer(request.content_type("application/json").send(body))
    }

    fn set_policy(&self, kind: &KindName, change: &Json) -> Result<Value, Failure> {
        let request = self.patch(&format!("/kind/{kind}"));
        let body = format!("{{\"policy\":{change}}}");
        self.answer(request.content_type("application/json").send(body))
    }

    fn create_key(
        &self,
        name: &KeyLabel,
        scopes: &Scopes,
        works_per_day: Option<WorksPerDay>,
    ) -> Result<Value, Failure> {
        let mut body = json!({"name": name, "scopes": scopes});
        // An older API takes no bound.
        if let Some(bound) = works_per_day {
            body["works_per_day"] = json!(bound);
        }
        let request = self.post("/key").content_type("application/json");
        self.answer(request.send(body.to_string()))
    }

    fn keys(&self) -> Result<Vec<KeyInfo>, Failure> {
        self.answer(self.get("/key").call())
    }

    fn revoke_key(&self, id: ApiKeyId) -> Result<(), Failure> {
        let request = self.delete_at(&format!("/key/{id}"));
        match self.read(request.call())? {
            (StatusCode::NO_CONTENT, _) => Ok(()),
            (status, body) => Err(self.refused(status, &body)),
        }
    }

    fn audit(&self, filter: &AuditFilter, before: Option<i64>, limit: u16) -> Result<Vec<AuditEntry>, Failure> {
        self.pages(limit.into(), |last: Option<&AuditEntry>, limit| {
            let before = last.map(|row| row.id).or(before);
            let before = before.map(|before| ("before", before.to_string()));
            let principal = filter.principal.clone().map(|principal| ("principal", principal));
            let action = filter.action.clone().map(|action| ("action", action));
            let pairs = [("limit", limit.to_string())].into_iter().chain(before);
            self.get("/audit")
                .query_pairs(pairs.chain(principal).chain(action))
                .call()
        })
    }

    fn stats(&self, kind: Option<&KindName>) -> Result<Stats, Failure> {
        let kind = kind.map(|kind| ("kind", kind.as_str()));
        self.answer(self.get("/stats").query_pairs(kind).call())
    }

    fn rebuild_stats(&self) -> Result<(), Failure> {
        Err(Failure::Usage("--rebuild needs --call-type db".to_owned()))
    }
}

#[derive(Deserialize)]
struct Redriven {
    redriven: u64,
}

#[derive(Deserialize)]
struct Dropped {
    dropped: u64,
}

/// TLS for the client, with the authorities that are trusted.
fn trusting(trust: &Trust) -> TlsConfig {
    let authorities = trust.certificates();
    let authorities = authorities.iter().map(|one| Certificate::from_der(one).to_owned());
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(tls::provider())
        .root_certs(RootCerts::from(authorities))
        .build()
}

/// Parses an address: scheme, host and optional path, without a slash at the end.
fn base(url: &str) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("PP_API_URL: {why}, expected http://host:port or https://"));
    let parsed: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
    match parsed.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(wrong("not a URL with the scheme http or https")),
    }
    if parsed.query().is_some()
        || parsed
            .authority()
            .is_none_or(|authority| authority.as_str().contains('@'))
    {
        return Err(wrong("has more than host, port and path"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_http_is_accepted() {
        for (good, expected) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://localhost/", "http://localhost"),
            ("https://pp.example.com", "https://pp.example.com"),
            ("http://[::1]:3000/pp/", "http://[::1]:3000/pp"),
        ] {
            assert_eq!(base(good).unwrap(), expected);
        }
        for bad in [
            "",
            "localhost:3000",
            "ftp://h",
            "http://u:hunter2@h",
            "http://h/?a=b",
            "http://",
            "/work",
        ] {
            let line = base(bad).unwrap_err().to_string();
            assert!(
                line.starts_with("PP_API_URL: ") && !line.contains("hunter2"),
                "{bad}: {line}"
            );
        }
    }
}
