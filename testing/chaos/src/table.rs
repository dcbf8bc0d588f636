//! What a run came to: a line for each round as it goes, and one table at the end.

use std::time::Duration;

use super::fault::Fault;

/// What stands under the table.
const CAPTION: &str = "\
acknowledged: demands answered with 200 or 202, or confirmed by RabbitMQ. lost: of these, not there, not changed or
deleted as was acknowledged, not finished within 90 s (150 s after the loss of a queue), or finished wrongly.
duplicated: works, changes, dead letters or events that are there more often than they were asked for. recovered: works
acknowledged before the fault and finished after it; recovery: until the last of these was finished, from the moment
the fault struck, or where there is a *, which is an outage of everything behind it, from the moment it was over. POST
success: of the requests sent from the moment the fault struck until it was over and recovered from, those answered
with 200; what was not was tried again under its key, each try counting.";

const HEADS: [&str; 9] = [
    "fault",
    "rounds",
    "acknowledged",
    "lost",
    "duplicated",
    "recovered",
    "recovery p50",
    "max",
    "POST success",
];

/// What one round came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// What happened.
    pub fault: Fault,
    /// How many demands were acknowledged.
    pub acknowledged: usize,
    /// How many lines of the account say "lost".
    pub lost: usize,
    /// How many lines of the account say "duplicated".
    pub duplicated: usize,
    /// How many works recovered.
    pub recovered: usize,
    /// How long that took.
    pub recovery: Duration,
    /// Requests during fault and recovery: answered well, and all.
    pub posts: (usize, usize),
    /// How long it took from the end of the load until all was finished.
    pub drained_in: Duration,
}

impl Report {
    /// The round in one line.
    pub fn line(&self) -> String {
        format!(
            "{}: {} acknowledged, {} lost, {} duplicated; {} recovered in {}; all finished {} after the load",
            self.fault.name().trim_end_matches(" *"),
            self.acknowledged,
            self.lost,
            self.duplicated,
            self.recovered,
            seconds(self.recovery),
            seconds(self.drained_in)
        )
    }
}

/// The table of all rounds, by the kind of fault, with totals. `last` is what was found when all were over: lost and
/// duplicated in no single round.
pub fn table(reports: &[Report], last: (usize, usize)) -> String {
    let mut faults: Vec<Fault> = reports.iter().map(|report| report.fault).collect();
    faults.sort_unstable();
    faults.dedup();
    let mut rows = vec![HEADS.map(str::to_owned)];
    for fault in faults {
        let own: Vec<&Report> = reports.iter().filter(|report| report.fault == fault).collect();
        rows.push(row(fault.name(), &own, (0, 0)));
    }
    rows.push(row("total", &reports.iter().collect::<Vec<_>>(), last));
    let widths: [usize; 9] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        text += &cells.collect::<Vec<_>>().join("  ");
        text += "\n";
    }
    text + CAPTION
}

fn row(name: &str, reports: &[&Report], more: (usize, usize)) -> [String; 9] {
    let sum = |of: fn(&Report) -> usize| reports.iter().map(|report| of(report)).sum::<usize>();
    // A round in which nothing was left to recover says nothing about how long that takes.
    let mut times: Vec<Duration> = reports
        .iter()
        .filter(|report| report.recovered > 0)
        .map(|report| report.recovery)
        .collect();
    times.sort_unstable();
    let time = |time: Option<&Duration>| time.map_or_else(|| "-".to_owned(), |time| seconds(*time));
    [
        name.to_owned(),
        reports.len().to_string(),
        sum(|report| report.acknowledged).to_string(),
        (sum(|report| report.lost) + more.0).to_string(),
        (sum(|report| report.duplicated) + more.1).to_string(),
        sum(|report| report.recovered).to_string(),
        time(times.get(times.len().saturating_sub(1) / 2)),
        time(times.last()),
        percent(sum(|report| report.posts.0), sum(|report| report.posts.1)),
    ]
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Rounded down, so that 100 % is all of them.
fn percent(part: usize, whole: usize) -> String {
    match (part * 1_000).checked_div(whole) {
        Some(per_mille) => format!("{}.{} %", per_mille / 10, per_mille % 10),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(fault: Fault, recovery_ms: u64, posts: (usize, usize)) -> Report {
        Report {
            fault,
            acknowledged: 100,
            lost: 0,
            duplicated: 1,
            recovered: 7,
            recovery: Duration::from_millis(recovery_ms),
            posts,
            drained_in: Duration::ZERO,
        }
    }

    fn cells(table: &str, name: &str) -> Vec<String> {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        let cells = line[name.len()..].split("  ").map(str::trim);
        cells.filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn each_kind_has_a_row_and_all_have_one() {
        let reports = [
            report(Fault::ApiKilled, 300, (1, 2)),
            report(Fault::ApiKilled, 100, (1, 2)),
            report(Fault::ApiKilled, 200, (1, 2)),
            report(Fault::PostgresKilled, 9_000, (9_999, 10_000)),
        ];
        let table = table(&reports, (3, 0));
        let api = ["3", "300", "0", "3", "21", "0.20 s", "0.30 s", "50.0 %"];
        assert_eq!(cells(&table, "API killed"), api);
        assert_eq!(cells(&table, "PostgreSQL killed *")[7], "99.9 %");
        let total = ["4", "400", "3", "4", "28", "0.20 s", "9.00 s", "99.9 %"];
        assert_eq!(cells(&table, "total")[..7], total[..7]);
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let mut empty = report(Fault::ApiKilled, 0, (0, 0));
        empty.recovered = 0;
        assert_eq!(cells(&table(&[empty], (0, 0)), "API killed")[5..], ["-", "-", "-"]);
    }
}
