//! What becomes of the records of libraries before they are lines: they are neither ours to word nor ours to leave out.

use env_logger::Logger;
use log::{Level, Log, Metadata, Record};
use pp_lib::runtime::say;

/// Libraries whose warnings and errors are about what a client sent, or that it went away.
const ABOUT_CLIENTS: &str = "actix_http";

/// How the names of our own crates begin.
const OURS: [&str; 3] = ["pp_", "task_", "cli_"];

/// The logger of the process.
pub(super) struct Front {
    /// Decides by the filters, and writes.
    pub(super) logger: Logger,
    /// Whether somebody asked for lines of certain modules: then they are as those modules write them.
    pub(super) verbatim: bool,
}

impl Log for Front {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let is_ours = OURS.iter().any(|ours| record.target().starts_with(ours));
        if is_ours || self.verbatim || record.level() > Level::Warn {
            return self.logger.log(record);
        }
        // Said at a stop, of connections that are no longer accepted.
        let is_stop = record.args().as_str() == Some("No workers");
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
