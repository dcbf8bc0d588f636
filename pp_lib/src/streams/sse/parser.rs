//! Parses a stream for clients, with limits on lines and events.

use std::io::{self, BufRead, Read as _};
use std::time::Duration;

/// The maximum size of a line and of an event's data, in bytes.
const MOST: usize = 8 * 1024 * 1024;

/// The reason why a stream cannot be read any further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SseError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The line or event exceeds the limit.
    #[error("a line or an event of more than {MOST} bytes")]
    TooLarge,
    /// The stream is not text.
    #[error("a line that is not UTF-8")]
    NotText,
}

/// A frame of a stream: what ends with an empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An event.
    Event {
        /// The name, or empty if it has none.
        name: String,
        /// The data.
        data: String,
    },
    /// A sign of life without data.
    Alive,
}

/// Parses one stream. The next stream needs its last id and its pause.
#[derive(Debug)]
pub struct Parser<R> {
    lines: R,
    name: String,
    data: Option<String>,
    id: Option<String>,
    last_id: Option<String>,
    retry: Option<Duration>,
    first: bool,
}

impl<R: BufRead> Parser<R> {
    /// Parses from the beginning of a stream.
    pub fn new(lines: R) -> Self {
        Self {
            lines,
            name: String::new(),
            data: None,
            id: None,
            last_id: None,
            retry: None,
            first: true,
        }
    }

    /// The id after which to continue.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The pause before the next attempt.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The next frame, or `None` at the end. An incomplete event is dropped.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, SseError> {
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() {
                self.last_id = self.id.take().or(self.last_id.take());
                let (name, data) = (std::mem::take(&mut self.name), self.data.take());
                return Ok(Some(data.map_or(Frame::Alive, |data| Frame::Event { name, data })));
            }
            self.field(&line)?;
        }
    }

    fn field(&mut self, line: &str) -> Result<(), SseError> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.add(value)?,
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            // Comments and unknown fields are ignored.
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, value: &str) -> Result<(), SseError> {
        if let Some(data) = &mut self.data {
            data.push('\n');
            data.push_str(value);
            return if data.len() > MOST {
                Err(SseError::TooLarge)
            } else {
                Ok(())
            };
        }
        self.data = Some(value.to_owned());
        Ok(())
    }

    /// A line without its LF or CRLF; `None` at the end of the stream.
    fn line(&mut self) -> Result<Option<String>, SseError> {
        let mut line = Vec::new();
        let most = u64::try_from(MOST).unwrap_or(u64::MAX);
        self.lines.by_ref().take(most).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return if line.len() + 1 < MOST {
                Ok(None)
            } else {
                Err(SseError::TooLarge)
            };
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = String::from_utf8(line).map_err(|_| SseError::NotText)?;
        // A byte order mark may precede the first line.
        let first = std::mem::replace(&mut self.first, false);
        Ok(Some(
            text.strip_prefix('\u{feff}')
                .filter(|_| first)
                .unwrap_or(&text)
                .to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<Frame> {
        let mut parser = Parser::new(text.as_bytes());
        std::iter::from_fn(|| parser.next_frame().unwrap()).collect()
    }

    fn event(name: &str, data: &str) -> Frame {
        let (name, data) = (name.to_owned(), data.to_owned());
        Frame::Event { name, data }
    }

    #[test]
    fn events_comments_ids_and_pauses_are_parsed() {
        let text = "\u{feff}retry: 1000\n\nevent: start\nid: 1-2-3\ndata: {}\n\n: heartbeat\nid: 1-2-4\n\n\
                    data:a\r\ndata: b\r\nunknown: x\r\ndata\r\n\r\nid: 1-2-9\ndata: cut";
        let mut parser = Parser::new(text.as_bytes());
        assert_eq!(parser.next_frame().unwrap(), Some(Frame::Alive));
        assert_eq!((parser.retry(), parser.last_id()), (Some(Duration::from_secs(1)), None));
        assert_eq!(parser.next_frame().unwrap(), Some(event("start", "{}")));
        assert_eq!(parser.last_id(), Some("1-2-3"));
        assert_eq!(parser.next_frame().unwrap(), Some(Frame::Alive));
        assert_eq!(parser.last_id(), Some("1-2-4"));
        assert_eq!(parser.next_frame().unwrap(), Some(event("", "a\nb\n")));
        assert_eq!(parser.next_frame().unwrap(), None);
    }

    #[test]
    fn a_truncated_event_is_dropped_with_its_id() {
        let mut parser = Parser::new("id: 1\ndata: x\n\nid: 2\ndata: y\n".as_bytes());
        assert_eq!(parser.next_frame().unwrap(), Some(event("", "x")));
        assert_eq!(parser.next_frame().unwrap(), None);
        assert_eq!(parser.last_id(), Some("1"));
    }

    #[test]
    fn a_name_applies_to_one_event_only() {
        assert_eq!(frames("event: a\n\ndata: b\n\n"), [Frame::Alive, event("", "b")]);
    }

    #[test]
    fn lines_and_events_beyond_the_limit_are_errors() {
        let line = "x".repeat(MOST);
        assert!(matches!(
            Parser::new(line.as_bytes()).next_frame(),
            Err(SseError::TooLarge)
        ));
        let many = format!("data: {}\n", "x".repeat(1000)).repeat(8 * 1100);
        assert!(matches!(
            Parser::new(many.as_bytes()).next_frame(),
            Err(SseError::TooLarge)
        ));
        assert!(matches!(
            Parser::new(&b"\xff\n"[..]).next_frame(),
            Err(SseError::NotText)
        ));
    }

    #[test]
    fn a_written_event_is_parsed_back() {
        let position = "1-2.1:3".parse().unwrap();
        let written = [
            super::super::retry(1000),
            super::super::event(Some("reset"), Some(&position), &["a\nb"]),
            super::super::heartbeat(Some(&position)),
        ]
        .concat();
        assert_eq!(
            frames(&String::from_utf8(written).unwrap()),
            [Frame::Alive, event("reset", r#"["a\nb"]"#), Frame::Alive]
        );
    }
}
