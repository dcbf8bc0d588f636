//! The HTTP client of pushes: no redirects, no proxy, bounded answers, and connections to allowed addresses alone.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy as Redirects;
use reqwest::{Client, Response, StatusCode, Url};
use url::Host;

use super::AllowedAddresses;
use crate::domain::WebUrl;
use crate::tls::{Check, Trust, TrustError};

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for which an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes that are read of an answer which is not kept.
const SHOWN_BYTES: usize = 4 << 10;

/// A host all of whose addresses are private, and not named by the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0} is at a private address; PP_PUSH_ALLOW names those that may be called")]
pub(super) struct RefusedAddress(String);

/// The reason why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Refused(#[from] RefusedAddress),
    /// The URL is none.
    #[error("the URL cannot be read: {0}")]
    Url(String),
    /// The connection, or the service behind it.
    #[error("{0}")]
    Failed(String),
}

/// An answer.
#[derive(Debug)]
pub(super) struct CallAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// True if there was more than the limit.
    pub(super) is_cut: bool,
}

impl CallAnswer {
    pub(super) fn is_json(&self) -> bool {
        let of_header = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = of_header.and_then(|value| value.split(';').next()).unwrap_or_default();
        let media_type = media_type.trim().to_ascii_lowercase();
        media_type == "application/json" || media_type.ends_with("+json")
    }

    /// The wait that the service asks for: seconds, or a date.
    pub(super) fn retry_after(&self, now: u64) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
        let date = u64::try_from(date.timestamp()).unwrap_or_default();
        Some(Duration::from_secs(date.saturating_sub(now)))
    }

    /// The beginning of the answer, for people.
    pub(super) fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text
            .chars()
            .map(|one| if one.is_control() { ' ' } else { one })
            .collect();
        text.trim().chars().take(200).collect()
    }
}

/// Calls URLs. Clones share the connections.
#[derive(Clone)]
pub(super) struct Caller {
    client: Client,
    allowed: Arc<AllowedAddresses>,
}

impl Caller {
    pub(super) fn new(allowed: AllowedAddresses, trust: &Trust) -> Result<Self, TrustError> {
        let allowed = Arc::new(allowed);
        let client = Client::builder()
            .tls_backend_preconfigured((*trust.client(Check::ChainAndName)?).clone())
            .dns_resolver(Resolver(Arc::clone(&allowed)))
            .redirect(Redirects::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("PP/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TrustError::new(told(&error)))?;
        Ok(Self { client, allowed })
    }

    /// Posts JSON. Reads at most `limit` bytes of a good answer.
    pub(super) async fn post(
        &self,
        url: &WebUrl,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<CallAnswer, CallError> {
        let url = Url::parse(url.as_str()).map_err(|error| CallError::Url(error.to_string()))?;
        // A host that is an address is not resolved.
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = address
            && !self.allowed.allow("", address)
        {
            return Err(RefusedAddress(address.to_string()).into());
        }
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        let response = sent.map_err(|error| failed(&error))?;
        let limit = if response.status().is_success() {
            limit
        } else {
            SHOWN_BYTES
        };
        read(response, limit).await.map_err(|error| failed(&error))
    }
}

async fn read(mut response: Response, limit: usize) -> reqwest::Result<CallAnswer> {
    let (status, headers) = (response.status(), response.headers().clone());
    let (mut body, mut is_cut) = (Vec::new(), false);
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            is_cut = true;
            break;
        }
    }
    Ok(CallAnswer {
        status,
        headers,
        body,
        is_cut,
    })
}

fn failed(error: &reqwest::Error) -> CallError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if let Some(RefusedAddress(host)) = one.downcast_ref() {
            return RefusedAddress(host.clone()).into();
        }
        cause = one.source();
    }
    CallError::Failed(told(error))
}

/// The innermost cause in words. The URL may have secrets in it, so it is left out.
fn told(error: &reqwest::Error) -> String {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let what = match (error.is_connect(), error.is_timeout()) {
        (true, _) => "no connection",
        (false, true) => "no answer in time",
        (false, false) => "the connection failed",
    };
    if std::ptr::eq(innermost, error as &(dyn Error + 'static)) {
        return what.to_owned();
    }
    format!("{what}: {innermost}")
}

/// Resolves names to allowed addresses. The connection is made to these very addresses, so a name cannot lead elsewhere
/// between the check and the call.
struct Resolver(Arc<AllowedAddresses>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let is_known = !found.is_empty();
            let usable = found.into_iter().filter(|address| allowed.allow(host, address.ip()));
            let usable: Vec<SocketAddr> = usable.collect();
            if is_known && usable.is_empty() {
                return Err(RefusedAddress(host.to_owned()).into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}
