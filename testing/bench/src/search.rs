//! Search by prefix as the table grows: an old burst of works from the API, and since then messages alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::fill::fill;
use super::stand::{Api, Place, Stand};
use super::statistics::number;
use super::{Goal, Line, Plan, Samples, Spread, load};

const CLIENTS: u32 = 4;
const PER_SECOND: u32 = 200;
const WARMING: Duration = Duration::from_secs(2);
/// All works of an origin, the old one and the one that still grows, and a sixteenth of each.
const PREFIXES: [&str; 4] = ["api-", "consumer-", "consumer-a", "api-c"];
/// How much more the largest table may take.
const FLAT: f64 = 2.0;

/// A table of one size.
struct Table {
    rows: i64,
    place: Place,
    api: Api,
    times: Vec<Samples>,
}

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let mut tables = Vec::new();
    for rows in &plan.search_rows {
        let place = stand.place("search")?;
        stand.runtime.block_on(fill(&place.database, *rows))?;
        let api = stand.api("search-api", "pp_backend_api", stand.variables(&place)?)?;
        times(stand, &api, WARMING)?;
        tables.push(Table {
            rows: *rows,
            place,
            api,
            times: Vec::new(),
        });
    }
    for _ in 0..plan.rounds {
        for table in &mut tables {
            table.times.push(times(stand, &table.api, plan.time)?);
        }
    }
    let mut lines: Vec<Line> = tables.iter().flat_map(Table::lines).collect();
    if let [smallest, .., largest] = &tables[..] {
        let p99 = |table: &Table| {
            table
                .times
                .iter()
                .map(|times| times.milliseconds(99))
                .collect::<Vec<_>>()
        };
        let base = Spread::of(&p99(smallest)).map_or(f64::NAN, |spread| spread.median);
        let grown = p99(largest).into_iter().map(|time| time / base).collect();
        let what = format!(
            "search: p99 of {} rows by the median p99 of {}",
            count(largest.rows),
            count(smallest.rows)
        );
        lines.push(Line::new(what, "×", grown).goal(Goal::AtMost(FLAT)));
    }
    for Table { place, api, .. } in tables {
        drop(api);
        stand.leave(place)?;
    }
    Ok(lines)
}

/// How long answers take, prefixes at random.
pub(super) fn times(stand: &Stand, api: &Api, time: Duration) -> Result<Samples> {
    let paths: Arc<[String]> = PREFIXES
        .iter()
        .map(|prefix| format!("/work/search?limit=50&work_code={prefix}"))
        .collect();
    let times = stand
        .runtime
        .block_on(load::get(api.port, CLIENTS, PER_SECOND, time, paths))?;
    Ok(times.into_iter().collect())
}

impl Table {
    fn lines(&self) -> Vec<Line> {
        let line = |percent| {
            let times = self.times.iter().map(|times| times.milliseconds(percent)).collect();
            Line::new(
                format!("search by prefix, {} rows: p{percent}", count(self.rows)),
                "ms",
                times,
            )
        };
        let note = format!(
            "open loop, {PER_SECOND} searches/s for 50 works over {CLIENTS} connections, prefixes {} at random; the oldest \
             tenth of the works is from the API",
            PREFIXES.join(", ")
        );
        vec![line(50).note(note), line(99)]
    }
}

/// Without digits behind the point.
pub(super) fn count(rows: i64) -> String {
    let number = number(rows as f64);
    number
        .split_once('.')
        .map_or(number.clone(), |(whole, _)| whole.to_owned())
}
