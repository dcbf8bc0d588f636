//! The names of the queues. Their arguments, which can never change, are in the adapter that declares them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use super::Queue;
use crate::domain::KindName;

/// The queues of a deployment: one for the demands of each kind, one for dead letters, and further ones for dead letters
/// that policies name. A prefix separates deployments. Clones share the names that policies give.
#[derive(Clone, Debug)]
pub struct QueueNames {
    prefix: String,
    /// Kinds whose queue has a name by the configuration.
    configured: HashMap<KindName, String>,
    by_policy: Arc<RwLock<ByPolicy>>,
}

/// The names that policies give and that are free.
#[derive(Debug, Default)]
struct ByPolicy {
    demands: HashMap<KindName, String>,
    /// Kinds may share such a queue.
    dead_letters: BTreeMap<KindName, String>,
}

/// The names that the policy of a kind gives to its queues; `None` for the usual ones.
#[derive(Clone, Copy, Debug)]
pub struct NamesOfKind<'a> {
    /// The kind.
    pub kind: &'a KindName,
    /// The queue of its demands.
    pub demands: Option<&'a str>,
    /// The queue of its dead letters.
    pub dead_letters: Option<&'a str>,
}

impl QueueNames {
    /// The default prefix.
    pub const DEFAULT_PREFIX: &str = "pp.work";

    /// The most queues of dead letters that policies name. Whoever stores dead letters has a connection for each.
    pub const MOST_DEAD_LETTER_QUEUES: usize = 100;

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

    /// Gives queues the names that the policies of all kinds say, in place of those that policies gave before. Answers a
    /// sentence for each name that is refused; the queue has its usual name then.
    ///
    /// A queue of demands belongs to one kind, the one that had it first. A queue of dead letters may belong to several
    /// kinds, but is never one that any policy names for demands, because whoever stores dead letters would take those.
    pub(super) fn follow(&self, kinds: &[NamesOfKind<'_>]) -> Vec<String> {
        let mut by_policy = self.by_policy.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *by_policy);
        let mut refused = Vec::new();
        let (kept, new): (Vec<_>, Vec<_>) = (kinds.iter())
            .filter_map(|names| Some((names.kind, names.demands?)))
            .partition(|(kind, name)| before.demands.get(kind).is_some_and(|had| had == name));
        for (kind, name) in kept.into_iter().chain(new) {
            let of_another = |(other, taken): (&KindName, &String)| other != kind && taken == name;
            let is_taken = self.configured.iter().any(of_another) || by_policy.demands.iter().any(of_another);
            if is_taken || self.is_usual(name) {
                refused.push(format!(
                    "kind {kind}: the queue {name} belongs to another kind, or to PP"
                ));
            } else {
                by_policy.demands.insert(kind.clone(), name.to_owned());
            }
        }
        let demands: HashSet<&str> = (kinds.iter().filter_map(|names| names.demands))
            .chain(self.configured.values().map(String::as_str))
            .collect();
        let mut queues = HashSet::new();
        for names in kinds {
            let (kind, Some(name)) = (names.kind, names.dead_letters) else {
                continue;
            };
            if demands.contains(name) || self.is_usual(name) {
                refused.push(format!("kind {kind}: the queue {name} is not for dead letters"));
            } else if queues.len() == Self::MOST_DEAD_LETTER_QUEUES && !queues.contains(name) {
                refused.push(format!(
                    "kind {kind}: there are {} queues of dead letters already",
                    Self::MOST_DEAD_LETTER_QUEUES
                ));
            } else {
                queues.insert(name);
                by_policy.dead_letters.insert(kind.clone(), name.to_owned());
            }
        }
        refused
    }

    /// True for names that PP may give to a queue by itself.
    fn is_usual(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.prefix);
        rest.is_some_and(|rest| rest.starts_with('.'))
    }

    /// The queue of a kind's dead letters.
    pub(super) fn of_dead_letters(&self, kind: &KindName) -> Queue {
        let by_policy = self.by_policy.read().unwrap_or_else(PoisonError::into_inner);
        let named = by_policy.dead_letters.get(kind).cloned();
        named.map_or(Queue::DeadLetter, Queue::NamedDeadLetter)
    }

    /// All queues of dead letters, each with a kind that uses it: of several the first by name, and of the common queue
    /// the built-in one.
    pub(super) fn dead_letter_queues(&self) -> Vec<(Queue, KindName)> {
        let by_policy = self.by_policy.read().unwrap_or_else(PoisonError::into_inner);
        let mut first_kinds: BTreeMap<&str, &KindName> = BTreeMap::new();
        for (kind, name) in &by_policy.dead_letters {
            first_kinds.entry(name).or_insert(kind);
        }
        let named = first_kinds.into_iter();
        let named = named.map(|(name, kind)| (Queue::NamedDeadLetter(name.to_owned()), kind.clone()));
        std::iter::once((Queue::DeadLetter, KindName::default()))
            .chain(named)
            .collect()
    }

    /// The name of a queue: `<prefix>.demand` for sums, `<prefix>.<kind>.demand` for other kinds, `<prefix>.deadletter`
    /// for dead letters; or the name that a user has given it.
    pub fn get(&self, queue: &Queue) -> String {
        let prefix = &self.prefix;
        match queue {
            Queue::DeadLetter => format!("{prefix}.deadletter"),
            Queue::NamedDeadLetter(name) => name.clone(),
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
            Queue::NamedDeadLetter(_) => false,
            Queue::Demand(kind) => self.given(kind).is_none(),
        }
    }

    /// The name that a user has given to the queue of a kind.
    fn given(&self, kind: &KindName) -> Option<String> {
        let by_policy = || {
            let names = self.by_policy.read().unwrap_or_else(PoisonError::into_inner);
            names.demands.get(kind).cloned()
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
        let names = QueueNames::new("pp.work").with_demand(KindName::default(), "pp_work_queue".to_owned());
        let shared = names.clone();
        let (mail, sms) = (kind("mail"), kind("a.sms"));
        let demands = |kind, name| NamesOfKind {
            kind,
            demands: Some(name),
            dead_letters: None,
        };
        let mails = demands(&mail, "user.welcome.email");
        assert_eq!(names.follow(&[mails]), [""; 0]);
        assert_eq!(shared.get(&Queue::Demand(mail.clone())), "user.welcome.email");
        for taken in [
            "user.welcome.email",
            "pp_work_queue",
            "pp.work.deadletter",
            "pp.work.mail.demand",
        ] {
            // A kind that comes before the other one by its name does not take its queue.
            let refused = names.follow(&[demands(&sms, taken), mails]);
            assert!(
                refused.len() == 1 && refused[0].starts_with("kind a.sms: "),
                "{refused:?}"
            );
            assert_eq!(shared.get(&Queue::Demand(sms.clone())), "pp.work.a.sms.demand");
            assert_eq!(shared.get(&Queue::Demand(mail.clone())), "user.welcome.email");
        }
        assert_eq!(names.follow(&[]), [""; 0]);
        assert_eq!(shared.get(&Queue::Demand(mail)), "pp.work.mail.demand");
        assert_eq!(names.get(&Queue::sums()), "pp_work_queue");
    }

    #[test]
    fn kinds_may_share_a_queue_of_dead_letters_but_not_with_demands() {
        let names = QueueNames::new("pp.work").with_demand(KindName::default(), "pp_work_queue".to_owned());
        let (mail, sms, report) = (kind("mail"), kind("sms"), kind("report"));
        let given = |kind, demands, dead_letters| NamesOfKind {
            kind,
            demands,
            dead_letters,
        };
        let letters = |kind| given(kind, None, Some("user.deadletter"));
        assert_eq!(names.dead_letter_queues(), [(Queue::DeadLetter, KindName::default())]);
        assert_eq!(names.follow(&[letters(&mail), letters(&sms)]), [""; 0]);
        let named = Queue::NamedDeadLetter("user.deadletter".to_owned());
        assert_eq!(names.of_dead_letters(&sms), named);
        assert_eq!(names.of_dead_letters(&report), Queue::DeadLetter);
        assert_eq!(
            (names.get(&named), names.is_own(&named)),
            ("user.deadletter".to_owned(), false)
        );
        let queues = [(Queue::DeadLetter, KindName::default()), (named, mail.clone())];
        assert_eq!(names.dead_letter_queues(), queues);

        // The demands of a report would be taken for dead letters, also where they cannot have the queue either.
        for taken in [
            "user.deadletter",
            "pp_work_queue",
            "pp.work.deadletter",
            "pp.work.sms.demand",
        ] {
            let refused = names.follow(&[
                given(&mail, None, Some(taken)),
                given(&report, Some("user.deadletter"), None),
            ]);
            assert!(
                refused.iter().any(|why| why.starts_with("kind mail: ")),
                "{taken}: {refused:?}"
            );
            assert_eq!(names.of_dead_letters(&mail), Queue::DeadLetter);
            assert_eq!(names.get(&Queue::Demand(report.clone())), "user.deadletter");
        }
    }

    #[test]
    fn the_queues_of_dead_letters_are_bounded() {
        let names = QueueNames::new("pp.work");
        let most = QueueNames::MOST_DEAD_LETTER_QUEUES;
        let kinds: Vec<KindName> = (0..=most).map(|number| kind(&format!("kind{number:03}"))).collect();
        let queues: Vec<String> = kinds.iter().map(|kind| format!("{kind}.deadletter")).collect();
        let given = |number: usize, queue: usize| NamesOfKind {
            kind: &kinds[number],
            demands: None,
            dead_letters: Some(&queues[queue]),
        };
        let all: Vec<NamesOfKind<'_>> = (0..=most).map(|number| given(number, number)).collect();
        let refused = names.follow(&all);
        assert!(refused.len() == 1 && refused[0].contains("100"), "{refused:?}");
        assert_eq!(names.dead_letter_queues().len(), most + 1);
        let shared: Vec<NamesOfKind<'_>> = (0..=most).map(|number| given(number, number % most)).collect();
        assert_eq!(names.follow(&shared), [""; 0]);
    }

    fn kind(name: &str) -> KindName {
        name.parse().unwrap()
    }
}
