//! The names of the queues. Their arguments, which can never change, are in the adapter that declares them.

use std::collections::HashMap;

use super::Queue;
use crate::domain::KindName;

/// The queues of a deployment: one for the demands of each kind, and one for dead letters. A prefix separates
/// deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueNames {
    prefix: String,
    /// Kinds whose queue has a name of its own.
    demands: HashMap<KindName, String>,
}

impl QueueNames {
    /// The default prefix.
    pub const DEFAULT_PREFIX: &str = "pp.work";

    /// The longest name of a queue, in bytes.
    pub const MAX_LENGTH: usize = 255;

    /// The names with this prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            demands: HashMap::new(),
        }
    }

    /// The same names, with another one for the queue of a kind.
    #[must_use]
    pub fn with_demand(mut self, kind: KindName, name: String) -> Self {
        self.demands.insert(kind, name);
        self
    }

    /// The name of a queue: `<prefix>.demand` for sums, `<prefix>.<kind>.demand` for other kinds, `<prefix>.deadletter`
    /// for dead letters.
    pub fn get(&self, queue: &Queue) -> String {
        let prefix = &self.prefix;
        match queue {
            Queue::DeadLetter => format!("{prefix}.deadletter"),
            Queue::Demand(kind) => match self.demands.get(kind) {
                Some(name) => name.clone(),
                None if kind.is_add_up_to() => format!("{prefix}.demand"),
                None => format!("{prefix}.{kind}.demand"),
            },
        }
    }

    /// True if PP names this queue; false if a user has named it.
    pub(super) fn is_own(&self, queue: &Queue) -> bool {
        match queue {
            Queue::DeadLetter => true,
            Queue::Demand(kind) => !self.demands.contains_key(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_queue() {
        let mail: KindName = "user.welcome.email".parse().unwrap();
        let sms: KindName = "sms".parse().unwrap();
        let names = QueueNames::new("pp.work").with_demand(sms.clone(), "user.sms".to_owned());
        let queues = [
            Queue::sums(),
            Queue::Demand(mail),
            Queue::Demand(sms),
            Queue::DeadLetter,
        ];
        let named: Vec<(String, bool)> = queues
            .iter()
            .map(|queue| (names.get(queue), names.is_own(queue)))
            .collect();
        let expected = [
            ("pp.work.demand", true),
            ("pp.work.user.welcome.email.demand", true),
            ("user.sms", false),
            ("pp.work.deadletter", true),
        ];
        assert_eq!(named, expected.map(|(name, own)| (name.to_owned(), own)));
    }
}
