//! Rewords and filters the log records of libraries.

use env_logger::Logger;
use log::{Level, Log, Metadata, Record};
use pp_lib::runtime::say;

/// A library whose warnings and errors concern only the client's requests or its disconnects.
const ABOUT_CLIENTS: &str = "actix_http";

const OWN_PREFIXES: [&str; 3] = ["pp_", "task_", "cli_"];

pub(super) struct Front {
    /// Applies the filters and writes.
    pub(super) logger: Logger,
    /// True if the filters name modules. Their records are then logged unchanged.
    pub(super) verbatim: bool,
}

impl Log for Front {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let is_own = OWN_PREFIXES.iter().any(|prefix| record.target().starts_with(prefix));
        if is_own || self.verbatim || record.level() > Level::Warn {
            return self.logger.log(record);
        }
        // actix logs this at a stop, for connections that it no longer accepts.
        let is_stop = record.args().to_string() == "No workers";
        if is_stop || record.target().starts_with(ABOUT_CLIENTS) {
            return self.logger.log(&record.to_builder().level(Level::Debug).build());
        }
        if self.logger.enabled(record.metadata()) {
            let kind = record.target().to_owned();
            say(record.level(), module_path!(), kind, *record.args());
        }
    }

    fn flush(&self) {}
}
