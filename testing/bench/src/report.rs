//! What a run came to: as a table for people and as JSON.
//!
//! The table is one that Markdown knows, so that it can be shown as it is.

use serde_json::{Value, json};

use super::line::{Goal, Line};
use super::machine::Conditions;
use super::statistics::{Spread, number};

/// A run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it was measured.
    pub conditions: Conditions,
    /// The figures.
    pub lines: Vec<Line>,
    /// Figures that could not be measured, and why.
    pub errors: Vec<String>,
}

const HEAD: [&str; 7] = [
    "figure",
    "median",
    "lowest – highest",
    "limit",
    "of it",
    "goal",
    "reached",
];

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.lines.iter().map(cells));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or_default());
        rows.insert(1, widths.map(|width| "-".repeat(width)));
        let mut text = String::new();
        for row in &rows {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!(" {cell:<width$} |"));
            text.push('|');
            text.extend(padded);
            text.push('\n');
        }
        let notes = self
            .lines
            .iter()
            .flat_map(|line| line.notes.iter().map(move |note| format!("- {}: {note}", line.what)));
        let errors = self.errors.iter().map(|error| format!("ERROR: {error}"));
        let conditions = self.conditions.lines().into_iter().map(|line| format!("- {line}"));
        for line in [String::new()]
            .into_iter()
            .chain(notes)
            .chain([String::new()])
            .chain(conditions)
            .chain(errors)
        {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "conditions": self.conditions.json(),
            "figures": self.lines.iter().map(figure).collect::<Vec<_>>(),
            "errors": self.errors,
        })
    }
}

fn cells(line: &Line) -> [String; 7] {
    let spread = line.spread();
    let limit = line.limit.as_ref();
    let of_limit = limit.and_then(|limit| Some((limit.what, Spread::of(&limit.values)?.median)));
    let goals: Vec<String> = line.goals.iter().map(Goal::to_string).collect();
    let reached = line.reached().map(|reached| if reached { "yes" } else { "no" });
    [
        line.what.clone(),
        spread.map_or("-".to_owned(), |spread| {
            format!("{} {}", number(spread.median), line.unit)
        }),
        spread.map_or("-".to_owned(), range),
        of_limit.map_or(String::new(), |(what, median)| format!("{what}: {}", number(median))),
        line.ratio().map_or(String::new(), share),
        goals.join(", "),
        reached.unwrap_or_default().to_owned(),
    ]
}

fn range(spread: Spread) -> String {
    match spread.runs {
        1 => "1 run".to_owned(),
        runs => format!("{} – {} ({runs})", number(spread.lowest), number(spread.highest)),
    }
}

fn share(ratio: f64) -> String {
    match ratio {
        ..1.995 => format!("{:.0} %", ratio * 100.0),
        _ => format!("{ratio:.1} ×"),
    }
}

fn figure(line: &Line) -> Value {
    json!({
        "what": line.what,
        "unit": line.unit,
        "values": values(&line.values),
        "limit": line.limit.as_ref().map(|limit| json!({ "what": limit.what, "values": values(&limit.values) })),
        "ratio": line.ratio(),
        "goals": line.goals.iter().map(Goal::to_string).collect::<Vec<_>>(),
        "reached": line.reached(),
        "notes": line.notes,
    })
}

fn values(values: &[f64]) -> Value {
    let spread = Spread::of(values);
    json!({
        "median": spread.map(|spread| spread.median),
        "lowest": spread.map(|spread| spread.lowest),
        "highest": spread.map(|spread| spread.highest),
        "runs": values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let drain = Line::new("drain", "works/s", vec![44_000.0, 46_000.0, 45_000.0])
            .limit("raw SQL", &[60_000.0])
            .goal(Goal::AtLeast(45_000.0))
            .goal(Goal::TimesLimit(0.8))
            .note("batches of 900");
        let start = Line::new("start", "ms", vec![120.5]).goal(Goal::AtMost(200.0));
        Report {
            conditions: Conditions::of_test(),
            lines: vec![drain, start, Line::new("seen", "KiB", vec![3.0])],
            errors: vec!["post: no wrk".to_owned()],
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_figure() {
        let table = report().table();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows[0], HEAD);
        let drain = [
            "drain",
            "45,000 works/s",
            "44,000 – 46,000 (3)",
            "raw SQL: 60,000",
            "75 %",
            "≥ 45,000, ≥ 80 % of it",
            "no",
        ];
        assert_eq!(rows[2], drain);
        assert_eq!(rows[3], ["start", "120 ms", "1 run", "", "", "≤ 200", "yes"]);
        assert_eq!(rows[4], ["seen", "3.00 KiB", "1 run", "", "", "", ""]);
        assert!(rows.iter().all(|row| row.len() == 7), "{table}");
        let widths: Vec<usize> = table.lines().take(5).map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
    }

    #[test]
    fn notes_conditions_and_errors_stand_below() {
        let table = report().table();
        for line in ["- drain: batches of 900", "- machine: a test's", "ERROR: post: no wrk"] {
            assert!(table.lines().any(|found| found == line), "{line} in\n{table}");
        }
    }

    #[test]
    fn the_json_has_every_run() {
        let json = report().json();
        let drain = &json["figures"][0];
        assert_eq!(drain["values"]["median"], 45_000.0);
        assert_eq!(drain["values"]["runs"], json!([44_000.0, 46_000.0, 45_000.0]));
        assert_eq!(drain["limit"]["values"]["median"], 60_000.0);
        assert_eq!((&drain["ratio"], &drain["reached"]), (&json!(0.75), &json!(false)));
        assert_eq!(json["figures"][2]["reached"], Value::Null);
        assert_eq!(json["errors"], json!(["post: no wrk"]));
        assert_eq!(json["conditions"]["machine"], "a test's");
    }
}
