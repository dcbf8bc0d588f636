//! The comparison: what was told against what there is. It reads nothing itself.

use std::collections::{HashMap, HashSet};

use super::evidence::{Evidence, Row};
use super::letters::Letters;
use super::told::{Acknowledged, Changes, FAILS, Identity, Told};
use super::{changes, history};

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
    let mut by_message: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in &evidence.rows {
        by_message
            .entry(row.message_id.as_deref().unwrap_or_default())
            .or_default()
            .push(row);
    }
    let by_code: HashMap<&str, &Row> = evidence.rows.iter().map(|row| (row.work_code.as_str(), row)).collect();
    let mut known = HashSet::new();
    for Acknowledged { identity, bound, .. } in &told.acknowledged {
        let found = match identity {
            Identity::Work(id) => by_id.get(id).copied(),
            Identity::Code(code) => by_code.get(code.as_str()).copied(),
            Identity::Message(id) => {
                let rows = by_message.get(id.as_str()).map_or(&[][..], Vec::as_slice);
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
        if row.updates().is_empty() && !asks_for(*bound, row.bound) {
            findings
                .lost
                .push(format!("{identity:?} asked for {bound:?} and is {}", row.bound));
        }
    }
    known
}

/// The choice left to the API is from 1 to 99.
fn asks_for(asked: Option<i64>, is: i64) -> bool {
    asked.map_or((1..=99).contains(&is), |asked| asked == is)
}

/// Works that no answer told of: there may be one for each request that was not answered, and no more.
fn strangers(told: &Told, evidence: &Evidence, known: &HashSet<i64>, findings: &mut Findings) {
    let mut open = told.indeterminate.clone();
    // Those that ask for something exactly go first, so that the vague ones are left for the others.
    open.sort_by_key(Option::is_none);
    for row in evidence.rows.iter().filter(|row| !known.contains(&row.id)) {
        match open.iter().position(|asked| asks_for(*asked, row.bound)) {
            Some(place) => drop(open.remove(place)),
            None => findings.duplicated.push(format!(
                "work {} (bound {}) is nobody's: no answer told of it",
                row.id, row.bound
            )),
        }
    }
}

/// Every work is finished, and rightly, or was cancelled before.
fn finished(row: &Row, findings: &mut Findings) {
    let sum = (row.bound != FAILS).then(|| row.bound * (row.bound + 1) / 2);
    let (status, result) = match sum {
        Some(_) => ("done", sum),
        None => ("failed", None),
    };
    if row.deleted && row.status == "cancelled" && row.result.is_none() {
        return;
    }
    if row.status != status || row.result != result {
        findings.lost.push(format!(
            "work {} (bound {}) is {} with {:?}, not {status} with {result:?}",
            row.id, row.bound, row.status, row.result
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

/// Everything, when a run is over: there is no dead letter of a message that nobody sent.
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
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::evidence::Letter;
    use crate::chaos::told::Change;

    /// Work 1 came over the API, work 2 as message `m`, work 3 fails; a message `u` was unreadable.
    fn account() -> (Told, Evidence) {
        let acknowledged = |identity, bound| Acknowledged {
            identity,
            bound,
            at: 1.0,
        };
        let told = Told {
            acknowledged: vec![
                acknowledged(Identity::Work(1), None),
                acknowledged(Identity::Message("m".into()), Some(4)),
                acknowledged(Identity::Work(3), Some(FAILS)),
            ],
            unreadable: vec!["u".into()],
            ..Told::default()
        };
        let letter = |work_id: Option<i64>, message_id: &str| Letter {
            work_id,
            generation: work_id.map(|_| 1),
            message_id: Some(message_id.into()),
        };
        let evidence = Evidence {
            rows: vec![
                row(1, 99, "created start stop result=4950"),
                row(2, 4, "start stop result=10"),
                row(3, FAILS, "created start error"),
            ],
            letters: vec![letter(Some(3), "x"), letter(None, "u")],
            orphans: 0,
            begun_again: None,
        };
        (told, evidence)
    }

    fn row(id: i64, bound: i64, told: &str) -> Row {
        let fails = bound == FAILS;
        Row {
            id,
            work_code: format!(
                "{}-{id:010}",
                if told.starts_with("created") { "api" } else { "consumer" }
            ),
            deleted: false,
            message_id: Some(if id == 2 { "m".to_owned() } else { format!("id of {id}") }),
            bound,
            status: if fails { "failed" } else { "done" }.into(),
            result: (!fails).then(|| bound * (bound + 1) / 2),
            generation: 1,
            updated_on: 2.0,
            history: told.split(' ').map(|word| (1, word.to_owned())).collect(),
        }
    }

    /// How many lines say lost and duplicated after a change of a right account.
    fn found(change: impl FnOnce(&mut Told, &mut Evidence)) -> (usize, usize) {
        let (mut told, mut evidence) = account();
        change(&mut told, &mut evidence);
        let again = evidence
            .rows
            .iter()
            .map(|row| i64::try_from(row.redrives()).unwrap())
            .sum();
        let mut findings = examine_the_whole(&told, &evidence);
        findings.extend(examine_redrives(&told, 0, again));
        (findings.lost.len(), findings.duplicated.len())
    }

    #[test]
    fn a_right_account_is_clean() {
        assert_eq!(found(|_, _| ()), (0, 0));
    }

    #[test]
    fn what_is_not_there_is_lost() {
        assert_eq!(found(|_, evidence| drop(evidence.rows.remove(0))), (1, 0));
        assert_eq!(found(|_, evidence| drop(evidence.rows.remove(1))), (1, 0));
        assert_eq!(
            found(|_, evidence| drop(evidence.letters.remove(0))),
            (1, 0),
            "a work's dead letter"
        );
        assert_eq!(
            found(|_, evidence| drop(evidence.letters.remove(1))),
            (1, 0),
            "a message's dead letter"
        );
        assert_eq!(found(|told, _| told.given_up.push("a call".into())), (1, 0));
    }

    #[test]
    fn what_is_not_as_it_was_asked_for_is_lost() {
        assert_eq!(found(|told, _| told.acknowledged[1].bound = Some(5)), (1, 0));
        assert_eq!(
            found(|told, _| told.acknowledged[0].identity = Identity::Work(3)),
            (2, 1),
            "one work for two"
        );
        assert_eq!(
            found(|told, _| told.redriven_works.push(3)),
            (1, 0),
            "a redrive without effect"
        );
        assert_eq!(found(|_, evidence| evidence.rows[0].status = "running".into()), (2, 0));
    }

    /// Work 1 was given the bound 7 and then 4.
    fn changed(told: &mut Told, evidence: &mut Evidence) {
        let row = &mut evidence.rows[0];
        (row.bound, row.result, row.generation) = (4, Some(10), 3);
        row.history = vec![(1, "created".into()), (2, "updated=7".into()), (2, "start".into())];
        let last = ["updated=4", "start", "stop", "result=10"];
        row.history.extend(last.map(|word| (3, word.to_owned())));
        let bounds = vec![7, 4];
        told.changes.insert(
            1,
            Changes {
                bounds,
                ..Changes::default()
            },
        );
    }

    #[test]
    fn the_newest_acknowledged_bound_counts_and_each_once() {
        let with = |change: fn(&mut Told, &mut Evidence)| {
            found(|told, evidence| {
                changed(told, evidence);
                change(told, evidence);
            })
        };
        assert_eq!(with(|_, _| ()), (0, 0));
        let bounds = |told: &mut Told, bounds: &[i64]| told.changes.get_mut(&1).unwrap().bounds = bounds.to_vec();
        let open = |told: &mut Told, change| told.changes.get_mut(&1).unwrap().open = Some(change);
        assert_eq!(
            with(|told, _| {
                told.changes.get_mut(&1).unwrap().open = Some(Change::To(9));
            }),
            (0, 0),
            "what was not answered need not have taken effect"
        );
        assert_eq!(
            found(|told, evidence| {
                changed(told, evidence);
                bounds(told, &[7]);
                open(told, Change::To(4));
            }),
            (0, 0),
            "but may have"
        );
        assert_eq!(
            found(|told, evidence| {
                changed(told, evidence);
                bounds(told, &[7]);
                open(told, Change::To(5));
            }),
            (1, 0),
            "and nothing else"
        );
        assert_eq!(
            with(|told, _| told.changes.get_mut(&1).unwrap().bounds.push(5)),
            (1, 0),
            "lost"
        );
        assert_eq!(
            with(|told, _| told.changes.get_mut(&1).unwrap().bounds.reverse()),
            (1, 0),
            "order"
        );
        assert_eq!(
            with(|told, _| told.changes.get_mut(&1).unwrap().bounds.truncate(1)),
            (0, 1),
            "twice"
        );
        assert_eq!(with(|told, _| told.changes.clear()), (0, 1), "nobody's");
        assert_eq!(
            with(|_, evidence| (evidence.rows[0].bound, evidence.rows[0].result) = (7, Some(28))),
            (1, 1)
        );
    }

    #[test]
    fn what_was_deleted_is_gone_and_nothing_else() {
        let deleted = |told: &mut Told| {
            drop(told.changes.insert(
                1,
                Changes {
                    deleted: true,
                    ..Changes::default()
                },
            ))
        };
        let cancelled = |evidence: &mut Evidence| {
            let row = &mut evidence.rows[0];
            (row.deleted, row.status, row.result) = (true, "cancelled".into(), None);
            row.history = vec![(1, "created".into()), (1, "cancelled".into())];
        };
        assert_eq!(
            found(|told, evidence| {
                deleted(told);
                cancelled(evidence);
            }),
            (0, 0)
        );
        assert_eq!(
            found(|told, evidence| {
                deleted(told);
                evidence.rows.remove(0);
            }),
            (0, 0),
            "where it cannot be seen"
        );
        assert_eq!(found(|told, _| deleted(told)), (1, 0), "it is there");
        assert_eq!(
            found(|_, evidence| cancelled(evidence)),
            (1, 0),
            "nobody asked for that"
        );
        assert_eq!(
            found(|told, evidence| {
                cancelled(evidence);
                let open = Some(Change::Gone);
                told.changes.insert(
                    1,
                    Changes {
                        open,
                        ..Changes::default()
                    },
                );
            }),
            (0, 0),
            "it was asked for, and not answered"
        );
        assert_eq!(
            found(|told, evidence| {
                deleted(told);
                cancelled(evidence);
                evidence.rows[0].history.push((1, "start".into()));
            }),
            (0, 1),
            "it goes on after its end"
        );
    }

    #[test]
    fn a_demand_is_there_under_its_code() {
        let demanded = |told: &mut Told, code: &str, bound| {
            told.acknowledged[1] = Acknowledged {
                identity: Identity::Code(code.to_owned()),
                bound: Some(bound),
                at: 1.0,
            };
        };
        assert_eq!(found(|told, _| demanded(told, "consumer-0000000002", 4)), (0, 0));
        assert_eq!(
            found(|told, _| demanded(told, "consumer-0000000002", 5)),
            (1, 0),
            "another bound"
        );
        assert_eq!(
            found(|told, _| demanded(told, "consumer-000000000X", 4)),
            (1, 1),
            "another code"
        );
    }

    #[test]
    fn what_nobody_asked_for_is_duplicated() {
        let another = || row(4, 50, "created start stop result=1275");
        assert_eq!(found(|_, evidence| evidence.rows.push(another())), (0, 1));
        assert_eq!(
            found(|told, evidence| {
                evidence.rows.push(another());
                told.indeterminate.push(None);
            }),
            (0, 0),
            "a request without an answer may have taken effect"
        );
        assert_eq!(
            found(|told, evidence| {
                evidence.rows.push(another());
                told.indeterminate.push(Some(51));
            }),
            (0, 1),
            "but not for another bound"
        );
        assert_eq!(found(|_, evidence| evidence.orphans = 1), (0, 1));
        assert_eq!(found(|told, _| told.twice.push("a key".into())), (0, 1));
    }

    #[test]
    fn what_is_there_twice_is_duplicated() {
        let again = |evidence: &mut Evidence, index: usize| evidence.letters.push(evidence.letters[index].clone());
        assert_eq!(found(|_, evidence| again(evidence, 0)), (0, 1));
        assert_eq!(found(|_, evidence| again(evidence, 1)), (0, 1));
        assert_eq!(
            found(|_, evidence| {
                let mut copy = evidence.rows[1].clone();
                copy.id = 4;
                evidence.rows.push(copy);
            }),
            (0, 1)
        );
        let elsewhere = |evidence: &mut Evidence| evidence.letters[1].message_id = Some("another".into());
        assert_eq!(
            found(|_, evidence| elsewhere(evidence)),
            (1, 1),
            "a dead letter of nothing that was sent"
        );
    }

    #[test]
    fn more_runs_than_redrives_are_duplicated() {
        let again = |_: &mut Told, evidence: &mut Evidence| {
            let row = &mut evidence.rows[2];
            row.generation = 2;
            row.history
                .extend(["redriven", "start", "error"].map(|word| (2, word.to_owned())));
            evidence.letters[0].generation = Some(2);
        };
        assert_eq!(found(again), (0, 1));
        assert_eq!(
            found(|told, evidence| {
                again(told, evidence);
                told.redriven = 1;
            }),
            (0, 0)
        );
        assert_eq!(
            found(|told, evidence| {
                again(told, evidence);
                told.redriven = 1;
                evidence.letters[0].generation = Some(1);
            }),
            (0, 1),
            "the letter of the generation before"
        );
    }
}
