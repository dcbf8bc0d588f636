//! The names of the queues. Their arguments, which can never change, are in the adapter that declares them.

use super::Queue;

/// The two queues of a deployment. A prefix separates deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueNames {
    /// `<prefix>.demand`
    pub demand: String,
    /// `<prefix>.deadletter`
    pub dead_letter: String,
}

impl QueueNames {
    /// The default prefix.
    pub const DEFAULT_PREFIX: &str = "pp.work";

    /// The names with this prefix.
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
