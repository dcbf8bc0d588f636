//! Turns logged values into text of limited length without panics. The programs format the lines.

use std::fmt::{self, Display, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The maximum length of a message, and of a field's value, in bytes.
pub const LONGEST_TEXT: usize = 8 * 1024;

/// The text of a value, cut at [`LONGEST_TEXT`]. Its `Display` may be endless, fail or panic.
pub fn log_text(value: impl Display) -> String {
    let mut text = Short(String::new());
    let said = catch_unwind(AssertUnwindSafe(|| write!(text, "{value}")));
    let Short(mut text) = text;
    match said {
        Ok(Ok(())) => {}
        _ if text.len() >= LONGEST_TEXT => text.push('…'),
        _ => text.push_str("(not printable)"),
    }
    text
}

/// A text of at most [`LONGEST_TEXT`].
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = LONGEST_TEXT - self.0.len().min(LONGEST_TEXT);
        if part.len() <= room {
            self.0.push_str(part);
            return Ok(());
        }
        self.0.push_str(&part[..part.ceil_char_boundary(room)]);
        Err(fmt::Error)
    }
}
