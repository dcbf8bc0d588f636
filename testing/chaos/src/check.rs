//! The comparison: what was told against what there is. It reads nothing itself.

use std::collections::{HashMap, HashSet};

use super::asks::Ask;
use super::evidence::{Evidence, Row};
use super::letters::Letters;
use super::told::{Acknowledged, Changes, Identity, Told};
use super::{calls, changes, history};

/// What is wrong, a line for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged and not there, not finished, or finished wrongly.
    pub lost: Vec<String>,
    /// There or told of more often than it was asked for.
    pub duplicated: Vec<String>,
}

impl Findings {
    /// Takes over what another check found.
    pub fn extend(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.duplicated.extend(other.duplicated);
    }

    /// All of them, with the kind before each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let lost = self.lost.iter().map(|what| format!("lost: {what}"));
        lost.chain(self.duplicated.iter().map(|what| format!("duplicated: {what}")))
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty()
    }
}

/// Compares what the clients of a run were told with works above the id `above`, of which all that was told of in `told`
/// must be. `told` may also name demands below; they are not looked for.
pub fn examine(told: &Told, evidence: &Evidence) -> Findings {
    let mut findings = Findings {
        lost: told
            .given_up
            .iter()
            .map(|what| format!("never answered: {what}"))
            .collect(),
        duplicated: told.twice.clone(),
    };
    let known = acknowledged(told, evidence, &mut findings);
    strangers(told, evidence, &known, &mut findings);
    let letters = Letters::of(evidence);
    for row in &evidence.rows {
        finished(row, &mut findings);
        history::examine(row, &mut findings);
        changes::examine(row, told.changes.get(&row.id), &mut findings);
        letters.of_work(row, &mut findings);
    }
    letters.of_messages(told, &mut findings);
    calls::examine(evidence, &mut findings);
    redriven(told, evidence, &mut findings);
    if evidence.orphans > 0 {
        findings
            .duplicated
            .push(format!("{} events belong to no work", evidence.orphans));
    }
    findings
}

/// Each demand has one work, and no two have the same; the ids of those.
fn acknowledged(told: &Told, evidence: &Evidence, findings: &mut Findings) -> HashSet<i64> {
    let by_id: HashMap<i64, &Row> = evidence.rows.iter().map(|row| (row.id, row)).collect();
    let mut by_message: HashMap<(&str, &str), Vec<&Row>> = HashMap::new();
    for row in &evidence.rows {
        by_message
            .entry((row.ask.kind(), row.message_id.as_deref().unwrap_or_default()))
            .or_default()
            .push(row);
    }
    let by_code: HashMap<&str, &Row> = evidence.rows.iter().map(|row| (row.work_code.as_str(), row)).collect();
    let mut known = HashSet::new();
    for acknowledged in &told.acknowledged {
        let Acknowledged { identity, ask, .. } = acknowledged;
        let found = match identity {
            Identity::Work(id) => by_id.get(id).copied(),
            Identity::Code(code) => by_code.get(code.as_str()).copied(),
            Identity::Message(id) => {
                let rows = by_message
                    .get(&(acknowledged.kind(), id.as_str()))
                    .map_or(&[][..], Vec::as_slice);
                if rows.len() > 1 {
                    findings
                        .duplicated
                        .push(format!("message {id} has {} works", rows.len()));
                    known.extend(rows.iter().map(|row| row.id));
                }
                rows.first().copied()
            }
        };
        let Some(row) = found else {
            // Where the deleted cannot be seen.
            if matches!(identity, Identity::Work(id) if told.changes.get(id).is_some_and(Changes::may_be_gone)) {
                continue;
            }
            findings
                .lost
                .push(format!("{identity:?} was acknowledged and is not there"));
            continue;
        };
        let first = known.insert(row.id);
        if !first && !matches!(identity, Identity::Message(_)) {
            findings
                .lost
                .push(format!("work {} is what two demands were answered with", row.id));
        }
        if row.updates().is_empty() && !is_asked_for(*ask, row.ask) {
            findings
                .lost
                .push(format!("{identity:?} asked for {ask:?} and is {:?}", row.ask));
        }
    }
    known
}

/// The choice left to the API is a sum from 1 to 99.
fn is_asked_for(asked: Option<Ask>, is: Ask) -> bool {
    asked.map_or(matches!(is, Ask::Sum(1..=99)), |asked| asked == is)
}

/// Works that no answer told of: there may be one for each request that was not answered, and no more.
fn strangers(told: &Told, evidence: &Evidence, known: &HashSet<i64>, findings: &mut Findings) {
    let rolled_back: HashSet<&str> = told.rolled_back.iter().map(String::as_str).collect();
    for row in evidence
        .rows
        .iter()
        .filter(|row| rolled_back.contains(row.work_code.as_str()))
    {
        findings
            .duplicated
            .push(format!("work {} was rolled back and is there", row.id));
    }
    let mut open = told.indeterminate.clone();
    // Those that ask for something exactly go first, so that the vague ones are left for the others.
    open.sort_by_key(Option::is_none);
    for row in evidence.rows.iter().filter(|row| !known.contains(&row.id)) {
        match open.iter().position(|asked| is_asked_for(*asked, row.ask)) {
            Some(place) => drop(open.remove(place)),
            None => findings.duplicated.push(format!(
                "work {} ({:?}) is nobody's: no answer told of it",
                row.id, row.ask
            )),
        }
    }
}

/// Every work is finished, and rightly, or was cancelled before.
fn finished(row: &Row, findings: &mut Findings) {
    let result = row.ask.result();
    let status = if result.is_some() { "done" } else { "failed" };
    // Whether somebody asked for that is another question.
    if row.status == "cancelled" && row.result.is_none() {
        return;
    }
    if row.status != status || row.result != result {
        findings.lost.push(format!(
            "work {} ({:?}) is {} with {:?}, not {status} with {result:?}",
            row.id, row.ask, row.status, row.result
        ));
    }
}

/// A redrive that was answered took effect, and as often as it was answered.
fn redriven(told: &Told, evidence: &Evidence, findings: &mut Findings) {
    let redrives: HashMap<i64, usize> = evidence.rows.iter().map(|row| (row.id, row.redrives())).collect();
    let mut times: HashMap<i64, usize> = HashMap::new();
    for id in &told.redriven_works {
        *times.entry(*id).or_default() += 1;
    }
    for (id, times) in times {
        if let Some(told) = redrives.get(&id).filter(|told| **told < times) {
            let line = format!("work {id} was redriven {times} times and tells of {told}");
            findings.lost.push(line);
        }
    }
}

/// The same the other way round: no more works began again than the operator was told of, since they had begun again
/// `before` times. What was not answered may have taken effect, so then it cannot be said.
pub fn examine_redrives(told: &Told, before: i64, begun_again: i64) -> Findings {
    let mut findings = Findings::default();
    let asked = i64::try_from(told.redriven).unwrap_or(i64::MAX);
    let again = begun_again - before;
    if told.redrives_unanswered == 0 && again > asked {
        let line = format!("{again} works began again, though the operator was told of {asked}");
        findings.duplicated.push(line);
    }
    findings
}

/// Everything, when a run is over: there is no dead letter of a message that nobody sent, and no call for a work that is
/// not there.
pub fn examine_the_whole(told: &Told, evidence: &Evidence) -> Findings {
    let mut findings = examine(told, evidence);
    let sent: HashSet<&str> = told.unreadable.iter().map(String::as_str).collect();
    for letter in evidence.letters.iter().filter(|letter| letter.work_id.is_none()) {
        if letter.message_id.as_deref().is_none_or(|id| !sent.contains(id)) {
            let line = format!(
                "a dead letter is of a message that nobody sent: {:?}",
                letter.message_id
            );
            findings.duplicated.push(line);
        }
    }
    if evidence.shows_deleted {
        calls::strangers(evidence, &mut findings);
    }
    findings
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
