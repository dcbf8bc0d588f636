//! How a log line looks. Only a `main` calls [`init`]: the logger belongs to the process.

use std::io::Write as _;

use chrono::{SecondsFormat, Utc};
use env_logger::{Builder, WriteStyle};
use log::kv::{self, Key, Value, VisitSource};
use serde_json::{Map, json};

use crate::config::{LogFormat, RuntimeArgs};

/// Installs the logger, on standard error.
pub fn init(args: &RuntimeArgs) {
    let mut builder = Builder::new();
    builder.parse_filters(&args.log);
    // The drivers tell every error that they return as well; the services say it once, in their own words.
    if !args.log.contains('=') {
        for noisy in [
            "lapin",
            "tokio_postgres",
            "r2d2",
            "actix_server",
            "async_rs",
            "tracing::span",
        ] {
            builder.filter_module(noisy, log::LevelFilter::Off);
        }
    }
    match args.log_format {
        LogFormat::Text => builder.format_target(false).format_timestamp_millis(),
        LogFormat::Json => builder.write_style(WriteStyle::Never).format(|line, record| {
            let mut fields = Fields(Map::new());
            let _ = record.key_values().visit(&mut fields);
            fields.0.insert(
                "time".into(),
                json!(Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)),
            );
            fields.0.insert("level".into(), json!(record.level().as_str()));
            fields.0.insert("target".into(), json!(record.target()));
            fields.0.insert("message".into(), json!(record.args().to_string()));
            writeln!(line, "{}", serde_json::Value::Object(fields.0))
        }),
    };
    builder.init();
}

/// Collects the fields of a record.
struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = match (value.to_i64(), value.to_bool()) {
            (Some(number), _) => json!(number),
            (None, Some(truth)) => json!(truth),
            (None, None) => json!(value.to_string()),
        };
        self.0.insert(key.as_str().to_owned(), value);
        Ok(())
    }
}
