//! Splits a connection into requests, so that every head passes [`super::head`].

use super::chunks::{Chunks, Malformed};
use super::head::{self, Body};
use super::refusal::Refusal;

/// The reason to stop reading a connection.
#[derive(Debug)]
pub(super) enum End {
    /// The head is refused with this answer.
    Refused(Refusal),
    /// The body is malformed. Its request is already running and gets the answer.
    Broken,
}

impl From<Malformed> for End {
    fn from(_: Malformed) -> Self {
        Self::Broken
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The state of reading a connection's requests.
#[derive(Debug)]
pub(super) struct Framing {
    place: Place,
    /// The bytes of an incomplete head.
    partial: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    Head,
    Body(u64),
    Chunks(Chunks),
    Rest,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Head,
            partial: Vec::new(),
        }
    }

    /// True between requests and within a head.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.place, Place::Head)
    }

    /// The number of bytes kept of an incomplete head.
    pub(super) fn partial_len(&self) -> usize {
        self.partial.len()
    }

    /// Takes received bytes and appends to `out` those the server may read. Answers how many heads became complete.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, End> {
        let mut heads = 0;
        while !bytes.is_empty() {
            let passed = match &mut self.place {
                Place::Head => match self.take_head(bytes, out)? {
                    Some(taken) => {
                        heads += 1;
                        bytes = &bytes[taken..];
                        continue;
                    }
                    None => return Ok(heads),
                },
                Place::Body(left) => {
                    let some = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= some as u64;
                    if *left == 0 {
                        self.place = Place::Head;
                    }
                    some
                }
                Place::Chunks(chunks) => {
                    let (some, ended) = chunks.pass(bytes)?;
                    if ended {
                        self.place = Place::Head;
                    }
                    some
                }
                Place::Rest => bytes.len(),
            };
            out.extend_from_slice(&bytes[..passed]);
            bytes = &bytes[passed..];
        }
        Ok(heads)
    }

    /// Answers how many of the bytes belong to the head, or `None` while the head is incomplete.
    fn take_head(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, End> {
        // Empty lines before a request are ignored (RFC 9112, section 2.2).
        let empty = match self.partial.is_empty() {
            true => bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count(),
            false => 0,
        };
        let (before, bytes) = (self.partial.len(), &bytes[empty..]);
        self.partial.extend_from_slice(bytes);
        // Only a line's end can complete a head or prove it wrong.
        if !bytes.contains(&b'\n') && self.partial.len() <= head::LARGEST {
            return Ok(None);
        }
        let Some(head) = head::read(&self.partial)? else {
            return Ok(None);
        };
        self.partial = Vec::new();
        out.extend_from_slice(&head.mended);
        self.place = match head.body {
            Body::Length(0) => Place::Head,
            Body::Length(length) => Place::Body(length),
            Body::Chunked => Place::Chunks(Chunks::new()),
            Body::Rest => Place::Rest,
        };
        Ok(Some(empty + head.length - before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: &str = "\r\nPOST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345\
        POST /b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\n678\r\n0\r\n\r\n\
        GET /c HTTP/1.1\r\nhost: x\r\n\r\n";

    #[test]
    fn every_head_of_a_connection_is_found_for_every_split() {
        for size in 1..=REQUESTS.len() {
            let (mut framing, mut out, mut heads) = (Framing::new(), Vec::new(), 0);
            for some in REQUESTS.as_bytes().chunks(size) {
                heads += framing.take(some, &mut out).unwrap();
            }
            assert_eq!(heads, 3);
            assert_eq!(String::from_utf8(out).unwrap(), &REQUESTS[2..], "by {size}");
            assert!(framing.in_head() && framing.partial_len() == 0);
            let refused = framing.take(b"POST / HTTP/1.1\r\n\r\n", &mut Vec::new());
            assert!(matches!(refused, Err(End::Refused(_))));
        }
    }

    #[test]
    fn a_body_that_looks_like_a_head_stays_a_body() {
        let text = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 28\r\n\r\nGET / HTTP/1.1\r\nno colon\r\n\r\n";
        let (mut framing, mut out) = (Framing::new(), Vec::new());
        framing.take(text.as_bytes(), &mut out).unwrap();
        assert_eq!(out, text.as_bytes());
    }

    #[test]
    fn malformed_chunks_end_the_connection() {
        let text = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
        let ended = Framing::new().take(text.as_bytes(), &mut Vec::new());
        assert!(matches!(ended, Err(End::Broken)));
    }
}
