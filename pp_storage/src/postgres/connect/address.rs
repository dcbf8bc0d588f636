//! Where the server of a URL is, and the URL as libpq gets it: TLS is none of its business.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

const DEFAULT_PORT: u16 = 5432;
/// The options that are not passed to libpq.
const ABOUT_TLS: [&str; 4] = ["ssl", "sslmode", "sslrootcert", "channel_binding"];
const ABOUT_ADDRESS: [&str; 3] = ["host", "hostaddr", "port"];
/// The time limit of connecting if the URL has none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The one server that a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    url: String,
    /// The name in its certificate.
    pub(super) name: String,
    /// The name or address to connect to.
    pub(super) at: String,
    port: u16,
}

impl Address {
    /// The server of a URL. There is none behind a socket in a folder, which needs no TLS; a list of servers is an error.
    pub(super) fn of(url: &str) -> Result<Option<Self>, String> {
        let option = |wanted: &str| {
            options(url)
                .filter(|(name, _)| name == wanted)
                .last()
                .map(|(_, value)| value)
        };
        let parsed = Url::parse(&without_login(url)).map_err(|_| "TLS needs a URL with one host".to_owned())?;
        let named = match parsed.host() {
            Some(Host::Domain(name)) => percent_decode_str(name).decode_utf8_lossy().into_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        let name = option("host").unwrap_or(named);
        let at = option("hostaddr").unwrap_or_else(|| name.clone());
        let port = match option("port") {
            Some(port) => port.parse().map_err(|_| "TLS needs a URL with one port".to_owned())?,
            None => parsed.port().unwrap_or(DEFAULT_PORT),
        };
        if name.contains(',') || at.contains(',') {
            return Err("TLS needs a URL with one host".to_owned());
        }
        if at.is_empty() || at.starts_with(['/', '@']) {
            return Ok(None);
        }
        let name = if name.is_empty() { at.clone() } else { name };
        let url = url.to_owned();
        Ok(Some(Self { url, name, at, port }))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The number that the URL gives an option of the connection.
    pub(super) fn number(&self, wanted: &str) -> Option<u32> {
        let found = options(&self.url).filter(|(name, _)| name == wanted).last();
        found.and_then(|(_, value)| value.parse().ok())
    }

    /// The time limit of connecting.
    pub(super) fn connect_timeout(&self) -> Duration {
        match self.number("connect_timeout") {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds.max(2).into()),
            _ => CONNECT_TIMEOUT,
        }
    }

    /// The URL for libpq, which finds the server behind this socket.
    pub(super) fn by_way_of(&self, entrance: &str) -> String {
        let pairs = kept(&self.url, &|name| {
            !ABOUT_TLS.contains(&name) && !ABOUT_ADDRESS.contains(&name)
        });
        let base = self.url.split_once('?').map_or(self.url.as_str(), |(base, _)| base);
        let login = base
            .split_once("://")
            .and_then(|(_, rest)| Some(rest.split('/').next()?.rsplit_once('@')?.0));
        let database = base.splitn(4, '/').nth(3).unwrap_or_default();
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        let port = self.port;
        let entrance = entrance.replace('@', "%40");
        format!("postgres://{login}{entrance}:{port}/{database}?{pairs}sslmode=disable")
    }
}

impl fmt::Display for Address {
    /// As libpq names a server.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\", port {}", self.name, self.port)
    }
}

/// The URL without user and password, which may stand before no host for libpq alone.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let login = authority.rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[login..])
}

/// The URL for libpq without TLS.
pub(super) fn without_tls(url: &str) -> String {
    let pairs = kept(url, &|name| !ABOUT_TLS.contains(&name));
    let base = url.split_once('?').map_or(url, |(base, _)| base);
    format!("{base}?{pairs}sslmode=disable")
}

/// The options as they are written, each with a `&` behind it.
fn kept(url: &str, wanted: &dyn Fn(&str) -> bool) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let kept = pairs.filter(|pair| wanted(&decoded(pair.split('=').next().unwrap_or_default())));
    kept.map(|pair| format!("{pair}&")).collect()
}

/// The options of a URL, decoded.
pub(super) fn options(url: &str) -> impl Iterator<Item = (String, String)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_found_where_libpq_finds_it() {
        let found = |url: &str| Address::of(url).map(|found| found.map(|found| (found.name, found.at, found.port)));
        let at = |name: &str, at: &str, port| Ok(Some((name.to_owned(), at.to_owned(), port)));
        assert_eq!(found("postgres://u:p@h:1/d"), at("h", "h", 1));
        assert_eq!(found("postgresql://h"), at("h", "h", 5432));
        assert_eq!(found("postgres://[::1]:7/d"), at("::1", "::1", 7));
        assert_eq!(found("postgres://h/d?hostaddr=10.0.0.1&port=8"), at("h", "10.0.0.1", 8));
        assert_eq!(found("postgres://u@/d?host=other"), at("other", "other", 5432));
        for none in [
            "postgres:///d",
            "postgres://%2Frun%2Fpostgresql/d",
            "postgres:///d?host=/run",
        ] {
            assert_eq!(found(none), Ok(None), "{none}");
        }
        for bad in [
            "postgres://a,b/d",
            "postgres://a:1,b:2/d",
            "postgres://a/d?host=b,c",
            "postgres://a/d?port=1,2",
        ] {
            assert!(found(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn libpq_hears_nothing_of_tls() {
        let url = "postgres://u:p%40p@h:1/d?sslmode=require&host=x&options=-c%20a%3Db&sslrootcert=/a";
        let plain = without_tls(url);
        assert_eq!(
            plain,
            "postgres://u:p%40p@h:1/d?host=x&options=-c%20a%3Db&sslmode=disable"
        );
        assert_eq!(without_tls("postgres://h/d"), "postgres://h/d?sslmode=disable");
        let address = Address::of(url).unwrap().unwrap();
        assert_eq!(
            address.by_way_of("@pp-1"),
            "postgres://u:p%40p@%40pp-1:1/d?options=-c%20a%3Db&sslmode=disable"
        );
        let short = Address::of("postgres://h").unwrap().unwrap();
        assert_eq!(short.by_way_of("@pp-1"), "postgres://%40pp-1:5432/?sslmode=disable");
    }
}
