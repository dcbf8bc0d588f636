//! Prints an exchange: the request with "> ", the reply's head with "< ", then the body unchanged.
//!
//! The server's bytes cannot control the terminal. Control characters other than tab and line feed, and invalid UTF-8,
//! are escaped.

use std::io::{self, Write};

use crate::reply::Part;

/// Prints an exchange to a writer.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    out: W,
    body: Escaper,
}

impl<W: Write> Screen<W> {
    /// Prints to this writer and flushes it after every piece.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            body: Escaper::default(),
        }
    }

    pub(crate) fn request(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lines(">", bytes)?;
        self.out.flush()
    }

    pub(crate) fn parts(&mut self, parts: &[Part]) -> io::Result<()> {
        for part in parts {
            match part {
                Part::Head(bytes) | Part::Trailers(bytes) => {
                    self.body.end_line(&mut self.out)?;
                    self.lines("<", bytes)?;
                }
                Part::Body(bytes) => self.body.write(bytes, &mut self.out)?,
            }
        }
        self.out.flush()
    }

    /// Ends the last line, so that a prompt or an error begins on a new line.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.body.end_line(&mut self.out)?;
        self.out.flush()
    }

    fn lines(&mut self, prefix: &str, bytes: &[u8]) -> io::Result<()> {
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            write!(self.out, "{prefix}{}", if line.is_empty() { "" } else { " " })?;
            let mut escaper = Escaper::default();
            escaper.write(line, &mut self.out)?;
            escaper.flush(&mut self.out)?;
            writeln!(self.out)?;
        }
        Ok(())
    }
}

/// Turns bytes into text. A character may be cut between two pieces.
#[derive(Debug, Default)]
struct Escaper {
    /// The beginning of an incomplete character, at most three bytes.
    cut: Vec<u8>,
    in_line: bool,
}

impl Escaper {
    fn write(&mut self, piece: &[u8], out: &mut impl Write) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.cut);
        bytes.extend_from_slice(piece);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (valid, invalid) = match std::str::from_utf8(rest) {
                Ok(_) => (rest.len(), 0),
                Err(error) => match error.error_len() {
                    Some(length) => (error.valid_up_to(), length),
                    None => {
                        self.cut = rest[error.valid_up_to()..].to_vec();
                        rest = &rest[..error.valid_up_to()];
                        (rest.len(), 0)
                    }
                },
            };
            self.text(&String::from_utf8_lossy(&rest[..valid]), out)?;
            self.raw(&rest[valid..valid + invalid], out)?;
            rest = &rest[valid + invalid..];
        }
        Ok(())
    }

    /// Escapes the bytes that never became a character.
    fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        let cut = std::mem::take(&mut self.cut);
        self.raw(&cut, out)
    }

    fn end_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.flush(out)?;
        if std::mem::take(&mut self.in_line) {
            writeln!(out)
        } else {
            Ok(())
        }
    }

    fn text(&mut self, text: &str, out: &mut impl Write) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| acts_on_a_terminal(*c)) {
            out.write_all(&text.as_bytes()[plain..at])?;
            match c {
                '\r' => write!(out, "\\r")?,
                '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c))?,
                _ => write!(out, "\\u{{{:x}}}", u32::from(c))?,
            }
            plain = at + c.len_utf8();
        }
        out.write_all(&text.as_bytes()[plain..])?;
        if !text.is_empty() {
            self.in_line = !text.ends_with('\n');
        }
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        for byte in bytes {
            write!(out, "\\x{byte:02x}")?;
            self.in_line = true;
        }
        Ok(())
    }
}

/// True for control characters and for invisible characters that reorder text.
fn acts_on_a_terminal(c: char) -> bool {
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t' && c != '\n') || matches!(c, '\u{2028}' | '\u{2029}') || reorders
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(parts: &[Part]) -> String {
        let mut screen = Screen::new(Vec::new());
        screen.parts(parts).unwrap();
        screen.end().unwrap();
        String::from_utf8(screen.out).unwrap()
    }

    fn body(bytes: &[u8]) -> String {
        shown(&[Part::Body(bytes.to_vec())])
    }

    #[test]
    fn a_sent_line_has_its_prefix_and_ends_in_a_line_feed() {
        let mut screen = Screen::new(Vec::new());
        screen.request(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n{\x1b}").unwrap();
        assert_eq!(
            String::from_utf8(screen.out).unwrap(),
            "> POST / HTTP/1.1\n> Host: a\n>\n> {\\x1b}\n"
        );
    }

    #[test]
    fn head_body_and_trailers_each_start_a_line() {
        let parts = [
            Part::Head(b"HTTP/1.1 200 OK\r\nX: \xff\r\n\r\n".to_vec()),
            Part::Body(b"one".to_vec()),
            Part::Body(b" two".to_vec()),
            Part::Trailers(b"A: b\r\n\r\n".to_vec()),
        ];
        assert_eq!(shown(&parts), "< HTTP/1.1 200 OK\n< X: \\xff\n<\none two\n< A: b\n<\n");
    }

    #[test]
    fn a_body_is_shown_unchanged_unless_it_controls_the_terminal() {
        assert_eq!(body("{\"é\":\t\"\\x\"}\n".as_bytes()), "{\"é\":\t\"\\x\"}\n");
        assert_eq!(body(b"\x1b[2J\0\x07\r\n\x7f"), "\\x1b[2J\\x00\\x07\\r\n\\x7f\n");
        assert_eq!(body("\u{9b}31m\u{202e}x".as_bytes()), "\\u{9b}31m\\u{202e}x\n");
        assert_eq!(body(b"a\xff\xfeb\xe2\x82"), "a\\xff\\xfeb\\xe2\\x82\n");
        assert_eq!(body(b""), "");
    }

    proptest! {
        #[test]
        fn a_body_looks_the_same_for_every_split_and_is_harmless(
            bytes in prop::collection::vec(prop::sample::select(b"a\n\r\x1b\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x9b\xff".to_vec()), 0..60),
            size in 1_usize..8,
        ) {
            let parts: Vec<_> = bytes.chunks(size).map(|piece| Part::Body(piece.to_vec())).collect();
            let text = shown(&parts);
            prop_assert_eq!(&text, &body(&bytes));
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            prop_assert!(text.is_empty() || text.ends_with('\n'));
        }
    }
}
