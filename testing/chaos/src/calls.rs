//! The calls of handlers, as their file tells them, and whether they are what the works say: one call for each run that
//! was claimed, by the handler of the work's own kind, and none for any other run.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::str::FromStr;
use std::{fmt, fs};

use anyhow::{Context as _, Error, Result};

use super::check::Findings;
use super::evidence::{Evidence, Row};

/// One call of a handler.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    /// The kind of the handler.
    pub kind: String,
    /// The code of the work that it was called for.
    pub work_code: String,
    /// The generation of that work.
    pub generation: i32,
    /// The attempt at that generation.
    pub attempt: i32,
    /// The identity of the work's demand.
    pub message_id: String,
}

/// Its line in the file.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            work_code,
            generation,
            attempt,
            message_id,
        } = self;
        write!(f, "{kind} {work_code} {generation} {attempt} {message_id}")
    }
}

impl FromStr for Call {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next().context("a call has five words");
        Ok(Self {
            kind: word()?.to_owned(),
            work_code: word()?.to_owned(),
            generation: word()?.parse()?,
            attempt: word()?.parse()?,
            message_id: word()?.to_owned(),
        })
    }
}

/// The calls in a file, in their order.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: &Path) -> Result<Vec<Call>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let call = |line: &str| line.parse().with_context(|| format!("not a call: {line}"));
    text.lines().map(call).collect()
}

/// Looks at the calls for the works that are there.
pub(super) fn examine(evidence: &Evidence, findings: &mut Findings) {
    let mut by_code: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in &evidence.calls {
        by_code.entry(&call.work_code).or_default().push(call);
    }
    for row in &evidence.rows {
        let calls = by_code.get(row.work_code.as_str()).map_or(&[][..], Vec::as_slice);
        of_row(row, calls, findings);
    }
}

fn of_row(row: &Row, calls: &[&Call], findings: &mut Findings) {
    let (mut called, kind) = (HashSet::new(), row.ask.kind());
    for call in calls {
        let mut wrong = |what: &str| {
            findings
                .duplicated
                .push(format!("work {} ({kind}): {what}: {call}", row.id))
        };
        if call.kind != kind {
            wrong("called was the handler of another kind");
        }
        if row.message_id.as_ref().is_some_and(|id| *id != call.message_id) {
            wrong("the call was for another message");
        }
        if !called.insert((call.generation, call.attempt)) {
            wrong("called twice for one run");
        }
        if !(1..=starts(row, call.generation)).contains(&call.attempt) {
            wrong("called for a run that was never claimed");
        }
    }
    let (last, ended) = (
        starts(row, row.generation),
        ["done", "failed"].contains(&row.status.as_str()),
    );
    if !ended || !row.ask.is_called() {
        return;
    }
    if !called.contains(&(row.generation, last)) {
        findings.lost.push(format!(
            "work {} ({kind}) is {} by attempt {last}, for which no handler was called",
            row.id, row.status
        ));
    }
    if usize::try_from(last).is_ok_and(|last| last < row.ask.attempts()) {
        let line = format!("work {} ({:?}) is {} by attempt {last}", row.id, row.ask, row.status);
        findings.lost.push(line);
    }
}

/// The number of attempts at this generation that began: the highest one that was claimed.
fn starts(row: &Row, generation: i32) -> i32 {
    let starts = row
        .history
        .iter()
        .filter(|(of, word)| *of == generation && word == "start");
    i32::try_from(starts.count()).unwrap_or(i32::MAX)
}

/// Every call is for a work, where all works can be seen.
pub(super) fn strangers(evidence: &Evidence, findings: &mut Findings) {
    let codes: HashSet<&str> = evidence.rows.iter().map(|row| row.work_code.as_str()).collect();
    let strange = evidence
        .calls
        .iter()
        .filter(|call| !codes.contains(call.work_code.as_str()));
    for call in strange {
        findings
            .duplicated
            .push(format!("called for a work that is not there: {call}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("pp-chaos-calls-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let call = Call {
            kind: "chaos.slow".into(),
            work_code: "api-0123456789".into(),
            generation: 2,
            attempt: 3,
            message_id: "m".into(),
        };
        let file = folder.join("calls");
        fs::write(&file, format!("{call}\n{call}\n")).unwrap();
        assert_eq!(read(&file).unwrap(), [call.clone(), call]);
        fs::write(&file, "chaos.slow api-0123456789 2").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("not a call"));
        fs::remove_dir_all(folder).unwrap();
    }
}
