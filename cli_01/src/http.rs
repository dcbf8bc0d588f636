//! Queries works over the REST API.
//!
//! An answer that no API of PP would give is an error, not a panic. Every answer is read up to a limit.

mod stream;

use std::time::Duration;

use pp_cli::config::DurationText;
use pp_lib::access::ApiKey;
use pp_lib::domain::{
    AddUpTo, ApiKeyId, AuditEntry, DeadLetter, DeadLetterId, Event, Json, KeyInfo, KeyLabel, KindName, Problem, Scopes,
    Stats, Status, Work, WorkId, WorksPerDay,
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

/// A problem with its first fault, in one line.
fn sentence(problem: &Problem) -> String {
    match problem.errors.first() {
        Some(fault) => format!("{}: {} {}", problem.detail, fault.pointer, fault.detail),
        None => problem.detail.clone(),
    }
}

/// The selected letters as query parameters.
fn letters_parameters(which: &Selection, dry_run: bool) -> Vec<(&'static str, String)> {
    let mut parameters = match which {
        Selection::Ids(ids) => {
            let ids: Vec<String> = ids.iter().map(DeadLetterId::to_string).collect();
            vec![("ids", ids.join(","))]
        }
        all if *all == Selection::ALL => vec![("all", "true".to_owned())],
        Selection::Matching(filter) => filter_parameters(filter).collect(),
    };
    if dry_run {
        parameters.push(("dry_run", "true".to_owned()));
    }
    parameters
}

fn filter_parameters(filter: &LetterFilter) -> impl Iterator<Item = (&'static str, String)> {
    let kind = filter.kind.as_ref().map(|kind| ("kind", kind.to_string()));
    let error = filter.error.clone().map(|error| ("error", error));
    kind.into_iter().chain(error)
}

/// The request body, or `None` if nothing was specified.
fn body(wanted: &CreateWork) -> Option<String> {
    let CreateWork {
        kind,
        args,
        run_at,
        unique,
        notify,
    } = wanted;
    let kind = (!kind.is_add_up_to()).then(|| format!("\"kind\":\"{kind}\""));
    let args = args.as_ref().map(args_field);
    let run_at = run_at.map(|second| format!("\"run_at\":{second}"));
    let unique = unique
        .as_ref()
        .map(|unique| format!("\"unique\":{}", serde_json::Value::from(unique.as_str())));
    let notify = notify.as_ref().map(|url| format!("\"notify\":\"{url}\""));
    let fields: Vec<String> = [kind, args, run_at, unique, notify].into_iter().flatten().collect();
    (!fields.is_empty()).then(|| format!("{{{}}}", fields.join(",")))
}

/// The field for arguments. A sum has the form that every version of the API knows.
fn args_field(args: &Json) -> String {
    match AddUpTo::of_args(args) {
        Ok(bound) => format!("\"add_up_to\":{bound}"),
        Err(_) => format!("\"args\":{args}"),
    }
}

/// The search as query parameters of the API.
fn parameters(search: &Search) -> Vec<(&'static str, String)> {
    let status = search.status.map(|wanted| match wanted {
        (Status::Done, done) => ("done", done.to_string()),
        (status, _) => ("status", status.to_string()),
    });
    let work_code = search
        .work_code
        .as_ref()
        .map(|prefix| ("work_code", prefix.as_str().to_owned()));
    let kind = search.kind.as_ref().map(|kind| ("kind", kind.to_string()));
    let since = search.since.map(|since| ("since", since.to_string()));
    let before = search.before.map(|before| ("before", before.to_string()));
    let limit = ("limit", search.limit.to_string());
    [work_code, kind, status, since, before, Some(limit)]
        .into_iter()
        .flatten()
        .collect()
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

    #[test]
    fn a_search_becomes_a_query() {
        let search = Search {
            work_code: pp_lib::domain::WorkCodePrefix::parse("api-&x"),
            kind: Some("user.welcome".parse().unwrap()),
            status: Some((Status::Done, false)),
            since: Some(7),
            before: None,
            limit: 3,
        };
        let expected = [
            ("work_code", "api-&x"),
            ("kind", "user.welcome"),
            ("done", "false"),
            ("since", "7"),
            ("limit", "3"),
        ];
        assert_eq!(
            parameters(&search),
            expected.map(|(name, value)| (name, value.to_owned()))
        );
    }
}
