//! Parses the reply piece by piece: the end of its head, the length of its body, its completeness.
//!
//! The pieces may be cut anywhere without changing the result. The meaning of the answer beyond its status code is left
//! out.

use httparse::Status;
use thiserror::Error;

use crate::chunked::Chunked;

/// The maximum size of a head in bytes: status line and headers together.
const HEAD_LIMIT: usize = 64 * 1024;
/// The maximum number of headers in a head.
const HEADER_COUNT_LIMIT: usize = 128;

/// The reason why there is no complete reply.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum ReplyError {
    /// The server violates the protocol.
    #[error("malformed reply: {0}")]
    Malformed(&'static str),
    /// The reply has more bytes than `--max-bytes`.
    #[error("the reply is larger than {0} bytes (--max-bytes)")]
    TooLarge(u64),
    /// The server closed the connection without sending anything.
    #[error("the server closed the connection without a reply")]
    Empty,
    /// The server closed the connection too early.
    #[error("the server closed the connection in the middle of {0}")]
    Truncated(&'static str),
}

/// A piece of a reply for the screen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    /// Status line and headers as received. Each 1xx reply has its own, and so has an incomplete or malformed head.
    Head(Vec<u8>),
    /// More of the body, decoded from the chunked coding.
    Body(Vec<u8>),
    /// Headers after a chunked body, as received.
    Trailers(Vec<u8>),
}

/// The state of a reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Progress {
    /// Bytes are missing.
    Partial,
    /// The reply is complete and has this status code.
    Complete(u16),
}

/// A reply that is being read.
#[derive(Debug)]
pub(crate) struct Reply {
    /// True if it answers HEAD. It then has no body, whatever its headers say.
    to_head: bool,
    max_bytes: u64,
    received: u64,
    status: u16,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The head so far.
    Head(Vec<u8>),
    /// The number of bytes missing from the body.
    Sized(u64),
    Chunked(Chunked),
    UntilClose,
    Complete,
}

impl Reply {
    /// Expects a reply to a request of this method. Heads and framing count towards `max_bytes`.
    pub(crate) fn new(method: &str, max_bytes: u64) -> Self {
        Self {
            to_head: method == "HEAD",
            max_bytes,
            received: 0,
            status: 0,
            stage: Stage::Head(Vec::new()),
        }
    }

    /// Takes received bytes and adds the parts to show to `parts`, even if it fails.
    pub(crate) fn take(&mut self, piece: &[u8], parts: &mut Vec<Part>) -> Result<Progress, ReplyError> {
        let room = usize::try_from(self.max_bytes - self.received).unwrap_or(usize::MAX);
        let (mut rest, beyond) = piece.split_at(piece.len().min(room));
        self.received += rest.len() as u64;
        while !rest.is_empty() && !self.is_complete() {
            let count = self.step(rest, parts)?;
            rest = &rest[count..];
        }
        if !beyond.is_empty() && !self.is_complete() {
            self.abandon(parts);
            return Err(ReplyError::TooLarge(self.max_bytes));
        }
        Ok(self.progress())
    }

    /// Records that the server has closed the connection.
    pub(crate) fn close(&mut self, parts: &mut Vec<Part>) -> Result<Progress, ReplyError> {
        self.abandon(parts);
        match &self.stage {
            Stage::Head(_) if self.received == 0 => Err(ReplyError::Empty),
            Stage::Head(_) => Err(ReplyError::Truncated("the reply's head")),
            Stage::Sized(_) => Err(ReplyError::Truncated("the reply's body")),
            Stage::Chunked(_) => Err(ReplyError::Truncated("the reply's chunked body")),
            Stage::UntilClose | Stage::Complete => {
                self.stage = Stage::Complete;
                Ok(self.progress())
            }
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Complete)
    }

    fn progress(&self) -> Progress {
        if self.is_complete() {
            Progress::Complete(self.status)
        } else {
            Progress::Partial
        }
    }

    /// Takes the bytes of the current stage from the piece and answers their number.
    fn step(&mut self, piece: &[u8], parts: &mut Vec<Part>) -> Result<usize, ReplyError> {
        match &mut self.stage {
            Stage::Head(_) => self.take_head(piece, parts).inspect_err(|_| self.abandon(parts)),
            Stage::Sized(left) => {
                let count = usize::try_from(*left).map_or(piece.len(), |left| left.min(piece.len()));
                *left -= count as u64;
                if *left == 0 {
                    self.stage = Stage::Complete;
                }
                parts.push(Part::Body(piece[..count].to_vec()));
                Ok(count)
            }
            Stage::Chunked(chunked) => {
                let mut body = Vec::new();
                let taken = chunked.take(piece, &mut body);
                if !body.is_empty() {
                    parts.push(Part::Body(body));
                }
                if chunked.is_complete() {
                    parts.extend(std::mem::take(chunked).trailers().map(Part::Trailers));
                    self.stage = Stage::Complete;
                }
                taken
            }
            Stage::UntilClose => {
                parts.push(Part::Body(piece.to_vec()));
                Ok(piece.len())
            }
            Stage::Complete => Ok(0),
        }
    }

    fn take_head(&mut self, piece: &[u8], parts: &mut Vec<Part>) -> Result<usize, ReplyError> {
        let Stage::Head(head) = &mut self.stage else {
            return Ok(0);
        };
        let before = head.len();
        head.extend_from_slice(piece);
        let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_LIMIT];
        let mut parsed = httparse::Response::new(&mut headers);
        let parse = parsed
            .parse(head)
            .map_err(|error| ReplyError::Malformed(describe(error)))?;
        let (end, status) = match (parse, parsed.code) {
            (Status::Complete(end), Some(status)) if end <= HEAD_LIMIT => (end, status),
            _ if head.len() > HEAD_LIMIT => return Err(ReplyError::Malformed("the head exceeds 64 KiB")),
            _ => return Ok(piece.len()),
        };
        let next = match status {
            ..100 | 600.. => return Err(ReplyError::Malformed("the status code is outside 100 to 599")),
            // After a switch of protocols the bytes are no longer HTTP.
            101 | 204 | 304 => Stage::Complete,
            100..200 => Stage::Head(Vec::new()),
            _ if self.to_head => Stage::Complete,
            _ => framing(parsed.version, parsed.headers)?,
        };
        let mut shown = std::mem::take(head);
        shown.truncate(end);
        parts.push(Part::Head(shown));
        self.status = status;
        self.stage = next;
        if let Stage::Sized(length) = self.stage {
            let taken = self.received - (piece.len() - (end - before)) as u64;
            if length > self.max_bytes - taken {
                return Err(ReplyError::TooLarge(self.max_bytes));
            }
        }
        Ok(end - before)
    }

    /// Stops waiting, and adds an incomplete head to `parts` so that a failed exchange shows it.
    pub(crate) fn abandon(&mut self, parts: &mut Vec<Part>) {
        if let Stage::Head(head) = &mut self.stage
            && !head.is_empty()
        {
            parts.push(Part::Head(std::mem::take(head)));
        }
    }
}

/// The end of the body (RFC 9112, section 6.3). A framing that two readers could interpret differently is refused.
fn framing(version: Option<u8>, headers: &[httparse::Header<'_>]) -> Result<Stage, ReplyError> {
    let values = |name: &'static str| {
        headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let codings: Vec<_> = values("transfer-encoding").collect();
    let mut lengths = values("content-length").flat_map(|value| value.split(|b| *b == b','));
    match (codings.as_slice(), lengths.next()) {
        ([], None) => Ok(Stage::UntilClose),
        ([], Some(first)) => {
            let length = content_length(first)?;
            for other in lengths {
                if content_length(other)? != length {
                    return Err(ReplyError::Malformed("it has two different content-lengths"));
                }
            }
            Ok(if length == 0 {
                Stage::Complete
            } else {
                Stage::Sized(length)
            })
        }
        (_, Some(_)) => Err(ReplyError::Malformed(
            "it has both transfer-encoding and content-length",
        )),
        ([coding], None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") && version == Some(1) => {
            Ok(Stage::Chunked(Chunked::default()))
        }
        _ => Err(ReplyError::Malformed("its transfer-encoding is not HTTP/1.1's chunked")),
    }
}

/// Parses the length. A number that overflows becomes the largest one, which the limit of the reply refuses.
fn content_length(value: &[u8]) -> Result<u64, ReplyError> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::Malformed("its content-length is not a number"));
    }
    Ok(digits.iter().fold(0, |sum: u64, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::Version | httparse::Error::Status => "it does not begin like HTTP/1.x",
        httparse::Error::HeaderName => "a header's name contains an invalid character",
        httparse::Error::HeaderValue => "a header's value contains an invalid character",
        httparse::Error::TooManyHeaders => "it has more than 128 headers",
        _ => "its head violates HTTP/1.x",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLENTY: u64 = 1024 * 1024;

    /// The result of reading a reply.
    #[derive(Debug, Default, PartialEq)]
    struct Read {
        heads: String,
        body: Vec<u8>,
        trailers: String,
    }

    fn read(pieces: &[&[u8]], method: &str, max_bytes: u64) -> (Read, Result<Progress, ReplyError>) {
        let (mut reply, mut parts) = (Reply::new(method, max_bytes), Vec::new());
        let mut outcome = Ok(Progress::Partial);
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            if outcome == Ok(Progress::Partial) {
                outcome = reply.take(piece, &mut parts);
            }
        }
        if outcome == Ok(Progress::Partial) {
            outcome = reply.close(&mut parts);
        }
        let mut read = Read::default();
        for part in parts {
            match part {
                Part::Head(bytes) => read.heads += &String::from_utf8_lossy(&bytes),
                Part::Body(bytes) => read.body.extend(bytes),
                Part::Trailers(bytes) => read.trailers += &String::from_utf8_lossy(&bytes),
            }
        }
        (read, outcome)
    }

    fn whole(wire: &str) -> (Read, Result<Progress, ReplyError>) {
        read(&[wire.as_bytes()], "GET", PLENTY)
    }

    const REPLIES: [&str; 7] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 2, 2\r\nContent-Length:2\r\n\r\n{}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: \
         Chunked\r\n\r\n3;x=y\r\nabc\r\na\r\n0123456789\r\n0\r\nDigest: z\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil\r\n\r\nclose",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n",
        "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    ];

    #[test]
    fn each_framing_gives_its_body_and_status() {
        let expected = [
            (200, "hello"),
            (404, "{}"),
            (200, "abc0123456789"),
            (200, "until\r\n\r\nclose"),
        ];
        let expected = expected.into_iter().chain([(204, ""), (304, ""), (500, "")]);
        for (wire, (status, body)) in REPLIES.into_iter().zip(expected) {
            let (read, outcome) = whole(wire);
            assert_eq!(outcome, Ok(Progress::Complete(status)), "{wire}");
            assert_eq!(String::from_utf8(read.body).unwrap(), body, "{wire}");
        }
    }

    #[test]
    fn interim_heads_and_trailers_are_shown_as_they_came() {
        let (read, _) = whole(REPLIES[2]);
        assert_eq!(read.heads, REPLIES[2][..REPLIES[2].find("3;x").unwrap()]);
        assert_eq!(read.trailers, "Digest: z\r\n\r\n");
    }

    #[test]
    fn a_reply_reads_the_same_for_every_split() {
        for wire in REPLIES {
            let expected = whole(wire);
            for at in 0..=wire.len() {
                let (a, b) = wire.as_bytes().split_at(at);
                assert_eq!(read(&[a, b], "GET", PLENTY), expected, "cut at {at} of {wire}");
            }
            let single: Vec<_> = wire.as_bytes().chunks(1).collect();
            assert_eq!(read(&single, "GET", PLENTY), expected, "byte by byte: {wire}");
        }
    }

    #[test]
    fn a_reply_is_complete_without_waiting_for_the_close() {
        for wire in REPLIES.iter().filter(|wire| !wire.starts_with("HTTP/1.0")) {
            let mut reply = Reply::new("GET", PLENTY);
            let progress = reply.take(wire.as_bytes(), &mut Vec::new());
            assert!(matches!(progress, Ok(Progress::Complete(_))), "{wire}");
        }
    }

    #[test]
    fn a_reply_to_head_has_no_body() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
        let (read, outcome) = read(&[wire], "HEAD", PLENTY);
        assert_eq!((read.body.len(), outcome), (0, Ok(Progress::Complete(200))));
    }

    #[test]
    fn every_truncated_reply_is_an_error() {
        for wire in REPLIES.iter().filter(|wire| !wire.starts_with("HTTP/1.0")) {
            for end in 0..wire.len() {
                let (read, outcome) = whole(&wire[..end]);
                let expected = if end == 0 {
                    "without a reply"
                } else {
                    "in the middle of"
                };
                assert!(
                    outcome.unwrap_err().to_string().contains(expected),
                    "{:?}",
                    &wire[..end]
                );
                assert!(wire.starts_with(&read.heads), "what came is shown: {read:?}");
            }
        }
    }

    #[test]
    fn a_malformed_reply_is_refused_and_shown() {
        let headers = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        for wire in [
            "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
            "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
            "HTTP/1.1 099 OK\r\n\r\n".to_owned(),
            "HTTP/1.1 600 OK\r\n\r\n".to_owned(),
            headers("no header"),
            headers("A : b"),
            headers("A: \0"),
            headers("Content-Length: five"),
            headers("Content-Length: -5"),
            headers("Content-Length: +5"),
            headers("Content-Length:"),
            headers("Content-Length: 5,"),
            headers("Content-Length: 5\r\nContent-Length: 6"),
            headers("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            headers("Transfer-Encoding: gzip, chunked"),
            headers("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            headers(&"A: b\r\n".repeat(HEADER_COUNT_LIMIT + 1)),
            headers(&format!("A: {}", "b".repeat(HEAD_LIMIT))),
        ] {
            let (read, outcome) = whole(&wire);
            assert!(
                matches!(outcome, Err(ReplyError::Malformed(_))),
                "{wire:?}: {outcome:?}"
            );
            assert_eq!(read.heads, wire);
        }
        assert!(matches!(
            whole(&(headers("Transfer-Encoding: chunked") + "zz\r\n")).1,
            Err(ReplyError::Malformed(_))
        ));
    }

    #[test]
    fn max_bytes_counts_every_byte_and_allows_exactly_that_many() {
        for wire in REPLIES {
            let exact = wire.len() as u64;
            assert!(
                matches!(read(&[wire.as_bytes()], "GET", exact).1, Ok(Progress::Complete(_))),
                "{wire}"
            );
            let single: Vec<_> = wire.as_bytes().chunks(1).collect();
            for pieces in [vec![wire.as_bytes()], single] {
                let outcome = read(&pieces, "GET", exact - 1).1;
                assert_eq!(outcome, Err(ReplyError::TooLarge(exact - 1)), "{wire}");
            }
        }
    }

    #[test]
    fn a_content_length_beyond_the_limit_is_refused_before_the_body() {
        for length in ["1048577", "18446744073709551616", "999999999999999999999999999999"] {
            let wire = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let outcome = Reply::new("GET", PLENTY).take(wire.as_bytes(), &mut Vec::new());
            assert_eq!(outcome, Err(ReplyError::TooLarge(PLENTY)), "{length}");
        }
    }

    proptest! {
        #[test]
        fn a_chunked_body_is_decoded_for_all_chunks_and_pieces(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            size in 1_usize..50,
        ) {
            let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
            }
            wire.extend(b"0\r\n\r\n");
            let pieces: Vec<_> = wire.chunks(size).collect();
            let (read, outcome) = read(&pieces, "GET", PLENTY);
            prop_assert_eq!(outcome, Ok(Progress::Complete(200)));
            prop_assert_eq!(read.body, chunks.concat());
        }

        #[test]
        fn noise_never_panics_and_never_exceeds_the_limit(
            start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
            noise in "[0-9a-f:;A \r\n\\x00-\\xff]{0,80}",
            size in 1_usize..50,
            max_bytes in 1_u64..100,
        ) {
            let wire = start.to_owned() + &noise;
            let (mut reply, mut parts) = (Reply::new("GET", max_bytes), Vec::new());
            for piece in wire.as_bytes().chunks(size) {
                if reply.take(piece, &mut parts) != Ok(Progress::Partial) {
                    break;
                }
            }
            let shown: usize = parts.iter().map(|(Part::Head(b) | Part::Body(b) | Part::Trailers(b))| b.len()).sum();
            prop_assert!(shown as u64 <= max_bytes);
        }
    }
}
