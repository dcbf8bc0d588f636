//! One round after the other: load, a fault, load, then everything is waited for and compared.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::check::{Findings, examine, examine_redrives, examine_the_whole};
use super::evidence::Row;
use super::load::Load;
use super::plan::Round;
use super::system::{DRAIN_LIMIT, Struck, System, drain_limit};
use super::table::Report;
use super::told::{Attempt, Identity, Told};
use pp_testkit::signals::Stop;

/// The pause between two looks at what is missing.
const LOOK: Duration = Duration::from_millis(50);

/// A run so far.
#[derive(Default)]
pub struct Run {
    /// What every round came to.
    pub reports: Vec<Report>,
    /// What is wrong.
    pub findings: Findings,
    /// How many lines of those were found at the end alone: lost, duplicated.
    pub late: (usize, usize),
    told: Told,
    /// The highest id of the works that were compared.
    compared: i64,
    /// How often works had begun again when they were.
    begun_again: i64,
}

impl Run {
    /// Runs the rounds; `say` is told a line for each. What was found is in the run, also after an error.
    ///
    /// # Errors
    /// When a part of the system does not come back, or the run is interrupted.
    pub fn rounds(&mut self, system: &mut dyn System, plan: &[Round], stop: &Stop, say: &dyn Fn(&str)) -> Result<()> {
        for round in plan {
            self.round(system, round, stop)?;
            let report = &self.reports[self.reports.len() - 1];
            say(&format!("round {:>2}/{}: {}", round.number, plan.len(), report.line()));
        }
        let said = self.at_the_end(system, stop)?;
        say(&said);
        Ok(())
    }

    fn round(&mut self, system: &mut dyn System, round: &Round, stop: &Stop) -> Result<()> {
        let load = Load::start(system.target(round), round.seed);
        stop.pause(round.strikes_after)?;
        let struck = system.strike(round, &load, stop)?;
        stop.pause(round.load_after)?;
        let mut told = load.finish()?;

        let begun = Instant::now();
        let unfinished = drained(system, &told, drain_limit(round.fault), stop)?;
        let drained_in = begun.elapsed();
        let evidence = system.evidence(self.compared)?;
        self.told.extend(told.clone());
        // A request that was never answered may have taken effect in a later round.
        told.indeterminate.clone_from(&self.told.indeterminate);
        let mut findings = examine(&told, &evidence);
        findings
            .lost
            .extend(told.odd.iter().map(|what| format!("an odd answer: {what}")));
        findings.lost.extend(unfinished);
        if let Some(begun_again) = evidence.begun_again {
            if !round.fault.loses_replies() {
                findings.extend(examine_redrives(&told, self.begun_again, begun_again));
            }
            self.begun_again = begun_again;
        }
        self.compared = evidence.rows.iter().map(|row| row.id).max().unwrap_or(self.compared);

        let (recovered, recovery) = struck
            .recovered
            .unwrap_or_else(|| recovery(round, &struck, &told, &evidence.rows));
        let window = (
            struck.began,
            struck.over.max(baseline(round, &struck) + recovery.as_secs_f64()),
        );
        self.reports.push(Report {
            fault: round.fault,
            acknowledged: told.acknowledged.len() + told.unreadable.len(),
            lost: findings.lost.len(),
            duplicated: findings.duplicated.len(),
            recovered,
            recovery,
            posts: successes(&told.attempts, window),
            drained_in,
        });
        self.findings.extend(findings);
        system.ensure_running()
    }

    /// Everything once more: what changed after its round, and what came late.
    fn at_the_end(&mut self, system: &mut dyn System, stop: &Stop) -> Result<String> {
        let unfinished = drained(system, &self.told, DRAIN_LIMIT, stop)?;
        let evidence = system.evidence(0)?;
        let mut findings = examine_the_whole(&self.told, &evidence);
        if evidence.begun_again.is_none() {
            let begun_again = evidence.rows.iter().map(Row::redrives).sum::<usize>();
            let begun_again = i64::try_from(begun_again).unwrap_or(i64::MAX);
            findings.extend(examine_redrives(&self.told, 0, begun_again));
        }
        findings.lost.extend(unfinished);
        let known: HashSet<String> = self
            .findings
            .lost
            .iter()
            .chain(&self.findings.duplicated)
            .cloned()
            .collect();
        findings.lost.retain(|line| !known.contains(line));
        findings.duplicated.retain(|line| !known.contains(line));
        let said = format!(
            "at the end: {} works and {} dead letters compared once more, {} redriven meanwhile: {} lost, {} duplicated",
            evidence.rows.len(),
            evidence.letters.len(),
            self.told.redriven,
            findings.lost.len(),
            findings.duplicated.len()
        );
        self.late = (findings.lost.len(), findings.duplicated.len());
        self.findings.extend(findings);
        Ok(said)
    }
}

/// Waits until nothing is missing; what still is after the limit.
fn drained(system: &mut dyn System, told: &Told, limit: Duration, stop: &Stop) -> Result<Option<String>> {
    let begun = Instant::now();
    loop {
        // A server that was just killed may refuse for a moment.
        let missing = system.missing(told);
        match missing {
            Ok(None) => return Ok(None),
            Ok(Some(missing)) if begun.elapsed() > limit => {
                return Ok(Some(format!("not finished within {} s: {missing}", limit.as_secs())));
            }
            Err(error) if begun.elapsed() > limit => bail!("what is unfinished cannot be found out: {error:#}"),
            _ => stop.pause(LOOK)?,
        }
    }
}

/// From when recovery counts.
fn baseline(round: &Round, struck: &Struck) -> f64 {
    if round.fault.is_outage() {
        struck.over
    } else {
        struck.began
    }
}

/// Works that were acknowledged before the fault and finished after it: how many, and when the last one was. Works that
/// fail or were changed are left out, since they change again later.
fn recovery(round: &Round, struck: &Struck, told: &Told, rows: &[Row]) -> (usize, Duration) {
    let before = told.acknowledged.iter().filter(|one| one.at < struck.began);
    let known: HashSet<&Identity> = before.map(|one| &one.identity).collect();
    let is_known = |row: &Row| {
        let as_message = row.message_id.clone().map(Identity::Message);
        let as_code = Identity::Code(row.work_code.clone());
        known.contains(&Identity::Work(row.id))
            || known.contains(&as_code)
            || as_message.is_some_and(|identity| known.contains(&identity))
    };
    let after = rows
        .iter()
        .filter(|row| !row.ask.has_moods() && row.updated_on > struck.began)
        .filter(|row| !told.changes.contains_key(&row.id) && is_known(row));
    let ends: Vec<f64> = after.map(|row| row.updated_on).collect();
    let last = ends.iter().copied().fold(0.0, f64::max);
    (
        ends.len(),
        Duration::from_secs_f64((last - baseline(round, struck)).max(0.0)),
    )
}

fn successes(attempts: &[Attempt], (from, until): (f64, f64)) -> (usize, usize) {
    let during: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| (from..=until).contains(&attempt.at))
        .collect();
    (during.iter().filter(|attempt| attempt.ok).count(), during.len())
}
