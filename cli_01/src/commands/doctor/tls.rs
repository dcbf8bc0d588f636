//! Certificates of servers: when they end.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use chrono::DateTime;
use pp_lib::tls::rustls::ClientConnection;
use pp_lib::tls::rustls::pki_types::ServerName;
use pp_lib::tls::{self, Check, Trust};
use url::{Host, Url};

use super::{Checked, clock};

const DAY: i64 = 86_400;
/// A certificate that ends sooner is wrong, because its renewal has not come.
const SOON_DAYS: i64 = 14;
/// What asks PostgreSQL for TLS: the length, and the code of the request.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A server that shows a certificate.
pub(super) struct Place {
    host: Host<String>,
    port: u16,
}

impl Place {
    /// The place that a URL names.
    pub(super) fn of(url: &str, port: u16) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        // Schemes that are not the web's have hosts without a form.
        let host = match url.host()? {
            Host::Domain(name) => Host::parse(name).ok()?,
            host => host.to_owned(),
        };
        let port = url.port_or_known_default().unwrap_or(port);
        Some(Self { host, port })
    }

    /// True if it is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }
}

/// Reports the certificate that a server shows. PostgreSQL is asked for it in its own way.
pub(super) fn report(
    checked: &mut Checked,
    check: &str,
    place: &Place,
    postgres: bool,
    trust: &Trust,
    limit: Duration,
) {
    let renew = "renew it at the server; the API reads changed files by itself";
    let second = match end(place, postgres, trust, limit) {
        Ok(Some(second)) => second,
        Ok(None) => return,
        Err(why) => {
            return checked.wrong(
                check,
                format!("no certificate was seen: {why}"),
                "see docs/security.md, TLS",
            );
        }
    };
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    let left = second.saturating_sub(clock::now_ms() / 1000).div_euclid(DAY);
    let day = DateTime::from_timestamp(second, 0).map_or_else(String::new, |end| end.format("%Y-%m-%d").to_string());
    match left {
        ..0 => checked.wrong(check, format!("the certificate has expired on {day}"), renew),
        0..SOON_DAYS => checked.wrong(check, format!("the certificate ends in {left} days, on {day}"), renew),
        _ => checked.ok(check, format!("the certificate is valid until {day}")),
    }
}

/// The second in which the certificate of a server ends; `None` if it speaks without TLS. The certificate is not
/// checked, because the real connections do that.
fn end(place: &Place, postgres: bool, trust: &Trust, limit: Duration) -> Result<Option<u64>, String> {
    let words = |error: std::io::Error| tls::words(&error);
    let mut stream = connect(place, limit).map_err(words)?;
    if postgres {
        let mut answer = [0];
        stream.write_all(&SSL_REQUEST).map_err(words)?;
        stream.read_exact(&mut answer).map_err(words)?;
        if answer != *b"S" {
            return Ok(None);
        }
    }
    let config = trust.client(Check::Nothing).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(place.host.to_string().trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|error| error.to_string())?;
    let mut connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(words)?;
    }
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    let end = shown.and_then(tls::valid_until);
    end.map(Some).ok_or_else(|| "it cannot be read".to_owned())
}

fn connect(place: &Place, limit: Duration) -> std::io::Result<TcpStream> {
    let host = place.host.to_string();
    let mut last = None;
    for address in (host.trim_matches(['[', ']']), place.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("unknown host")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_every_url() {
        for (url, host, port, loopback) in [
            ("https://pp.example.com", "pp.example.com", 443, false),
            ("postgres://u:p@[::1]/d", "[::1]", 5432, true),
            ("postgres://u:p@127.0.0.1:6432/d", "127.0.0.1", 6432, true),
            ("amqps://u:p@localhost/v", "localhost", 5432, true),
        ] {
            let place = Place::of(url, 5432).unwrap();
            assert_eq!((place.host.to_string().as_str(), place.port), (host, port), "{url}");
            assert_eq!(place.is_loopback(), loopback, "{url}");
        }
        assert!(Place::of("postgres:///d?host=/run/postgresql", 5432).is_none());
    }
}
