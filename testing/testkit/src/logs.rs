//! The ends of log files, for error messages.
//!
//! Showing and following whole logs is left to `tail`, see the command `logs`.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// At most this much of a file's end is looked at.
const WINDOW_BYTES: u64 = 16 * 1024;

/// The last `lines` lines of the file, or why it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    read_end(path).map_or_else(
        |error| format!("(cannot read {}: {error})", path.display()),
        |text| {
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        },
    )
}

fn read_end(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(WINDOW_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
