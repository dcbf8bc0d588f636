//! The origins of pages that may use the API from a browser.

use std::str::FromStr;

use actix_cors::Cors;
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use url::Url;

/// The headers that such pages may send, beside those that every page may.
const SENT: [&str; 7] = [
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "last-event-id",
    "x-request-id",
];
/// The headers that such pages may read, beside those that every page may.
const READ: [&str; 8] = [
    "allow",
    "cache-status",
    "etag",
    "link",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-request-id",
];
/// The seconds for which a browser remembers what it was allowed.
const REMEMBERED: usize = 600;

/// An origin as browsers send it, such as `https://app.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginName(String);

impl FromStr for OriginName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text.trim()).ok();
        let is_bare = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && (url.path(), url.query(), url.fragment()) == ("/", None, None)
                && (url.username(), url.password()) == ("", None)
        };
        let origin = url.filter(is_bare).map(|url| url.origin().ascii_serialization());
        origin
            .map(Self)
            .ok_or_else(|| "expected origins, as in https://app.example.com,http://localhost:5173".to_owned())
    }
}

impl OriginName {
    pub(crate) fn is(&self, value: &HeaderValue) -> bool {
        value.as_bytes() == self.0.as_bytes()
    }
}

/// Middleware that tells browsers what pages of these origins may do. Their cookies are not among it.
pub fn cors(origins: &[OriginName]) -> Cors {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let cors = Cors::default()
        .allowed_methods(methods)
        .allowed_headers(SENT)
        .expose_headers(READ)
        .max_age(REMEMBERED);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(&origin.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_maybe_a_port() {
        for (text, is) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://app.example.com:443/", "https://app.example.com"),
            ("http://localhost:5173", "http://localhost:5173"),
        ] {
            assert!(text.parse::<OriginName>().unwrap().is(&HeaderValue::from_static(is)));
        }
        for wrong in [
            "*",
            "null",
            "app.example.com",
            "https://a.example/b",
            "ftp://a.example",
            "https://u@a.example",
            "",
        ] {
            assert!(wrong.parse::<OriginName>().is_err(), "{wrong}");
        }
    }
}
