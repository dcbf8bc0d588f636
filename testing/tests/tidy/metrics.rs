//! What is written down of metrics: the table of all, and files that use no other.

use std::collections::{BTreeMap, BTreeSet};

use pp_lib::runtime::{Metric, MetricKind};

use crate::tree::{File, files, none};

/// The table.
const TABLE: &str = "docs/metrics.md";
/// The files that use metrics.
const USERS: [&str; 2] = ["docs/metrics/alerts.yml", "docs/metrics/grafana.json"];
/// What Prometheus makes of a histogram.
const SERIES: [&str; 3] = ["_bucket", "_sum", "_count"];

#[test]
fn the_table_of_metrics_is_what_the_programs_describe() {
    let files = files();
    let table = files.iter().find(|file| file.path == TABLE).unwrap();
    none(&differences(&table.text, &described()));
}

#[test]
fn a_metric_without_a_row_and_a_row_without_a_metric_are_found() {
    const ONE: Metric = Metric::counting("pp_one_total", &["kind"], "Ones.");
    const TWO: Metric = Metric::gauging("pp_two_seconds", &[], "Twos.");
    let both = format!("| a |\n{}\n{}\n", row(&ONE), row(&TWO));
    assert_eq!(differences(&both, &[ONE, TWO]), [""; 0]);
    assert_eq!(differences(&both, &[ONE]).len(), 1);
    assert_eq!(differences(&row(&ONE), &[ONE, TWO]).len(), 1);
    assert_eq!(row(&ONE), "| `pp_one_total` | counter | `kind` | count | Ones. |");
    assert_eq!(row(&TWO), "| `pp_two_seconds` | gauge | | seconds | Twos. |");
}

#[test]
fn metrics_are_named_as_prometheus_advises() {
    let (mut complaints, mut names) = (Vec::new(), BTreeSet::new());
    for Metric {
        name,
        kind,
        labels,
        help,
    } in described()
    {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let total = name.ends_with("_total");
        if !name.starts_with("pp_") || !plain(name) || !labels.iter().all(|label| plain(label)) || !names.insert(name) {
            complaints.push(format!("{name}: the name"));
        }
        if (kind == MetricKind::Counter) != total || name.contains("_ms") || name.contains("milli") {
            complaints.push(format!("{name}: the unit"));
        }
        if !help.ends_with('.') || help.contains('|') || help.contains('\n') {
            complaints.push(format!("{name}: the sentence"));
        }
    }
    none(&complaints);
    assert!(names.len() > 30, "{names:?}");
}

#[test]
fn rules_and_dashboard_use_metrics_that_there_are() {
    let files = files();
    for path in USERS {
        let user = files.iter().find(|file| file.path == path).unwrap();
        none(&unknown(user, &described()));
    }
}

#[test]
fn an_unknown_metric_is_found() {
    const ONE: Metric = Metric::distributing("pp_one_seconds", Metric::SECONDS, &[], "Ones.");
    let found = |text: &str| unknown(&File::new("docs/metrics/a.yml", text), &[ONE]);
    assert_eq!(found("rate(pp_one_seconds_bucket[5m]) / pp_one_seconds_count"), [""; 0]);
    assert_eq!(found("pp_one_seconds_total{a=\"b\"} + pp_two").len(), 2);
    assert_eq!(found("no metric").len(), 1, "a file without any");
}

/// Every metric that a program of PP may show.
fn described() -> Vec<Metric> {
    [
        pp_lib::metrics::all(),
        pp_cli::metrics::all(),
        pp_http::METRICS.to_vec(),
    ]
    .concat()
}

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = match labels.is_empty() {
        true => " ".to_owned(),
        false => format!(" {} ", labels.join(", ")),
    };
    format!(
        "| `{}` | {} |{labels}| {} | {} |",
        metric.name,
        metric.kind.as_str(),
        unit(metric.name),
        metric.help
    )
}

fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    match name.rsplit('_').next() {
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        _ => "count",
    }
}

fn differences(table: &str, metrics: &[Metric]) -> Vec<String> {
    let wanted: BTreeMap<String, String> = metrics.iter().map(|one| (one.name.to_owned(), row(one))).collect();
    let rows = table.lines().filter(|line| line.starts_with("| `pp_"));
    let there: BTreeSet<&str> = rows.collect();
    let missing = wanted.values().filter(|row| !there.contains(row.as_str()));
    let left: Vec<String> = missing.map(|row| format!("{TABLE} lacks {row}")).collect();
    let over = there.iter().filter(|row| !wanted.values().any(|wanted| wanted == *row));
    left.into_iter()
        .chain(over.map(|row| format!("{TABLE} has {row}")))
        .collect()
}

/// The names of metrics in a file that are none.
fn unknown(file: &File, metrics: &[Metric]) -> Vec<String> {
    let words = file
        .text
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("pp_")).collect();
    if named.is_empty() {
        return vec![format!("{}: uses no metric", file.path)];
    }
    let is_known = |name: &str| {
        metrics.iter().any(|metric| match metric.kind {
            MetricKind::Histogram(_) => name
                .strip_prefix(metric.name)
                .is_some_and(|rest| SERIES.contains(&rest)),
            _ => name == metric.name,
        })
    };
    let unknown = named.into_iter().filter(|name| !is_known(name));
    unknown
        .map(|name| format!("{}: there is no {name}", file.path))
        .collect()
}
