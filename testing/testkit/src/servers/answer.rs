//! Whether a server answers: just as much of each protocol as it takes to know that a client would be served.
//!
//! No client library: this crate is built before everything else, and an open port alone says too little (RabbitMQ and
//! PostgreSQL listen before they serve).

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pp_tls::rustls::pki_types::ServerName;
use pp_tls::rustls::{ClientConnection, StreamOwned};
use pp_tls::{Check, Trust};
use url::Url;

use super::Kind;

const LIMIT: Duration = Duration::from_secs(3);

/// Has the Redis server at `url` do something that it answers with `OK`.
///
/// # Errors
/// When it does not.
pub fn redis_command(url: &str, command: &str) -> Result<()> {
    let url = Url::parse(url).context("the URL of Redis cannot be read")?;
    ask_redis(&mut *connect(Kind::Redis, &url)?, &url, command, "OK")
}

/// Asks the server at `url` once.
///
/// PostgreSQL must ask for a password, that is, accept sessions; RabbitMQ must let the user log in and open the virtual
/// host; Redis must answer a `PING`. With TLS a server of
/// this machine may show any certificate; another one must show one that the platform or `PP_TLS_CA` trusts.
///
/// # Errors
/// When it does not answer, or not like this.
pub fn answers(kind: Kind, url: &str) -> Result<()> {
    let url = Url::parse(url).with_context(|| format!("the URL of {kind} cannot be read"))?;
    let mut stream = connect(kind, &url)?;
    match kind {
        Kind::Postgres => ask_postgres(&mut *stream, &url),
        Kind::RabbitMq => ask_rabbitmq(&mut *stream, &url),
        Kind::Redis => ask_redis(&mut *stream, &url, "PING", "PONG"),
    }
}

/// A connection, with TLS or without.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

fn connect(kind: Kind, url: &Url) -> Result<Box<dyn Stream>> {
    let host = url
        .host_str()
        .with_context(|| format!("the URL of {kind} has no host"))?;
    let standard_port = match (kind, url.scheme()) {
        (Kind::Postgres, _) => 5432,
        (Kind::RabbitMq, "amqps") => 5671,
        (Kind::RabbitMq, _) => 5672,
        (Kind::Redis, _) => 6379,
    };
    let mut failed = anyhow::anyhow!("no such host");
    for address in (host, url.port().unwrap_or(standard_port)).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_write_timeout(Some(LIMIT))?;
                return encrypted(kind, url, stream);
            }
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

/// The connection with TLS, if the URL asks for it.
fn encrypted(kind: Kind, url: &Url, mut stream: TcpStream) -> Result<Box<dyn Stream>> {
    let wanted = match kind {
        Kind::Postgres => url
            .query_pairs()
            .any(|(name, value)| name == "sslmode" && ["require", "verify-ca", "verify-full"].contains(&&*value)),
        Kind::RabbitMq | Kind::Redis => ["amqps", "rediss"].contains(&url.scheme()),
    };
    if !wanted {
        return Ok(Box::new(stream));
    }
    if kind == Kind::Postgres {
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        ensure!(answer == *b"S", "it offers no TLS");
    }
    tls(stream, url.host_str().unwrap_or_default())
}

/// Begins TLS on a connection to this host.
fn tls(stream: TcpStream, host: &str) -> Result<Box<dyn Stream>> {
    let trust = match std::env::var_os("PP_TLS_CA") {
        Some(file) => Trust::also(Path::new(&file))?,
        None => Trust::default(),
    };
    let check = match stream.peer_addr()?.ip().is_loopback() {
        true => Check::Nothing,
        false => Check::ChainAndName,
    };
    let connection = ClientConnection::new(trust.client(check)?, ServerName::try_from(host.to_owned())?)?;
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

/// A start-up message; `R` asks for authentication, `E` says among others that the server is still starting.
fn ask_postgres(stream: &mut dyn Stream, url: &Url) -> Result<()> {
    let mut message = 196_608_u32.to_be_bytes().to_vec();
    for word in [
        "user",
        url.username(),
        "database",
        url.path().trim_start_matches('/'),
        "",
    ] {
        message.extend([word.as_bytes(), b"\0"].concat());
    }
    let length = u32::try_from(message.len() + 4)?;
    stream.write_all(&[length.to_be_bytes().to_vec(), message].concat())?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    ensure!(head[0] == b'R', "it refuses sessions");
    // Read to the message's end: the server would log a connection that is closed with unread bytes.
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]).clamp(4, 1024);
    stream.read_exact(&mut vec![0; usize::try_from(length)? - 4])?;
    Ok(())
}

/// `AUTH` when there is a password, then the command.
fn ask_redis(stream: &mut dyn Stream, url: &Url, command: &str, answer: &str) -> Result<()> {
    let mut expected = format!("+{answer}\r\n");
    if let Some(password) = url.password() {
        let user = if url.username().is_empty() {
            "default"
        } else {
            url.username()
        };
        write!(stream, "AUTH {user} {password}\r\n")?;
        expected.insert_str(0, "+OK\r\n");
    }
    write!(stream, "{command}\r\n")?;
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply)?;
    ensure!(
        reply == expected.as_bytes(),
        "it says {:?}",
        String::from_utf8_lossy(&reply)
    );
    Ok(())
}

const CONNECTION: u16 = 10;
const START: u16 = 10;
const START_OK: u16 = 11;
const TUNE: u16 = 30;
const TUNE_OK: u16 = 31;
const OPEN: u16 = 40;
const OPEN_OK: u16 = 41;
const CLOSE: u16 = 50;
const CLOSE_OK: u16 = 51;

/// The opening of an AMQP 0-9-1 connection, up to `open-ok`, and its close.
fn ask_rabbitmq(stream: &mut dyn Stream, url: &Url) -> Result<()> {
    stream.write_all(b"AMQP\0\0\x09\x01")?;
    expect(stream, START)?;
    let login = format!("\0{}\0{}", url.username(), url.password().unwrap_or_default());
    let mut start_ok = vec![0; 4];
    short_string(&mut start_ok, "PLAIN");
    start_ok.extend(u32::try_from(login.len())?.to_be_bytes());
    start_ok.extend(login.as_bytes());
    short_string(&mut start_ok, "en_US");
    send(stream, START_OK, &start_ok)?;
    let limits = expect(stream, TUNE)?;
    send(stream, TUNE_OK, &limits)?;
    let mut open = Vec::new();
    short_string(&mut open, &virtual_host(url));
    open.extend([0, 0]);
    send(stream, OPEN, &open)?;
    expect(stream, OPEN_OK)?;
    // Reply code 200, no text, no method to blame.
    send(stream, CLOSE, &[0, 200, 0, 0, 0, 0, 0])?;
    expect(stream, CLOSE_OK)?;
    Ok(())
}

fn virtual_host(url: &Url) -> String {
    match url.path().trim_start_matches('/') {
        "" => "/".to_owned(),
        name => name.replace("%2f", "/").replace("%2F", "/"),
    }
}

fn short_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).unwrap_or_default());
    bytes.extend(text.as_bytes());
}

fn send(stream: &mut dyn Stream, method: u16, arguments: &[u8]) -> Result<()> {
    let payload = [&CONNECTION.to_be_bytes(), &method.to_be_bytes(), arguments].concat();
    let mut frame = vec![1, 0, 0];
    frame.extend(u32::try_from(payload.len())?.to_be_bytes());
    frame.extend(payload);
    frame.push(0xCE);
    stream.write_all(&frame)?;
    Ok(())
}

/// Reads one method frame of the connection class and returns its arguments.
fn expect(stream: &mut dyn Stream, method: u16) -> Result<Vec<u8>> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => anyhow::anyhow!("it closed the connection, as for a wrong password"),
        _ => error.into(),
    })?;
    let length = usize::try_from(u32::from_be_bytes([head[3], head[4], head[5], head[6]]))?;
    ensure!(
        head[0] == 1 && (4..1 << 20).contains(&length),
        "it does not speak AMQP 0-9-1"
    );
    let mut payload = vec![0; length + 1];
    stream.read_exact(&mut payload)?;
    let (class, found) = (
        u16::from_be_bytes([payload[0], payload[1]]),
        u16::from_be_bytes([payload[2], payload[3]]),
    );
    if (class, found) != (CONNECTION, method) {
        bail!("it answers method {class}.{found}, not {CONNECTION}.{method}");
    }
    Ok(payload[4..length].to_vec())
}
