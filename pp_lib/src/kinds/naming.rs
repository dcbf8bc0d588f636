//! The names that policies give to queues, next to those of other kinds. Names that PP gives by itself are the broker's
//! matter, see [`crate::broker::queues`].

use super::{KnownKind, Policy};
use crate::domain::KindName;

/// What is wrong with the names of a kind's queues: no other kind may have its queue of demands, in any use.
pub(super) fn fault(kind: &KindName, policy: &Policy, kinds: &[KnownKind]) -> Option<String> {
    let (queue, dead_letters) = (policy.queue.as_deref(), policy.dead_letter_queue.as_deref());
    if queue.is_some() && queue == dead_letters {
        return Some("dead_letter_queue must differ from queue".to_owned());
    }
    kinds.iter().filter(|other| other.name() != kind).find_map(|other| {
        let (its_queue, its_dead_letters) = (other.policy.queue.as_deref(), other.policy.dead_letter_queue.as_deref());
        let uses = [
            ("queue", queue, "queue", its_queue),
            ("queue", queue, "dead_letter_queue", its_dead_letters),
            ("dead_letter_queue", dead_letters, "queue", its_queue),
        ];
        let (setting, name, its_setting, _) = uses
            .into_iter()
            .find(|(_, name, _, its_name)| name.is_some() && name == its_name)?;
        Some(format!(
            "{setting} must not be `{}`, the {its_setting} of kind {}",
            name?,
            other.name()
        ))
    })
}
