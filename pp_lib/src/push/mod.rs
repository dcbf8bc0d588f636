//! Works that are sent to a URL: the handler of pushed kinds and of notices. A consumer claims the works and runs it.
//!
//! Each attempt is one POST, signed by the Standard Webhooks specification if the kind has a secret. The answer decides
//! what becomes of the work. Which consumers there are for pushed kinds is decided by the program.

mod addresses;
mod client;
mod notice;
mod signature;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

pub use self::addresses::AllowedAddresses;
use self::client::{CallAnswer, CallError, Caller};
use self::notice::Notice;
pub use self::notice::notice_declaration;
use crate::claims::{RunToken, ShownRun};
use crate::domain::{Json, KindName, Principal, SigningSecret, WebUrl};
use crate::kinds::{Context, Failure, Handler, Handling, Registry};
use crate::log_repeated;
use crate::store::{self, AnyStore};
use crate::tls::{Trust, TrustError};

/// The time for which secrets are remembered, so that an older one ends soon after its time.
const SECRETS_KEPT: Duration = Duration::from_secs(10);
/// The wait of works whose URL is gone, until somebody resumes their kind.
const GONE_WAIT: Duration = Duration::from_secs(1);

/// The handler of every pushed kind. Clones share the connections.
#[derive(Clone)]
pub struct Pusher(Arc<Inner>);

struct Inner {
    caller: Caller,
    store: AnyStore,
    kinds: Registry,
    /// The maximum size of a result in bytes.
    result_limit: usize,
    secrets: Mutex<HashMap<KindName, Known>>,
}

/// The secrets of a kind at this version.
struct Known {
    version: i64,
    read_at: Instant,
    secrets: Arc<[SigningSecret]>,
}

/// A request that is to be sent.
struct Request {
    url: WebUrl,
    body: Vec<u8>,
    /// The kind whose secret signs it.
    signed_for: KindName,
}

impl Pusher {
    /// The handler of the pushed kinds of a store. A result may have as many bytes as given here.
    ///
    /// # Errors
    /// There are no authorities to trust.
    pub fn new(
        store: AnyStore,
        kinds: Registry,
        allowed: AllowedAddresses,
        trust: &Trust,
        result_limit: usize,
    ) -> Result<Self, TrustError> {
        Ok(Self(Arc::new(Inner {
            caller: Caller::new(allowed, trust)?,
            store,
            kinds,
            result_limit,
            secrets: Mutex::default(),
        })))
    }
}

impl Handler for Pusher {
    fn handle(&self, args: Json, context: Context) -> Handling {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.push(&args, &context).await })
    }
}

impl Inner {
    async fn push(&self, args: &Json, context: &Context) -> Result<Json, Failure> {
        let is_notice = context.kind() == KindName::notice();
        let request = match is_notice {
            true => self.notice(args),
            false => self.work(args, context),
        }?;
        let (id, now) = (signature::id(&context.idempotency_key()), unix_seconds());
        let mut secrets = self.secrets(&request.signed_for).await?;
        if is_notice && secrets.is_empty() {
            secrets = self.secrets(KindName::notice()).await?;
        }
        let headers = headers(&id, now, &secrets, &request.body)?;
        let Request { url, body, .. } = request;
        let answer = match self.caller.post(&url, headers, body, self.result_limit).await {
            Ok(answer) => answer,
            Err(error @ CallError::Failed(_)) => return Err(Failure::retry(error)),
            Err(error @ (CallError::Refused(_) | CallError::Url(_))) => return Err(Failure::permanent(error)),
        };
        match answer.status {
            StatusCode::GONE if !is_notice => Err(self.pause(context.kind()).await),
            StatusCode::ACCEPTED if !is_notice => Err(Failure::left_running()),
            status if status.is_success() && is_notice => Ok(Json::accepted("null")),
            status if status.is_success() => result_of(&answer, self.result_limit),
            _ => Err(failure_of(&answer, now)),
        }
    }

    /// The request for a work: the run as a worker gets it that claims.
    fn work(&self, args: &Json, context: &Context) -> Result<Request, Failure> {
        let known = self.kinds.get(context.kind());
        let known = known.ok_or_else(|| Failure::retry("the kind is not known"))?;
        let url = known
            .push_url
            .clone()
            .ok_or_else(|| Failure::retry("the kind has no push_url"))?;
        let timeout = known.policy.timeout;
        let token = RunToken::of_context(context, timeout);
        let token = token.ok_or_else(|| Failure::retry("a pushed work is claimed from its row"))?;
        let claim = token.claim_key();
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let shown = ShownRun {
            run: token.to_string(),
            id: claim.id.0,
            work_code: context.work_code(),
            kind: context.kind(),
            args,
            attempt: context.run().attempt,
            idempotency_key: context.idempotency_key(),
            lease_until: claim.began_on.saturating_add(seconds),
        };
        Ok(Request {
            url,
            body: serde_json::to_vec(&shown)?,
            signed_for: context.kind().clone(),
        })
    }

    /// The request for a notice.
    fn notice(&self, args: &Json) -> Result<Request, Failure> {
        let unreadable = |error: serde_json::Error| Failure::permanent(format_args!("no notice: {error}"));
        let notice = Notice::read(args).map_err(unreadable)?;
        let kind = notice.kind().map_err(unreadable)?;
        Ok(Request {
            body: notice.body().map_err(unreadable)?,
            url: notice.url,
            signed_for: kind,
        })
    }

    /// The secrets that sign for a kind. They are remembered until it changes. Where none is known, the store is asked each
    /// time, so that the first secret signs from the moment that it is set.
    async fn secrets(&self, kind: &KindName) -> store::Result<Arc<[SigningSecret]>> {
        let version = match self.kinds.get(kind) {
            Some(known) if known.row.has_secret => known.row.version,
            _ => return Ok(self.store.secrets(kind).await?.into()),
        };
        if let Some(known) = self.remembered().get(kind)
            && known.version == version
            && known.read_at.elapsed() < SECRETS_KEPT
        {
            return Ok(Arc::clone(&known.secrets));
        }
        let read_at = Instant::now();
        let secrets: Arc<[SigningSecret]> = self.store.secrets(kind).await?.into();
        let known = Known {
            version,
            read_at,
            secrets: Arc::clone(&secrets),
        };
        self.remembered().insert(kind.clone(), known);
        Ok(secrets)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<KindName, Known>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pauses a kind whose URL wants nothing more. Its works wait; no failure is counted.
    async fn pause(&self, kind: &KindName) -> Failure {
        let paused = Json::accepted(r#"{"paused":true}"#);
        match self.kinds.set(&Principal::Service, kind, &paused, None).await {
            Ok(Ok(_)) => log_repeated!(Error, format!("kind {kind} is paused"), "its URL answered 410"),
            Ok(Err(unchanged)) => log::warn!("kind {kind} is not paused, though its URL answered 410: {unchanged:?}"),
            Err(error) => log::warn!("kind {kind} is not paused, though its URL answered 410: {error}"),
        }
        Failure::snooze(GONE_WAIT)
    }
}

fn headers(id: &str, timestamp: u64, secrets: &[SigningSecret], body: &[u8]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("webhook-id"), HeaderValue::from_str(id)?);
    headers.insert(
        HeaderName::from_static("webhook-timestamp"),
        HeaderValue::from(timestamp),
    );
    if !secrets.is_empty() {
        let signed = signature::signatures(secrets, id, timestamp, body);
        headers.insert(
            HeaderName::from_static("webhook-signature"),
            HeaderValue::from_str(&signed)?,
        );
    }
    Ok(headers)
}

/// The result in a good answer. Text that is not JSON by its type is none.
fn result_of(answer: &CallAnswer, limit: usize) -> Result<Json, Failure> {
    if answer.is_cut {
        return Err(Failure::permanent(format_args!(
            "the answer has more than {limit} bytes"
        )));
    }
    if answer.body.is_empty() || !answer.is_json() {
        return Ok(Json::accepted("null"));
    }
    Json::parse(&answer.body, limit).map_err(|error| {
        Failure::permanent(format_args!(
            "the answer is no JSON that PP keeps: {}: {}",
            error.pointer, error.fault
        ))
    })
}

/// The failure that an answer stands for.
fn failure_of(answer: &CallAnswer, now: u64) -> Failure {
    let status = answer.status;
    let text = match answer.shown().as_str() {
        "" => format!("the URL answered {}", status.as_u16()),
        shown => format!("the URL answered {}: {shown}", status.as_u16()),
    };
    let is_passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    match (is_passing, answer.retry_after(now)) {
        (true, Some(wait)) => Failure::retry_after(wait, text),
        (true, None) => Failure::retry(text),
        (false, _) if status.is_redirection() => {
            Failure::permanent(format_args!("{text} (redirects are not followed)"))
        }
        (false, _) => Failure::permanent(text),
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use reqwest::header::RETRY_AFTER;

    use super::*;

    fn answer(status: u16, content_type: &str, body: &str) -> CallAnswer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        CallAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.as_bytes().to_vec(),
            is_cut: false,
        }
    }

    #[test]
    fn json_is_the_result_and_other_text_is_none() {
        let result = |content_type: &str, body: &str| result_of(&answer(200, content_type, body), 100);
        assert_eq!(
            result("application/json", "{\"a\": 1.10}"),
            Ok(Json::accepted("{\"a\": 1.10}"))
        );
        assert_eq!(
            result("application/vnd.x+json; charset=utf-8", "[1]"),
            Ok(Json::accepted("[1]"))
        );
        assert_eq!(result("text/plain", "ok"), Ok(Json::accepted("null")));
        assert_eq!(result("application/json", ""), Ok(Json::accepted("null")));
        assert!(result("application/json", "{").unwrap_err().is_permanent());
        let cut = CallAnswer {
            is_cut: true,
            ..answer(200, "application/json", "[")
        };
        assert!(
            result_of(&cut, 100)
                .unwrap_err()
                .reason()
                .contains("more than 100 bytes")
        );
    }

    #[test]
    fn passing_troubles_are_tried_again_and_others_are_not() {
        let failure = |status| failure_of(&answer(status, "text/plain", "sorry\nfor that"), 0);
        for passing in [408, 425, 429, 500, 502, 503] {
            assert_eq!(
                failure(passing),
                Failure::retry(format!("the URL answered {passing}: sorry for that"))
            );
        }
        for lasting in [301, 400, 401, 404, 410, 422] {
            assert!(failure(lasting).is_permanent(), "{lasting}");
        }
    }

    #[test]
    fn the_wait_that_a_service_asks_for_is_kept() {
        let now = 1_445_412_400;
        let failure = |wait: &str| {
            let mut answer = answer(503, "text/plain", "");
            answer.headers.insert(RETRY_AFTER, wait.parse().unwrap());
            failure_of(&answer, now)
        };
        let after = |seconds| Failure::retry_after(Duration::from_secs(seconds), "the URL answered 503");
        assert_eq!(failure("120"), after(120));
        assert_eq!(failure("Wed, 21 Oct 2015 07:28:00 GMT"), after(1_445_412_480 - now));
        assert_eq!(failure("Fri, 21 Oct 2005 07:28:00 GMT"), after(0));
        assert_eq!(failure("soon"), Failure::retry("the URL answered 503"));
    }
}
