//! Decodes the chunked transfer coding: removes chunk sizes, keeps the body's bytes and the trailers.
//!
//! The input arrives in pieces of any size. `reply` decides which replies are chunked and limits their size.

use crate::reply::ReplyError;

/// The maximum length of a chunk-size line in bytes, including extensions and CRLF.
const SIZE_LINE_LIMIT: usize = 256;
/// The maximum size of the trailers in bytes.
const TRAILERS_LIMIT: usize = 8 * 1024;
/// The maximum number of trailers.
const TRAILER_COUNT_LIMIT: usize = 32;

/// A decoder for one chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    stage: Stage,
    /// The incomplete line, or the incomplete trailers.
    line: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Stage {
    #[default]
    Size,
    /// The number of bytes missing from the chunk.
    Data(u64),
    DataEnd,
    Trailers,
    Complete,
}

impl Chunked {
    /// Decodes a piece into `body`. Answers how many of its bytes belong to the reply: all of them until the body is
    /// complete.
    pub(crate) fn take(&mut self, piece: &[u8], body: &mut Vec<u8>) -> Result<usize, ReplyError> {
        let mut at = 0;
        while at < piece.len() && self.stage != Stage::Complete {
            if let Stage::Data(left) = self.stage {
                let rest = &piece[at..];
                let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                body.extend_from_slice(&rest[..count]);
                at += count;
                let left = left - count as u64;
                self.stage = if left == 0 { Stage::DataEnd } else { Stage::Data(left) };
            } else {
                self.take_framing(piece[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// True after the last chunk and the empty line behind the trailers.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// The trailers as received, including the empty line; `None` if there are none.
    pub(crate) fn trailers(self) -> Option<Vec<u8>> {
        (self.is_complete() && self.line != b"\r\n").then_some(self.line)
    }

    fn take_framing(&mut self, byte: u8) -> Result<(), ReplyError> {
        self.line.push(byte);
        match self.stage {
            Stage::Size => self.take_size(byte),
            Stage::DataEnd => self.take_data_end(),
            Stage::Trailers => self.take_trailers(byte),
            Stage::Data(_) | Stage::Complete => Ok(()),
        }
    }

    fn take_size(&mut self, byte: u8) -> Result<(), ReplyError> {
        // A line without a digit must not count as size 0. It would make a broken reply look complete.
        if !self.line[0].is_ascii_hexdigit() || self.line.len() > SIZE_LINE_LIMIT {
            return Err(ReplyError::Malformed("a chunk size is missing"));
        }
        if byte != b'\n' {
            return Ok(());
        }
        // Extensions may contain anything but a bare line feed, because implementations disagree if it ends the line.
        let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(&self.line) else {
            return Err(ReplyError::Malformed("a chunk size is not a number"));
        };
        self.line.clear();
        self.stage = if size == 0 { Stage::Trailers } else { Stage::Data(size) };
        Ok(())
    }

    fn take_data_end(&mut self) -> Result<(), ReplyError> {
        if !b"\r\n".starts_with(&self.line) {
            return Err(ReplyError::Malformed("a chunk is longer than its size"));
        }
        if self.line.len() == 2 {
            self.line.clear();
            self.stage = Stage::Size;
        }
        Ok(())
    }

    fn take_trailers(&mut self, byte: u8) -> Result<(), ReplyError> {
        if self.line.len() > TRAILERS_LIMIT {
            return Err(ReplyError::Malformed("the trailers exceed 8 KiB"));
        }
        if byte != b'\n' {
            return Ok(());
        }
        let mut trailers = [httparse::EMPTY_HEADER; TRAILER_COUNT_LIMIT];
        match httparse::parse_headers(&self.line, &mut trailers) {
            Ok(httparse::Status::Complete(_)) => self.stage = Stage::Complete,
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Err(ReplyError::Malformed("the trailers are not headers")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(wire: &[u8]) -> Result<(Vec<u8>, usize, Chunked), ReplyError> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        let taken = chunked.take(wire, &mut body)?;
        Ok((body, taken, chunked))
    }

    #[test]
    fn chunks_join_to_the_body_and_later_bytes_stay() {
        let wire = b"4\r\nWiki\r\n00B; name=\"x\" ;y\r\npedia in\r\n \r\n0\r\n\r\nHTTP/1.1 200";
        let (body, taken, chunked) = decode(wire).unwrap();
        assert_eq!(body, b"Wikipedia in\r\n ");
        assert_eq!(&wire[taken..], b"HTTP/1.1 200");
        assert!(chunked.is_complete());
        assert_eq!(chunked.trailers(), None);
    }

    #[test]
    fn trailers_are_kept() {
        let (body, _, chunked) = decode(b"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n").unwrap();
        assert_eq!(body, b"x");
        assert_eq!(chunked.trailers().as_deref(), Some(&b"A: b\r\nC: d\r\n\r\n"[..]));
    }

    #[test]
    fn every_truncated_body_is_incomplete() {
        let wire = b"1\r\nx\r\n0\r\nA: b\r\n\r\n";
        for end in 0..wire.len() {
            assert!(!decode(&wire[..end]).unwrap().2.is_complete(), "{end}");
        }
    }

    #[test]
    fn a_malformed_chunk_is_refused() {
        let long_extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(SIZE_LINE_LIMIT));
        let long_trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(TRAILERS_LIMIT));
        for wire in [
            "\r\n\r\n",
            ";ext\r\n\r\n",
            " 1\r\nx\r\n",
            "-1\r\nx\r\n",
            "0x1\r\nx\r\n",
            "g\r\n",
            "1\nx\r\n",
            "1;a\nb\r\nx\r\n",
            "1 1\r\nx\r\n",
            "1\r\nxy\r\n",
            "1\r\nx\n0\r\n\r\n",
            "11111111111111111\r\n",
            "0\r\nno trailer\r\n\r\n",
            &long_extension,
            &long_trailers,
        ] {
            assert!(
                matches!(decode(wire.as_bytes()), Err(ReplyError::Malformed(_))),
                "{wire:?}"
            );
        }
    }
}
