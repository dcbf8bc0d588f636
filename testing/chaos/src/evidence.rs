//! What stands in the database: the other side of the account, in the form that [`super::check`] compares. How it is
//! read is a matter of the system: with SQL in [`super::tables`], over the API in [`super::embedded`].

/// One work, with its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: i64,
    /// Its code.
    pub work_code: String,
    /// Whether it was deleted: nobody is shown it any more.
    pub deleted: bool,
    /// The identity of its demand, where that can be seen.
    pub message_id: Option<String>,
    /// Its bound.
    pub bound: i64,
    /// Its status, as the API says it.
    pub status: String,
    /// Its result, of a work that is done.
    pub result: Option<i64>,
    /// Which value of the work this is.
    pub generation: i32,
    /// When it last changed, in seconds since 1970.
    pub updated_on: f64,
    /// Its events, oldest first: the generation, the second word of the variable (`start` of `compute/start`), and of
    /// a result or another bound its value, as in `result=10` and `updated=4`.
    pub history: Vec<(i32, String)>,
}

impl Row {
    /// Whether it was created over the API, and not by a worker.
    pub fn from_api(&self) -> bool {
        self.work_code.starts_with("api-")
    }

    /// The bounds that it was given after the first, in order.
    pub fn updates(&self) -> Vec<i64> {
        let bounds = self.history.iter().filter_map(|(_, word)| bound_of(word));
        bounds.collect()
    }

    /// How often it was cancelled; a deletion is told in the same word, as the last of all.
    pub fn cancels(&self) -> usize {
        let words = self.history.iter().filter(|(_, word)| word == "cancelled").count();
        words.saturating_sub(usize::from(self.deleted))
    }

    /// How often it started over.
    pub fn redrives(&self) -> usize {
        self.history.iter().filter(|(_, word)| word == "redriven").count()
    }
}

/// The bound in `updated=4`.
pub(super) fn bound_of(word: &str) -> Option<i64> {
    word.strip_prefix("updated=")?.parse().ok()
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The work that it is about, if it is about one.
    pub work_id: Option<i64>,
    /// The work's generation that failed, where that can be seen.
    pub generation: Option<i32>,
    /// The message that it is about.
    pub message_id: Option<String>,
}

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Works: all, or those above an id.
    pub rows: Vec<Row>,
    /// All dead letters.
    pub letters: Vec<Letter>,
    /// Events that belong to no work.
    pub orphans: i64,
    /// How often works were redriven, all of them together, also those that are not among the rows.
    pub begun_again: Option<i64>,
}
