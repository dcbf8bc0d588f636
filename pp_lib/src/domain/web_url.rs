//! The address of a service that PP calls.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An `http` or `https` URL of at most 2,048 visible ASCII characters, without a user and without a fragment. A clone
/// shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebUrl(Arc<str>);

/// A text that is no [`WebUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebUrlError;

impl WebUrl {
    /// The longest URL, in bytes.
    pub const MAX_LENGTH: usize = 2_048;

    /// A regular expression that every URL matches.
    pub(crate) const PATTERN: &str =
        r"^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,4})?([/?][!$-;=?-\[\]^_a-z{|}~]*)?$";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Scheme, host and port, as they are written.
    pub fn origin(&self) -> &str {
        let after_scheme = self.0.find("://").map_or(0, |place| place + 3);
        let end = self.0[after_scheme..].find(['/', '?']);
        &self.0[..end.map_or(self.0.len(), |end| after_scheme + end)]
    }
}

/// True if this may stand between the scheme and the path: a name or an address, and perhaps a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port))
                if host
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)) =>
            {
                (host, port.strip_prefix(':').or(port.is_empty().then_some("80")))
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("80")),
        },
    };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    !host.is_empty() && host.bytes().all(in_name) && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

impl TryFrom<String> for WebUrl {
    type Error = WebUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let rest = (text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))).ok_or(WebUrlError)?;
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let is_clean = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#\\\"<>`".contains(&byte));
        match text.len() <= Self::MAX_LENGTH && is_clean && is_host(host) {
            true => Ok(Self(text.into())),
            false => Err(WebUrlError),
        }
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WebUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a URL must begin with https:// or http://, be of at most {} visible ASCII characters, and have a host, no user and no fragment",
            WebUrl::MAX_LENGTH
        )
    }
}

impl std::error::Error for WebUrlError {}

impl Serialize for WebUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WebUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<WebUrl, WebUrlError> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_user() {
        for good in [
            "https://hooks.example/orders?team=7",
            "http://127.0.0.1:8080",
            "https://[2001:db8::1]:8443/a",
            "http://[::1]",
            "http://worker_1/",
        ] {
            assert_eq!(url(good).map(|url| url.as_str().to_owned()).as_deref(), Ok(good));
        }
        let long = format!("https://a/{}", "b".repeat(WebUrl::MAX_LENGTH));
        for bad in [
            "",
            "hooks.example",
            "ftp://hooks.example",
            "https://",
            "https:///path",
            "https://user:secret@hooks.example/",
            "https://hooks.example/#part",
            "https://hooks.example/a b",
            "https://hooks.example/\u{e9}",
            "https://hooks.example:70000/",
            "https://hooks.example:/",
            "https://[::1/",
            "https://[::1]x/",
            "https://a\\b/",
            &long,
        ] {
            assert_eq!(url(bad), Err(WebUrlError), "{bad}");
        }
    }

    #[test]
    fn the_origin_ends_before_the_path() {
        for (text, origin) in [
            ("https://a.example/b/c", "https://a.example"),
            ("https://a.example?b=/c", "https://a.example"),
            ("http://a:8080", "http://a:8080"),
        ] {
            assert_eq!(url(text).unwrap().origin(), origin);
        }
    }
}
