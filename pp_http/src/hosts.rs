//! Refuses requests for unknown hosts, and changes requested by pages of other origins.
//!
//! A browser lets any page send requests to a service on its machine or network. A page cannot choose the headers
//! `Host`, `Origin` and `Sec-Fetch-Site`. An unknown host is answered with 421, because the page's own name may resolve
//! to this service (DNS rebinding). A change requested by another origin is answered with 403.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::str::FromStr;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use actix_web::http::{Method, StatusCode, Version};
use actix_web::middleware::Next;
use url::Host;

use crate::OriginName;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A host with an optional port, as in `Host` and in `PP_API_HOSTS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    host: Host,
    port: Option<u16>,
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let usual = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        let host = parse(text).filter(|name| !matches!(&name.host, Host::Domain(name) if !usual(name)));
        host.ok_or_else(|| "expected host names or addresses, as in pp.example.com,10.0.0.7:3000".to_owned())
    }
}

/// Parses a host. Case, the dot of the root and the notation of an address do not matter.
fn parse(text: &str) -> Option<HostName> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = Host::parse(host).ok()?;
    Some(HostName { host, port })
}

impl HostName {
    fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(IpAddr::from(address).to_canonical()),
            Host::Domain(_) => None,
        }
    }
}

/// The hosts that a service answers to.
#[derive(Clone, Debug)]
pub struct Hosts {
    bound: SocketAddr,
    names: Vec<HostName>,
    /// Origins whose pages may change things.
    origins: Vec<OriginName>,
    any: bool,
    advice: &'static str,
}

impl Hosts {
    /// The hosts of the API: loopback, the bound address and `names`. If it is bound to every address of the machine,
    /// it answers to every address: a page cannot make a browser send an address that is not its own.
    /// Pages of `origins` may change things beside its own.
    pub fn of_api(bound: SocketAddr, names: Vec<HostName>, origins: Vec<OriginName>) -> Self {
        let advice = "name it in PP_API_HOSTS (--api-hosts)";
        Self {
            bound,
            names,
            origins,
            any: false,
            advice,
        }
    }

    /// The hosts of the health pages: loopback if they are bound to it, else any host. The pages change nothing.
    pub(crate) fn of_probe(listener: &TcpListener) -> io::Result<Self> {
        let bound = listener.local_addr()?;
        Ok(Self {
            bound,
            names: Vec::new(),
            origins: Vec::new(),
            any: !bound.ip().is_loopback(),
            advice: "ask for localhost",
        })
    }

    fn answers_to(&self, asked: &HostName) -> bool {
        let local = match (asked.address(), &asked.host) {
            (Some(address), _) => {
                address.is_loopback() || self.bound.ip().is_unspecified() || address == self.bound.ip().to_canonical()
            }
            (None, Host::Domain(name)) => name == "localhost",
            (None, _) => false,
        };
        let named = |name: &HostName| name.host == asked.host && (name.port.is_none() || name.port == asked.port);
        self.any || local || self.names.iter().any(named)
    }

    /// The status and reason of a refusal, or `None` if the request is allowed.
    fn refusal(&self, head: &RequestHead) -> Option<(StatusCode, String)> {
        let asked = match requested_host(head) {
            RequestedHost::Unspecified => None,
            RequestedHost::Named(host) if self.answers_to(&host) => Some(host),
            _ => {
                let detail = format!("this service does not answer to this Host; {}", self.advice);
                return Some((StatusCode::MISDIRECTED_REQUEST, detail));
            }
        };
        let changes = !matches!(
            head.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        );
        if !changes || self.is_own_page(head, asked.as_ref()) {
            return None;
        }
        let mut detail = "a page of another origin may not change anything here".to_owned();
        if !self.any {
            let _ = write!(
                detail,
                "; if this service is reached by the name of that origin, {}",
                self.advice
            );
        }
        Some((StatusCode::FORBIDDEN, detail))
    }

    /// True if no header names another origin, or all name one that is allowed. Another port of the same host is another
    /// origin.
    fn is_own_page(&self, head: &RequestHead, asked: Option<&HostName>) -> bool {
        let allowed = |value: &HeaderValue| self.origins.iter().any(|origin| origin.is(value));
        if head.headers.contains_key(ORIGIN) && head.headers.get_all(ORIGIN).all(allowed) {
            return true;
        }
        let own_site = |value: &HeaderValue| matches!(value.as_bytes(), b"same-origin" | b"none");
        let own_origin = |value: &HeaderValue| origin(value).is_some_and(|origin| self.is_own(&origin, asked));
        head.headers.get_all(FETCH_SITE).all(own_site) && head.headers.get_all(ORIGIN).all(own_origin)
    }

    fn is_own(&self, origin: &Origin, asked: Option<&HostName>) -> bool {
        let port_of = |host: &HostName| host.port.unwrap_or(origin.default_port);
        let same = |asked: &HostName| asked.host == origin.name.host && port_of(asked) == port_of(&origin.name);
        // A proxy may have replaced the page's host and port.
        let named = |name: &HostName| name.host == origin.name.host && port_of(name) == port_of(&origin.name);
        asked.is_some_and(same) || self.names.iter().any(named)
    }
}

/// The host that a request names.
enum RequestedHost {
    /// The request names none. HTTP/1.0 allows that; browsers do not speak it.
    Unspecified,
    Named(HostName),
    Unreadable,
}

fn requested_host(head: &RequestHead) -> RequestedHost {
    let header = head.headers.get(HOST);
    // The target precedes the header (RFC 9112, section 3.2.2).
    let text = match (head.uri.authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(header)) => header.to_str().unwrap_or_default(),
        (None, None) if head.version < Version::HTTP_11 => return RequestedHost::Unspecified,
        (None, None) => return RequestedHost::Unreadable,
    };
    parse(text).map_or(RequestedHost::Unreadable, RequestedHost::Named)
}

struct Origin {
    name: HostName,
    default_port: u16,
}

/// Parses an origin. The result is `None` for an origin without a host, such as `null`.
fn origin(value: &HeaderValue) -> Option<Origin> {
    let (scheme, host) = value.to_str().ok()?.split_once("://")?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let name = parse(host)?;
    Some(Origin { name, default_port })
}

/// Middleware that refuses requests for unknown hosts and changes that other origins request. The app's data must
/// contain [`Hosts`].
pub async fn known_host<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let refusal = request
        .app_data::<Hosts>()
        .and_then(|hosts| hosts.refusal(request.head()));
    if let Some((status, detail)) = refusal {
        let refused = request.into_response(crate::problem(status, detail));
        return Ok(refused.map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(bound: &str, names: &[&str]) -> Hosts {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        Hosts::of_api(
            bound.parse().unwrap(),
            names,
            vec!["https://app.example.com".parse().unwrap()],
        )
    }

    fn status(hosts: &Hosts, method: Method, headers: &[(&'static str, &str)]) -> u16 {
        let mut head = RequestHead::default();
        head.method = method;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            head.headers.append(HeaderName::from_static(name), value);
        }
        hosts.refusal(&head).map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn loopback_is_answered_in_every_notation() {
        for bound in ["127.0.0.1:3000", "[::1]:3000", "0.0.0.0:3000", "10.0.0.7:3000"] {
            let hosts = hosts(bound, &[]);
            for host in [
                "localhost",
                "LocalHost:3000",
                "localhost.:3000",
                "127.0.0.1:8080",
                "127.1",
                "127.0.0.53:3000",
                "[::1]:3000",
                "[::ffff:127.0.0.1]",
            ] {
                assert_eq!(status(&hosts, Method::GET, &[("host", host)]), 200, "{host} at {bound}");
            }
            for host in [
                "evil.example",
                "evil.example:3000",
                "localhost.evil.example",
                "",
                "a b",
                "x:y",
                "[::1",
            ] {
                assert_eq!(status(&hosts, Method::GET, &[("host", host)]), 421, "{host} at {bound}");
            }
        }
    }

    #[test]
    fn other_hosts_are_answered_if_bound_or_named() {
        let bound = hosts("10.0.0.7:3000", &["PP.example.com", "other:8080"]);
        for (host, expected) in [
            ("10.0.0.7:3000", 200),
            ("10.0.0.7:80", 200),
            ("10.0.0.8:3000", 421),
            ("pp.example.com", 200),
            ("pp.example.com.:1234", 200),
            ("other:8080", 200),
            ("other", 421),
            ("x.pp.example.com", 421),
        ] {
            assert_eq!(status(&bound, Method::GET, &[("host", host)]), expected, "{host}");
        }
        let everywhere = hosts("0.0.0.0:3000", &[]);
        assert_eq!(status(&everywhere, Method::GET, &[("host", "192.168.1.5:3000")]), 200);
        assert_eq!(status(&everywhere, Method::GET, &[("host", "[fe80::1]:3000")]), 200);
    }

    #[test]
    fn changes_are_refused_to_pages_of_other_origins() {
        let hosts = hosts("127.0.0.1:3000", &["pp.example.com"]);
        let host = ("host", "localhost:3000");
        for (headers, expected) in [
            (&[host][..], 200),
            (&[host, ("origin", "http://localhost:3000")], 200),
            (
                &[
                    host,
                    ("origin", "http://localhost:3000"),
                    ("sec-fetch-site", "same-origin"),
                ],
                200,
            ),
            (&[host, ("sec-fetch-site", "none")], 200),
            (&[host, ("origin", "https://pp.example.com")], 200),
            (&[host, ("origin", "https://pp.example.com:444")], 403),
            (&[host, ("origin", "http://localhost:8080")], 403),
            (&[host, ("origin", "http://localhost")], 403),
            (&[host, ("origin", "http://evil.example")], 403),
            (&[host, ("origin", "null")], 403),
            (&[host, ("origin", "file://")], 403),
            (&[host, ("sec-fetch-site", "cross-site")], 403),
            (&[host, ("sec-fetch-site", "same-site")], 403),
            (
                &[
                    host,
                    ("origin", "http://localhost:3000"),
                    ("sec-fetch-site", "cross-site"),
                ],
                403,
            ),
            (
                &[
                    host,
                    ("origin", "http://localhost:3000"),
                    ("origin", "http://evil.example"),
                ],
                403,
            ),
        ] {
            for method in [
                Method::POST,
                Method::PATCH,
                Method::DELETE,
                Method::from_bytes(b"PURGE").unwrap(),
            ] {
                assert_eq!(status(&hosts, method, headers), expected, "{headers:?}");
            }
            assert_eq!(status(&hosts, Method::GET, headers), 200, "{headers:?}");
        }
        assert_eq!(
            status(
                &hosts,
                Method::POST,
                &[("host", "localhost"), ("origin", "http://localhost")]
            ),
            200
        );
    }

    #[test]
    fn an_invalid_host_is_refused_as_a_setting() {
        for text in ["", "http://x", "x:", "x:70000", "a b", "*"] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
