//! Parses the command line into [`Settings`], in which every value is valid.
//!
//! Every input has a limit, and an error is one line that names the flag. The rules against request splitting (no CR or
//! LF in method, path or header) are here. `request` writes the request.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use pp_tls::rustls::ClientConfig;
use pp_tls::rustls::pki_types::ServerName;
use pp_tls::{Check, Trust};
use thiserror::Error;

const HOST_LIMIT: usize = 253;
const METHOD_LIMIT: usize = 32;
const PATH_LIMIT: usize = 8 * 1024;
const HEADER_LIMIT: usize = 8 * 1024;
const HEADERS_LIMIT: usize = 64;
const BODY_LIMIT: usize = 1024 * 1024;
const TIMEOUT_RANGE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));
const REPLY_LIMIT: u64 = 1024 * 1024 * 1024;

/// Headers that frame the message or end the connection. cli_02 writes them itself, because a wrong one splits the
/// request.
const OWN_HEADERS: [&str; 3] = ["connection", "content-length", "transfer-encoding"];
/// Headers that may occur once.
const SINGLE_HEADERS: [&str; 3] = ["content-type", "host", "user-agent"];

const NOTES: &str = r#"Lines sent begin with "> ", lines of the reply's head with "< "; the body follows unchanged, with control
characters and invalid UTF-8 escaped (\x1b).

Exit codes:
  0  answered, 1xx to 3xx
  1  answered, 4xx or 5xx (404: not found)
  2  usage
  3  no complete reply: refused, timed out, cut off, malformed or too large"#;

/// A hand-made HTTP/1.1 client on a raw TCP socket: one request, one reply, every byte shown
#[derive(Debug, Parser)]
#[command(name = "cli_02", version, max_term_width = 100, after_help = NOTES)]
pub(crate) struct Args {
    /// Name or address of the server; IPv6 with or without brackets
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// TCP port, 1 to 65535
    #[arg(long, default_value = "3000", allow_negative_numbers = true)]
    port: String,

    /// Request method, sent as written (methods are case-sensitive)
    #[arg(long, default_value = "GET")]
    method: String,

    /// Path and query, percent-encoded, beginning with a slash
    #[arg(long, default_value = "/")]
    path: String,

    /// A header to add, may be repeated; Host, User-Agent and Content-Type replace cli_02's own [default: none]
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Request body; sets Content-Length, and Content-Type: application/json unless given [default: none]
    #[arg(long, allow_negative_numbers = true)]
    body: Option<String>,

    /// Time limit of the whole exchange: connect, send, receive; with a unit, 1ms to 1h
    #[arg(long, default_value = "5s", value_name = "DURATION", allow_hyphen_values = true)]
    timeout: String,

    /// Maximum size of the reply including heads, in bytes or with a unit (64KiB), at most 1GiB
    #[arg(long, default_value = "1MiB", value_name = "SIZE", allow_negative_numbers = true)]
    max_bytes: String,

    /// Encrypt the exchange, with the server's certificate checked or not
    #[arg(long, value_enum, default_value = "off", value_name = "MODE")]
    tls: TlsMode,

    /// A PEM file with authorities that are trusted beside those of this system [default: none]
    #[arg(long, env = "PP_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TlsMode {
    /// No TLS
    Off,
    /// The certificate must be for --host and of a trusted authority
    Verify,
    /// Any certificate will do, as for a health check on the same machine
    Unverified,
}

/// A usage error: one line that names the flag, the value and the broken rule. The exit code is 2.
#[derive(Debug, Error, PartialEq)]
#[error("--{flag} {}: {problem}", quoted(.value))]
pub(crate) struct UsageError {
    flag: &'static str,
    value: String,
    problem: String,
}

/// The checked settings of one call.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) host: Host,
    /// TCP port, never 0.
    pub(crate) port: u16,
    /// The method: a token other than CONNECT, whose target is no path.
    pub(crate) method: String,
    /// The target: visible ASCII that begins with a slash and has no fragment.
    pub(crate) path: String,
    /// The added headers in their order: a token and a value without control characters.
    pub(crate) headers: Vec<(String, String)>,
    /// The body of the request; it may be empty.
    pub(crate) body: Option<String>,
    /// The time limit of the whole exchange.
    pub(crate) timeout: Duration,
    /// The maximum size of the reply in bytes, including heads and chunk framing.
    pub(crate) max_bytes: u64,
    pub(crate) tls: Option<Tls>,
}

/// What TLS needs: the checks, and the name that the certificate must have.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.config, &other.config)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Host {
    /// An address, used without a resolver.
    Address(IpAddr),
    /// A name for the resolver.
    Name(String),
}

impl Host {
    /// The host as a `Host` header or a URL spells it: IPv6 in brackets.
    pub(crate) fn authority(&self, port: u16) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            Self::Address(IpAddr::V4(address)) => format!("{address}:{port}"),
            Self::Name(name) => format!("{name}:{port}"),
        }
    }
}

impl Args {
    /// Checks every value, in the order of the flags in `--help`.
    pub(crate) fn resolve(self) -> Result<Settings, UsageError> {
        let host = checked("host", self.host, host)?;
        Ok(Settings {
            tls: tls(self.tls, self.tls_ca, &host)?,
            host,
            port: checked("port", self.port, port)?,
            method: checked("method", self.method, method)?,
            path: checked("path", self.path, path)?,
            headers: headers(self.headers)?,
            body: self.body.map(|body| checked("body", body, bounded_body)).transpose()?,
            timeout: checked("timeout", self.timeout, timeout)?,
            max_bytes: checked("max-bytes", self.max_bytes, max_bytes)?,
        })
    }
}

fn checked<T>(
    flag: &'static str,
    value: String,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, UsageError> {
    parse(&value).map_err(|problem| UsageError { flag, value, problem })
}

fn tls(mode: TlsMode, file: Option<PathBuf>, host: &Host) -> Result<Option<Tls>, UsageError> {
    let check = match mode {
        TlsMode::Off => return Ok(None),
        TlsMode::Verify => Check::ChainAndName,
        TlsMode::Unverified => Check::Nothing,
    };
    let wrong = |flag, value: String, problem: String| UsageError { flag, value, problem };
    let trust = match &file {
        Some(file) => Trust::also(file).map_err(|error| ("tls-ca", file.display().to_string(), error)),
        None => Ok(Trust::default()),
    };
    let config = trust.and_then(|trust| trust.client(check).map_err(|error| ("tls", "verify".to_owned(), error)));
    let config = config.map_err(|(flag, value, error)| wrong(flag, value, error.to_string()))?;
    let (value, name) = match host {
        Host::Address(address) => (address.to_string(), Ok(ServerName::from(*address))),
        Host::Name(name) => (name.clone(), ServerName::try_from(name.clone())),
    };
    let name = name.map_err(|_| wrong("host", value, "no name that TLS can check".to_owned()))?;
    Ok(Some(Tls { config, name }))
}

fn host(text: &str) -> Result<Host, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = bare {
        let address: Ipv6Addr = inner.parse().map_err(|_| "the brackets must contain an IPv6 address")?;
        return Ok(Host::Address(address.into()));
    }
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(address));
    }
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty() || !text.chars().all(name) {
        return Err("not a host name or address; leave out scheme, port and path".into());
    }
    within(text, HOST_LIMIT)?;
    Ok(Host::Name(text.to_owned()))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| "not a port from 1 to 65535".into())
}

fn method(text: &str) -> Result<String, String> {
    if !is_token(text) {
        return Err("a method may contain letters, digits and !#$%&'*+-.^_`|~ only".into());
    }
    if text == "CONNECT" {
        return Err("CONNECT needs a tunnel, which this client does not support".into());
    }
    within(text, METHOD_LIMIT)?;
    Ok(text.to_owned())
}

fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("must begin with /".into());
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!(
            "{c:?} must be percent-encoded: spaces, control characters and non-ASCII cannot be sent"
        ));
    }
    if text.contains('#') {
        return Err("a fragment cannot be sent; write %23 for a literal #".into());
    }
    within(text, PATH_LIMIT)?;
    Ok(text.to_owned())
}

fn headers(lines: Vec<String>) -> Result<Vec<(String, String)>, UsageError> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        let header = checked("header", line, |line| header(line, &headers))?;
        headers.push(header);
    }
    Ok(headers)
}

fn header(line: &str, before: &[(String, String)]) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or("not of the form 'Name: value'")?;
    if !is_token(name) {
        return Err("the name may contain letters, digits and !#$%&'*+-.^_`|~ only".into());
    }
    let value = value.trim_matches([' ', '\t']);
    if let Some(c) = value.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("the value contains the control character {c:?}"));
    }
    let is = |own: &&str| name.eq_ignore_ascii_case(own);
    if OWN_HEADERS.iter().any(is) {
        return Err("cli_02 writes this header itself; leave it out".into());
    }
    let given = before.iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name));
    if given && SINGLE_HEADERS.iter().any(is) {
        return Err("given twice; give it once".into());
    }
    if before.len() == HEADERS_LIMIT {
        return Err(format!("more than {HEADERS_LIMIT} headers"));
    }
    within(line, HEADER_LIMIT)?;
    Ok((name.to_owned(), value.to_owned()))
}

fn bounded_body(text: &str) -> Result<String, String> {
    within(text, BODY_LIMIT)?;
    Ok(text.to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok() {
        return Err("has no unit; write 5s or 500ms".into());
    }
    let duration = humantime::parse_duration(text).map_err(|_| "not a duration; write 5s or 500ms")?;
    let (least, most) = TIMEOUT_RANGE;
    if duration < least || duration > most {
        return Err("not between 1ms and 1h".into());
    }
    Ok(duration)
}

fn max_bytes(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|_| "not a size; write 65536, 64KiB or 1MiB")?;
    if size.0 == 0 || size.0 > REPLY_LIMIT {
        return Err("not between 1 byte and 1GiB".into());
    }
    Ok(size.0)
}

fn within(text: &str, limit: usize) -> Result<(), String> {
    if text.len() > limit {
        return Err(format!("{} bytes, more than {limit}", text.len()));
    }
    Ok(())
}

/// True if the text is a token as RFC 9110, section 5.6.2, defines it.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Quotes the value, escaped for a terminal and short enough for one line.
fn quoted(value: &str) -> String {
    const SHOWN: usize = 60;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn resolve(flags: &[&str]) -> Result<Settings, UsageError> {
        Args::try_parse_from([&["cli_02"], flags].concat())
            .expect("clap takes these flags")
            .resolve()
    }

    fn problem(flags: &[&str]) -> String {
        resolve(flags).expect_err("these flags are refused").to_string()
    }

    #[test]
    fn clap_accepts_the_definition_of_the_flags() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_call_without_flags_uses_the_defaults() {
        let settings = resolve(&[]).unwrap();
        assert_eq!(
            settings,
            Settings {
                tls: None,
                host: Host::Address([127, 0, 0, 1].into()),
                port: 3000,
                method: "GET".into(),
                path: "/".into(),
                headers: vec![],
                body: None,
                timeout: Duration::from_secs(5),
                max_bytes: 1024 * 1024,
            }
        );
    }

    #[test]
    fn valid_values_are_accepted() {
        for (flag, value) in [
            ("--host", "localhost"),
            ("--host", "::1"),
            ("--host", "[::1]"),
            ("--host", "pp_api.example.org."),
            ("--port", "65535"),
            ("--method", "M-SEARCH"),
            ("--method", "get"),
            ("--path", "/work/search?work_code=api-%20&limit=2"),
            ("--path", "//"),
            ("--header", "X-Empty:"),
            ("--header", "X: a\tb: ü"),
            ("--header", "host: other"),
            ("--body", ""),
            ("--body", "-5"),
            ("--body", "any\r\ntext\0"),
            ("--timeout", "1ms"),
            ("--timeout", "1h"),
            ("--timeout", "1m 30s"),
            ("--max-bytes", "1"),
            ("--max-bytes", "64KiB"),
            ("--max-bytes", "1GiB"),
        ] {
            assert!(resolve(&[flag, value]).is_ok(), "{flag} {value:?}");
        }
    }

    #[test]
    fn an_invalid_value_is_one_line_that_names_the_flag() {
        let long = "a".repeat(BODY_LIMIT + 1);
        let long_path = format!("/{long}");
        let long_header = format!("X: {long}");
        for (flag, value) in [
            ("--host", ""),
            ("--host", "http://localhost"),
            ("--host", "localhost:3000"),
            ("--host", "[localhost]"),
            ("--host", "[127.0.0.1]"),
            ("--host", "a b"),
            ("--host", "a\r\nX: y"),
            ("--host", &long),
            ("--port", "0"),
            ("--port", "65536"),
            ("--port", "-1"),
            ("--port", "http"),
            ("--method", ""),
            ("--method", "GET /"),
            ("--method", "GET\r\n"),
            ("--method", "CONNECT"),
            ("--method", &long),
            ("--path", ""),
            ("--path", "work"),
            ("--path", "http://localhost/"),
            ("--path", "/a b"),
            ("--path", "/\u{e9}"),
            ("--path", "/\t"),
            ("--path", "/\0"),
            ("--path", "/\x7f"),
            ("--path", "/#top"),
            ("--path", "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /two"),
            ("--path", &long_path),
            ("--header", ""),
            ("--header", "X"),
            ("--header", ": value"),
            ("--header", "X : value"),
            ("--header", " X: value"),
            ("--header", "X: a\r\nY: b"),
            ("--header", "X: a\nY: b"),
            ("--header", "X: a\n"),
            ("--header", "X\r\nY: b"),
            ("--header", "X: \0"),
            ("--header", "X: \u{85}"),
            ("--header", "Content-Length: 3"),
            ("--header", "transfer-encoding: chunked"),
            ("--header", "CONNECTION: keep-alive"),
            ("--header", &long_header),
            ("--body", &long),
            ("--timeout", "5"),
            ("--timeout", "0"),
            ("--timeout", "0s"),
            ("--timeout", "1.5"),
            ("--timeout", "-5"),
            ("--timeout", "-5s"),
            ("--timeout", "soon"),
            ("--timeout", "3601s"),
            ("--timeout", "99999999999999999999s"),
            ("--max-bytes", "0"),
            ("--max-bytes", "-1"),
            ("--max-bytes", "1 KiBs"),
            ("--max-bytes", "2GiB"),
            ("--max-bytes", "99999999999999999999999GiB"),
        ] {
            let line = problem(&[flag, value]);
            assert!(line.starts_with(&format!("{flag} \"")), "{line}");
            assert!(!line.contains(char::is_control) && line.len() < 250, "{line:?}");
        }
    }

    #[test]
    fn a_header_that_may_occur_once_is_refused_the_second_time() {
        assert_eq!(
            problem(&[
                "--header", "Host: a", "--header", "X: a", "--header", "X: b", "--header", "host: b"
            ]),
            "--header \"host: b\": given twice; give it once"
        );
    }

    #[test]
    fn the_number_of_headers_is_bounded() {
        let flags = |count: usize| ["--header", "X: a"].repeat(count);
        assert_eq!(resolve(&flags(HEADERS_LIMIT)).unwrap().headers.len(), HEADERS_LIMIT);
        assert_eq!(
            problem(&flags(HEADERS_LIMIT + 1)),
            "--header \"X: a\": more than 64 headers"
        );
    }
}
