//! What stands in the database: the other side of the account, in the form that [`super::check`] compares. How it is
//! read is a matter of the system: with SQL in [`super::tables`], over the API in [`super::embedded`].

use super::asks::Ask;
use super::calls::Call;

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
    /// What it asks for.
    pub ask: Ask,
    /// Its status, as the API says it.
    pub status: String,
    /// Its result, of a work that is done.
    pub result: Option<i64>,
    /// Which value of the work this is.
    pub generation: i32,
    /// When it last changed, in seconds since 1970.
    pub updated_on: f64,
    /// Its events, oldest first: the generation, the second word of the variable (`start` of `compute/start`), and of
    /// a result or other arguments the value, as in `result=10` and `updated=4`.
    pub history: Vec<(i32, String)>,
}

impl Row {
    /// Whether it was created as a row, over the API or by an application, and not by a worker.
    pub fn is_created(&self) -> bool {
        !self.work_code.starts_with("consumer-")
    }

    /// The arguments that it was given after the first, in order.
    pub fn updates(&self) -> Vec<Ask> {
        self.history.iter().filter_map(|(_, word)| self.given(word)).collect()
    }

    /// What the work asks for since this word, as in `updated=4`.
    pub(super) fn given(&self, word: &str) -> Option<Ask> {
        Ask::of(self.ask.kind(), word.strip_prefix("updated=")?)
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

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The kind that it is of.
    pub kind: String,
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
    /// The calls of handlers, since the beginning.
    pub calls: Vec<Call>,
    /// Whether deleted works are among the rows.
    pub shows_deleted: bool,
    /// Events that belong to no work.
    pub orphans: i64,
    /// How often works were redriven, all of them together, also those that are not among the rows.
    pub begun_again: Option<i64>,
}
