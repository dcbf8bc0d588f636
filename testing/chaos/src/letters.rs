//! Whether there is one dead letter for whatever failed, and none for anything else.

use std::collections::HashMap;

use super::check::Findings;
use super::evidence::{Evidence, Letter, Row};
use super::told::Told;

/// The dead letters, by what they are about.
pub(super) struct Letters<'a> {
    works: HashMap<i64, Vec<&'a Letter>>,
    messages: HashMap<&'a str, usize>,
}

impl<'a> Letters<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        let (mut works, mut messages): (HashMap<i64, Vec<&Letter>>, HashMap<&str, usize>) = Default::default();
        for letter in &evidence.letters {
            match letter.work_id {
                Some(id) => works.entry(id).or_default().push(letter),
                None => {
                    *messages
                        .entry(letter.message_id.as_deref().unwrap_or_default())
                        .or_default() += 1
                }
            }
        }
        Self { works, messages }
    }

    /// One that failed has one, for its last generation, until it is deleted or starts over; the others have none.
    pub(super) fn of_work(&self, row: &Row, findings: &mut Findings) {
        let letters = self.works.get(&row.id).map_or(&[][..], Vec::as_slice);
        let expected = usize::from(row.ask.fails() && !row.deleted && row.status != "cancelled");
        if letters.len() < expected {
            findings
                .lost
                .push(format!("work {} failed and has no dead letter", row.id));
        } else if letters.len() > expected {
            findings
                .duplicated
                .push(format!("work {} has {} dead letters", row.id, letters.len()));
        }
        for letter in letters.iter().filter(|letter| letter.kind != row.ask.kind()) {
            let line = format!("work {} ({:?}) has a dead letter of {}", row.id, row.ask, letter.kind);
            findings.duplicated.push(line);
        }
        let others = letters
            .iter()
            .filter_map(|letter| letter.generation)
            .filter(|generation| *generation != row.generation);
        for generation in others {
            findings
                .duplicated
                .push(format!("work {} has a dead letter of generation {generation}", row.id));
        }
    }

    /// Each unreadable message has one, and nothing else has.
    pub(super) fn of_messages(&self, told: &Told, findings: &mut Findings) {
        for id in &told.unreadable {
            match self.messages.get(id.as_str()) {
                Some(1) => {}
                None => findings
                    .lost
                    .push(format!("unreadable message {id} has no dead letter")),
                Some(more) => findings
                    .duplicated
                    .push(format!("unreadable message {id} has {more} dead letters")),
            }
        }
    }
}
