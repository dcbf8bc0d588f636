//! Finds the end of a chunked body. The bytes pass unchanged; the server decodes them.

/// The maximum length of a chunk's size line, and of all trailer lines together.
const LONGEST_LINE: usize = 8 * 1024;

/// The body violates the chunked coding of RFC 9112, section 7.1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The state of reading a chunked body.
#[derive(Debug)]
pub(super) struct Chunks {
    place: Place,
    /// The length of the current line, or of all trailer lines so far.
    line: usize,
}

#[derive(Debug)]
enum Place {
    /// Within the digits of a chunk's size.
    Size(u64),
    /// Behind the digits, within a chunk extension.
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastLf,
}

impl Chunks {
    pub(super) fn new() -> Self {
        let (place, line) = (Place::Size(0), 0);
        Self { place, line }
    }

    /// Reads these bytes. Answers how many of them belong to the body and if the body ends with them.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut passed = 0;
        while let Some(byte) = bytes.get(passed) {
            if let Place::Data(left) = &mut self.place {
                let some = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - passed);
                *left -= some as u64;
                passed += some;
                if *left == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            passed += 1;
            if matches!((&self.place, byte), (Place::LastLf, b'\n')) {
                return Ok((passed, true));
            }
            self.step(*byte)?;
        }
        Ok((passed, false))
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.line += 1;
        if self.line > LONGEST_LINE {
            return Err(Malformed);
        }
        self.place = match (&self.place, byte) {
            (Place::Size(size), _) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                Place::Size(size.checked_mul(16).ok_or(Malformed)? | u64::from(digit))
            }
            (Place::Size(_), _) if self.line == 1 => return Err(Malformed),
            (Place::Size(size) | Place::Extension(size), b'\r') => Place::SizeEnd(*size),
            (Place::Size(size), b';' | b' ' | b'\t') => Place::Extension(*size),
            (Place::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => Place::Extension(*size),
            (Place::SizeEnd(size), b'\n') => {
                self.line = 0;
                if *size == 0 {
                    Place::TrailerStart
                } else {
                    Place::Data(*size)
                }
            }
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => {
                self.line = 0;
                Place::Size(0)
            }
            (Place::TrailerStart, b'\r') => Place::LastLf,
            (Place::Trailer, b'\r') => Place::TrailerEnd,
            (Place::TrailerStart | Place::Trailer, _) => Place::Trailer,
            (Place::TrailerEnd, b'\n') => Place::TrailerStart,
            _ => return Err(Malformed),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_ends_at_its_last_chunk_for_every_split() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00a;name=value\r\n0\r\n\r\n90123\r\n1 \r\n\n\r\n0\r\nx: y\r\nz: \r\n\r\n",
        ] {
            let bytes = format!("{body}GET /").into_bytes();
            assert_eq!(Chunks::new().pass(&bytes), Ok((body.len(), true)), "{body:?}");
            let mut chunks = Chunks::new();
            for (place, byte) in body.bytes().enumerate() {
                assert_eq!(
                    chunks.pass(&[byte]),
                    Ok((1, place + 1 == body.len())),
                    "{body:?} at {place}"
                );
            }
        }
    }

    #[test]
    fn a_malformed_chunked_body_is_refused() {
        let long = format!("1;{}\r\n", "x".repeat(LONGEST_LINE));
        for body in [
            "zz\r\n",
            "\r\n",
            ";x\r\n",
            "5\nhello",
            "1\r\nxy\r\n",
            "1\r\nx\n",
            "11111111111111111\r\n",
            "0\r\n\rx",
            "1;\u{7f}\r\n",
            &long,
        ] {
            assert_eq!(Chunks::new().pass(body.as_bytes()), Err(Malformed), "{body:?}");
        }
    }
}
