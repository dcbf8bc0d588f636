//! How fast the serving layer answers, and what it costs while nothing happens: each section starts what it needs on
//! private servers, measures for some seconds, and says in rows what came of it.
//!
//! Figures are printed, never judged; what is judged is that answers are right.

mod bench;
mod cached;
mod clients;
mod figures;
mod http;
mod idle;
mod live;
mod load;
mod poke;
mod redis_out;
mod spike;
mod usage;
mod watcher;

pub use bench::Bench;
pub use figures::Samples;

use anyhow::Result;

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: &'static str,
    /// Under which condition.
    pub case: String,
    /// What came of it.
    pub figures: String,
    /// How it was measured.
    pub how: String,
}

impl Row {
    fn new(what: &'static str, case: impl Into<String>, figures: String, how: impl Into<String>) -> Self {
        Self {
            what,
            case: case.into(),
            figures,
            how: how.into(),
        }
    }
}

/// What a section found.
#[derive(Debug, Default)]
pub struct Findings {
    /// The figures.
    pub rows: Vec<Row>,
    /// Answers that should not have been given.
    pub wrong: Option<String>,
}

impl From<Vec<Row>> for Findings {
    fn from(rows: Vec<Row>) -> Self {
        Self { rows, wrong: None }
    }
}

/// A section: its name, and what it does.
pub type Section = (&'static str, fn(&Bench) -> Result<Findings>);

/// All sections, in the order of the table.
pub const SECTIONS: [Section; 7] = [
    ("cache", cached::measure),
    ("spike", spike::measure),
    ("redis-out", redis_out::measure),
    ("live", live::measure),
    ("poke", poke::measure),
    ("idle", idle::measure),
    ("clients", clients::measure),
];
