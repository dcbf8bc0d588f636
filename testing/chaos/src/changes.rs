//! Whether works are what their owners changed them to: each acknowledged change once and in order, the cancelled
//! cancelled, the deleted gone.

use super::asks::Ask;
use super::check::Findings;
use super::evidence::Row;
use super::told::{Change, Changes};

/// Looks at one work, and what its owner was told of it, if it was changed.
pub(super) fn examine(row: &Row, changes: Option<&Changes>, findings: &mut Findings) {
    let nothing = Changes::default();
    let changes = changes.unwrap_or(&nothing);
    let updates = row.updates();
    if !is_right(&updates, changes) {
        let line = format!("work {} was given {updates:?}, as for {changes:?}", row.id);
        let most = changes.given.len() + usize::from(matches!(changes.open, Some(Change::To(_))));
        if updates.len() > most {
            findings.duplicated.push(line);
        } else {
            findings.lost.push(line);
        }
    }
    if let Some(last) = updates.last().filter(|last| **last != row.ask) {
        let line = format!("work {} was last given {last:?} and has {:?}", row.id, row.ask);
        findings.lost.push(line);
    }
    let (told, most) = (
        row.cancels(),
        changes.cancels + usize::from(changes.open == Some(Change::Cancel)),
    );
    if told < changes.cancels {
        let line = format!("work {} tells of {told} cancellations, as for {changes:?}", row.id);
        findings.lost.push(line);
    } else if told > most {
        let line = format!("work {} was cancelled {told} times, as for {changes:?}", row.id);
        findings.duplicated.push(line);
    }
    if changes.deleted && !row.deleted {
        findings.lost.push(format!("work {} was deleted and is there", row.id));
    }
    if row.deleted && !changes.may_be_gone() {
        let line = format!("work {} is deleted, which nobody asked for", row.id);
        findings.lost.push(line);
    }
}

/// What was acknowledged and then, perhaps, what was not answered.
fn is_right(updates: &[Ask], changes: &Changes) -> bool {
    match (updates.strip_prefix(&changes.given[..]), changes.open) {
        (Some([]), _) => true,
        (Some([more]), Some(Change::To(open))) => *more == open,
        _ => false,
    }
}
