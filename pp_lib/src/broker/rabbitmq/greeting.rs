//! Reads the server's greeting, whose version decides about the arguments of queues.
//!
//! The client library does not reveal the greeting, so it is read on its way to the library. A server that accepts
//! connections without a greeting fails here. The library would wait for it in a blocked thread.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use lapin::types::{AMQPValue, parsing::parse_field_table};
use tokio::time::{Sleep, sleep};

/// The major version of a server; 0 if it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MajorVersion(pub(super) u32);

impl MajorVersion {
    /// That of a version such as `4.0.5`.
    pub(super) fn of(version: &str) -> Self {
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        Self(major.unwrap_or(0))
    }
}

/// The type, channel and length of a frame.
const FRAME_HEADER_LENGTH: usize = 7;
const MAX_GREETING_LENGTH: usize = 1 << 16;
/// The class and method of `connection.start`, then the version of the protocol.
const START: &[u8] = &[0, 10, 0, 10, 0, 9];

/// The version, once the greeting was received; empty if it has none.
pub(super) type Greeted = Arc<OnceLock<String>>;

/// Reads the start of a connection.
#[derive(Debug)]
pub(super) struct Greeting {
    greeted: Greeted,
    /// The received part of the greeting.
    bytes: Vec<u8>,
    /// The end of the time limit.
    limit: Pin<Box<Sleep>>,
}

impl Greeting {
    /// The greeting of a new connection, limited to this time.
    pub(super) fn new(greeted: Greeted, limit: Duration) -> Self {
        Self {
            greeted,
            bytes: Vec::new(),
            limit: Box::pin(sleep(limit)),
        }
    }

    /// Takes received bytes. They are an error if they are no greeting.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.greeted.get().is_some() {
            return Ok(());
        }
        self.bytes.extend_from_slice(bytes);
        let Some((header, rest)) = self.bytes.split_at_checked(FRAME_HEADER_LENGTH) else {
            return Ok(());
        };
        let length = u32::from_be_bytes([header[3], header[4], header[5], header[6]]) as usize;
        if header[..3] != [1, 0, 0] || length > MAX_GREETING_LENGTH {
            return Err(io::Error::other("it does not speak AMQP 0-9-1"));
        }
        if let Some(greeting) = rest.get(..length) {
            let version = parse(greeting).ok_or_else(|| io::Error::other("its greeting cannot be read"))?;
            let _ = self.greeted.set(version);
            self.bytes = Vec::new();
        }
        Ok(())
    }

    /// Completes with an error when the time limit ends.
    pub(super) fn poll_limit(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.greeted.get().is_some() {
            return Poll::Pending;
        }
        let too_long = || io::Error::new(io::ErrorKind::TimedOut, "it accepts connections and says nothing");
        self.limit.as_mut().poll(context).map(|()| too_long())
    }
}

fn parse(greeting: &[u8]) -> Option<String> {
    let (_, properties) = parse_field_table(greeting.strip_prefix(START)?).ok()?;
    Some(match properties.inner().get("version") {
        Some(AMQPValue::LongString(version)) => version.to_string(),
        _ => String::new(),
    })
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
    fn a_greeting_gives_the_version_and_other_bytes_are_refused() {
        for (version, major) in [("3.10.8", 3), ("4.0.2", 4), ("10.1", 10), ("", 0), ("next", 0)] {
            let parsed = parse(&greeting(version)).unwrap();
            assert_eq!(
                (parsed.as_str(), MajorVersion::of(&parsed)),
                (version, MajorVersion(major))
            );
        }
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&greeting("4.0")[..20]), None);
    }

    fn read(bytes: &[u8], part: usize) -> io::Result<Option<String>> {
        let greeted = Greeted::default();
        let mut greeting = Greeting::new(greeted.clone(), Duration::from_secs(1));
        bytes.chunks(part).try_for_each(|part| greeting.take_in(part))?;
        Ok(greeted.get().cloned())
    }

    #[tokio::test]
    async fn the_greeting_is_read_for_every_split() {
        let greeting = greeting("3.10.8");
        let length = (greeting.len() as u32).to_be_bytes();
        let sent = [&[1, 0, 0], &length[..], &greeting, b"\xceand what follows"].concat();
        for part in [1, 7, 8, sent.len()] {
            assert_eq!(read(&sent, part).unwrap().unwrap(), "3.10.8", "in parts of {part}");
        }
        assert_eq!(read(&sent[..20], 20).unwrap(), None);
        assert!(read(b"HTTP/1.1 400 Bad Request", 3).is_err());
        assert!(read(&[1, 0, 0, 0, 0, 0, 1, 0, 0xce], 9).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_an_error() {
        let mut greeting = Greeting::new(Greeted::default(), Duration::from_secs(5));
        let began = tokio::time::Instant::now();
        let error = std::future::poll_fn(|context| greeting.poll_limit(context)).await;
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 5));
    }
}
