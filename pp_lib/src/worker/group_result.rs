//! The result of a group: what is acknowledged, and what is a dead letter.

use crate::broker::{DeadLetter, Delivery};
use crate::domain::KindName;
use crate::log_repeated;
use crate::worker::attempt::Attempt;
use crate::worker::completion::CompletionResult;
use crate::worker::decoding;

/// The result of a group.
#[derive(Default)]
pub(super) struct GroupResult {
    /// Deliveries to acknowledge.
    pub(super) tags: Vec<u64>,
    /// Deliveries that the store refused in any form, with the reason.
    pub(super) refused: Vec<(Vec<u64>, String)>,
}

impl GroupResult {
    pub(super) fn add(&mut self, attempt: &Attempt, result: CompletionResult) {
        match result {
            // The broker redelivers it.
            CompletionResult::Abandoned => {}
            CompletionResult::Applied | CompletionResult::Started(_) | CompletionResult::Superseded => {
                self.finished(attempt);
            }
            CompletionResult::Refused(reason) => {
                log_repeated!(Error, "a demand is a dead letter", "{reason}");
                self.refused.push((attempt.tags.clone(), reason));
                self.finished(attempt);
            }
        }
    }

    pub(super) fn finished(&mut self, attempt: &Attempt) {
        self.tags.extend(&attempt.tags);
    }

    pub(super) fn dead_letters(&self, kind: &KindName, deliveries: &[Delivery]) -> Vec<DeadLetter> {
        let of_tag = |tag: &u64| deliveries.iter().find(|delivery| delivery.tag == *tag);
        let letters = self.refused.iter().flat_map(|(tags, reason)| {
            tags.iter()
                .filter_map(of_tag)
                .map(|delivery| decoding::dead_letter(kind, delivery, reason))
        });
        letters.collect()
    }
}
