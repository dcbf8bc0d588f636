//! The names of the queues. Their arguments, which can never change, are in the adapter that declares them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Queue;
use crate::domain::KindName;

/// The queues of a deployment: one for the demands of each kind, and one for dead letters. A prefix separates
/// deployments. Clones share the names that policies give.
#[derive(Clone, Debug)]
pub struct QueueNames {
    prefix: String,
    /// Kinds whose queue has a name by the configuration.
    configured: HashMap<KindName, String>,
    /// Kinds whose queue has a name by their policy.
    by_policy: Arc<RwLock<HashMap<KindName, String>>>,
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
            configured: HashMap::new(),
            by_policy: Arc::default(),
        }
    }

    /// A text that can be the name of a user's queue.
    ///
    /// # Errors
    /// It cannot; a sentence for the user.
    pub fn checked(text: &str) -> std::result::Result<&str, String> {
        let long = Self::MAX_LENGTH;
        if (1..=long).contains(&text.len()) && !text.starts_with("amq.") && !text.chars().any(char::is_control) {
            Ok(text)
        } else {
            Err(format!(
                "expected a name of 1 to {long} bytes, not beginning with `amq.`"
            ))
        }
    }

    /// The same names, with another one for the queue of a kind.
    #[must_use]
    pub fn with_demand(mut self, kind: KindName, name: String) -> Self {
        self.configured.insert(kind, name);
        self
    }

    /// Gives the queue of a kind the name that its policy says, or takes such a name back.
    ///
    /// # Errors
    /// The name belongs to another queue of PP.
    #[cfg(feature = "rabbitmq")]
    pub(super) fn name(&self, kind: &KindName, name: Option<&str>) -> super::Result<()> {
        let mut by_policy = self.by_policy.write().unwrap_or_else(PoisonError::into_inner);
        let Some(name) = name else {
            by_policy.remove(kind);
            return Ok(());
        };
        let of_another = |(other, taken): (&KindName, &String)| other != kind && taken == name;
        let prefix = format!("{}.", self.prefix);
        if name.starts_with(&prefix) || self.configured.iter().any(of_another) || by_policy.iter().any(of_another) {
            return Err(super::BrokerError::Rejected(format!(
                "the queue {name} belongs to another kind, or to PP"
            )));
        }
        by_policy.insert(kind.clone(), name.to_owned());
        Ok(())
    }

    /// The name of a queue: `<prefix>.demand` for sums, `<prefix>.<kind>.demand` for other kinds, `<prefix>.deadletter`
    /// for dead letters.
    pub fn get(&self, queue: &Queue) -> String {
        let prefix = &self.prefix;
        match queue {
            Queue::DeadLetter => format!("{prefix}.deadletter"),
            Queue::Demand(kind) => match self.given(kind) {
                Some(name) => name,
                None if kind.is_add_up_to() => format!("{prefix}.demand"),
                None => format!("{prefix}.{kind}.demand"),
            },
        }
    }

    /// True if PP names this queue; false if a user has named it.
    #[cfg(feature = "rabbitmq")]
    pub(super) fn is_own(&self, queue: &Queue) -> bool {
        match queue {
            Queue::DeadLetter => true,
            Queue::Demand(kind) => self.given(kind).is_none(),
        }
    }

    /// The name that a user has given to the queue of a kind.
    fn given(&self, kind: &KindName) -> Option<String> {
        let by_policy = || {
            let names = self.by_policy.read().unwrap_or_else(PoisonError::into_inner);
            names.get(kind).cloned()
        };
        self.configured.get(kind).cloned().or_else(by_policy)
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

    #[test]
    fn a_policy_names_a_queue_that_no_other_kind_has() {
        let kind = |name: &str| name.parse::<KindName>().unwrap();
        let names = QueueNames::new("pp.work").with_demand(KindName::default(), "pp_work_queue".to_owned());
        let shared = names.clone();
        names.name(&kind("mail"), Some("user.welcome.email")).unwrap();
        assert_eq!(shared.get(&Queue::Demand(kind("mail"))), "user.welcome.email");
        names.name(&kind("mail"), Some("user.welcome.email")).unwrap();
        for taken in [
            "user.welcome.email",
            "pp_work_queue",
            "pp.work.deadletter",
            "pp.work.mail.demand",
        ] {
            assert!(names.name(&kind("sms"), Some(taken)).is_err(), "{taken}");
        }
        names.name(&kind("mail"), None).unwrap();
        assert_eq!(shared.get(&Queue::Demand(kind("mail"))), "pp.work.mail.demand");
        names.name(&KindName::default(), None).unwrap();
        assert_eq!(names.get(&Queue::sums()), "pp_work_queue");
    }
}
