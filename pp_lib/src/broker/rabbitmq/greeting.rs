//! What the server says about itself before anyone has logged in: its version, which decides about queue arguments.
//!
//! The client library reads the greeting and keeps it to itself, so a connection of its own asks for it. That also
//! finds a server that accepts connections but does not answer, before the library waits for it in a thread of its own.

use std::io;

use lapin::types::{AMQPValue, parsing::parse_field_table};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The major version of a server, 0 when it does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MajorVersion(pub(super) u32);

const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
const FRAME_HEADER_LENGTH: usize = 7;
const MAX_GREETING_LENGTH: u32 = 1 << 16;
/// Class and method of `connection.start`, then the protocol's version.
const START: &[u8] = &[0, 10, 0, 10, 0, 9];

/// Asks a server for its version; the caller bounds the time.
pub(super) async fn major_version(host: &str, port: u16) -> io::Result<MajorVersion> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(PROTOCOL_HEADER).await?;
    let mut header = [0; FRAME_HEADER_LENGTH];
    stream.read_exact(&mut header).await?;
    let length = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
    if header[..3] != [1, 0, 0] || length > MAX_GREETING_LENGTH {
        return Err(io::Error::other("it does not speak AMQP 0-9-1"));
    }
    let mut greeting = vec![0; length as usize];
    stream.read_exact(&mut greeting).await?;
    parse(&greeting).ok_or_else(|| io::Error::other("its greeting cannot be read"))
}

fn parse(greeting: &[u8]) -> Option<MajorVersion> {
    let (_, properties) = parse_field_table(greeting.strip_prefix(START)?).ok()?;
    let version = match properties.inner().get("version") {
        Some(AMQPValue::LongString(version)) => version.to_string(),
        _ => String::new(),
    };
    let major = version.split('.').next().and_then(|major| major.parse().ok());
    Some(MajorVersion(major.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: &str) -> Vec<u8> {
        let mut table = b"\x07versionS".to_vec();
        table.extend((version.len() as u32).to_be_bytes());
        table.extend(version.as_bytes());
        let length = (table.len() as u32).to_be_bytes();
        [START, &length, &table, b"\0\0\0\x05PLAIN\0\0\0\x05en_US"].concat()
    }

    #[test]
    fn the_version_is_read_and_anything_else_is_no_greeting() {
        for (version, major) in [("3.10.8", 3), ("4.0.2", 4), ("10.1", 10), ("", 0), ("next", 0)] {
            assert_eq!(parse(&greeting(version)), Some(MajorVersion(major)), "{version}");
        }
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&greeting("4.0")[..20]), None);
    }
}
