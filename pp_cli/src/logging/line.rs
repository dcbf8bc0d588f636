//! Formats a log line for people or for machines.
//!
//! Every record becomes exactly one line of at most [`pp_lib::runtime::LONGEST_TEXT`]. Formatting never panics.

use std::fmt::{Display, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use env_logger::fmt::style::Style;
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use pp_lib::runtime::log_text;
use serde_json::{Map, json};

use crate::config::LogFormat;

pub(super) struct Line<'a> {
    time: String,
    level: Level,
    target: &'a str,
    message: String,
    fields: Map<String, serde_json::Value>,
}

impl<'a> Line<'a> {
    /// A line with the current time.
    pub(super) fn new(level: Level, target: &'a str, message: impl Display) -> Self {
        Self {
            time: time(SystemTime::now()),
            level,
            target,
            message: log_text(message),
            fields: Map::new(),
        }
    }

    pub(super) fn of(record: &Record<'a>) -> Self {
        let mut fields = Fields(Map::new());
        let _ = record.key_values().visit(&mut fields);
        Self {
            fields: fields.0,
            ..Self::new(record.level(), record.target(), record.args())
        }
    }

    /// The formatted line with its line break. The style marks the level.
    pub(super) fn render(self, format: LogFormat, style: Style) -> String {
        match format {
            LogFormat::Text => self.for_people(style),
            LogFormat::Json => self.for_machines(),
        }
    }

    fn for_people(self, style: Style) -> String {
        let Self {
            time,
            level,
            message,
            fields,
            ..
        } = self;
        let mut line = format!("[{time} {style}{level:<5}{style:#}] ");
        // A message of several lines would look like several records.
        for character in message.chars() {
            match character {
                '\t' => line.push('\t'),
                control if control.is_control() => line.extend(control.escape_default()),
                other => line.push(other),
            }
        }
        for (name, value) in fields {
            let _ = write!(line, " {name}={value}");
        }
        line.push('\n');
        line
    }

    fn for_machines(self) -> String {
        let mut fields = self.fields;
        fields.insert("time".into(), json!(self.time));
        fields.insert("level".into(), json!(self.level.as_str()));
        fields.insert("target".into(), json!(self.target));
        fields.insert("message".into(), json!(self.message));
        format!("{}\n", serde_json::Value::Object(fields))
    }
}

/// Formats a time as RFC 3339. A machine's clock may show a time outside the calendar.
fn time(now: SystemTime) -> String {
    let ms = match now.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).ok(),
        Err(before) => i64::try_from(before.duration().as_millis()).ok().map(|ms| -ms),
    };
    match ms.and_then(DateTime::from_timestamp_millis) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => "unknown time".to_owned(),
    }
}

struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = match (value.to_i64(), value.to_bool()) {
            (Some(number), _) => json!(number),
            (None, Some(truth)) => json!(truth),
            (None, None) => json!(log_text(value)),
        };
        self.0.insert(key.as_str().to_owned(), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::fmt;

    use pp_lib::runtime::LONGEST_TEXT;

    use super::*;

    fn rendered(format: LogFormat, message: impl Display) -> String {
        Line::new(Level::Warn, "here", message).render(format, Style::new())
    }

    fn message(value: impl Display) -> String {
        let line: serde_json::Value = serde_json::from_str(&rendered(LogFormat::Json, value)).unwrap();
        line["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn every_clock_value_has_a_text() {
        let at = |seconds: u64| time(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_700_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(at(253_402_300_799), "9999-12-31T23:59:59.000Z");
        assert_eq!(at(253_402_300_800), "+10000-01-01T00:00:00.000Z");
        assert_eq!(at(i64::MAX as u64 / 10), "unknown time");
        assert_eq!(time(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_value_that_fails_to_format_still_becomes_a_line() {
        struct Refuses;
        impl Display for Refuses {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half ")?;
                Err(fmt::Error)
            }
        }
        struct Panics;
        impl Display for Panics {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("no such instant")
            }
        }
        assert_eq!(message(Refuses), "half (not printable)");
        assert_eq!(message(Panics), "(not printable)");
        assert_eq!(
            message(DateTime::<chrono::Utc>::MAX_UTC),
            "+262142-12-31 23:59:59.999999999 UTC"
        );
    }

    #[test]
    fn a_message_is_one_line_of_limited_length() {
        let line = rendered(LogFormat::Text, "a\nb\u{1b}[31m");
        assert!(line.ends_with("Z WARN ] a\\nb\\u{1b}[31m\n"), "{line:?}");
        let long = message("é".repeat(LONGEST_TEXT));
        assert!(
            long.len() <= LONGEST_TEXT + '…'.len_utf8() + 1 && long.ends_with("é…"),
            "{}",
            long.len()
        );
        assert_eq!(message("e".repeat(LONGEST_TEXT)), "e".repeat(LONGEST_TEXT));
    }
}
