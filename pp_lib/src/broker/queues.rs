//! The names of the queues. Their arguments, which can never be changed, are in the adapter that declares them.

use super::Queue;

/// The two queues of one deployment, told apart from others by a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueNames {
    /// `<prefix>.demand`
    pub demand: String,
    /// `<prefix>.deadletter`
    pub dead_letter: String,
}

impl QueueNames {
    /// The prefix used when none is given.
    pub const DEFAULT_PREFIX: &str = "pp.work";

    /// The names that begin with a prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            demand: format!("{prefix}.demand"),
            dead_letter: format!("{prefix}.deadletter"),
        }
    }

    /// The name of a queue.
    pub fn get(&self, queue: Queue) -> &str {
        match queue {
            Queue::Demand => &self.demand,
            Queue::DeadLetter => &self.dead_letter,
        }
    }
}
