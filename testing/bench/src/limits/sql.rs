//! The contract in raw SQL: finished works with their three events, many in a transaction, over one connection, into PP's
//! own tables with all their indexes. No counters, no queue, nothing decided.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::super::stand::Stand;
use pp_chaos::ledger;

/// How the limit is called.
pub(in super::super) const WHAT: &str = "raw SQL, 500 works a transaction";
const BATCH: usize = 500;
const INSERT: &str = "
    WITH inserted AS (
        INSERT INTO works (kind, work_code, origin, message_id, args, status, result)
        SELECT 'add_up_to', code, 'consumer', id, args::json, 'done', result::json
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS input (code, id, args, result)
        RETURNING id, result
    )
    INSERT INTO events (work_id, generation, variable, value, status)
    SELECT id, 1, unnest('{compute/start,compute/stop,compute/result}'::event_variable[]),
        unnest(ARRAY['', '', result::text]), 'done'
    FROM inserted";

/// Works a second.
pub(in super::super) fn rate(stand: &Stand, works: usize) -> Result<f64> {
    let place = stand.place("sql")?;
    let rate = stand.runtime.block_on(insert(&place.database, works))?;
    stand.leave(place)?;
    Ok(rate)
}

async fn insert(database: &str, works: usize) -> Result<f64> {
    let client = ledger::client(database).await?;
    let statement = client.prepare(INSERT).await?;
    let numbers: Vec<usize> = (0..works).collect();
    // The rows are there before the clock starts: they are not what is measured.
    let batches: Vec<Batch> = numbers.chunks(BATCH).map(|numbers| Batch::of(numbers, sum)).collect();
    let begun = Instant::now();
    for batch in &batches {
        client
            .execute(&statement, &[&batch.codes, &batch.ids, &batch.args, &batch.results])
            .await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let counts = "SELECT (SELECT count(*) FROM works), (SELECT count(*) FROM events)";
    let row = client.query_one(counts, &[]).await?;
    are_exact((row.try_get(0)?, row.try_get(1)?), works)?;
    Ok(works as f64 / seconds)
}

/// Fails unless there are so many works, each with three events.
pub(super) fn are_exact(counts: (i64, i64), works: usize) -> Result<()> {
    let works = i64::try_from(works)?;
    ensure!(
        counts == (works, 3 * works),
        "works and events are not exact: {counts:?}"
    );
    Ok(())
}

/// Arguments and result of a sum.
fn sum(number: usize) -> (String, String) {
    let bound = number % 99 + 1;
    (
        format!("{{\"add_up_to\":{bound}}}"),
        (bound * (bound + 1) / 2).to_string(),
    )
}

/// Rows as columns.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) codes: Vec<String>,
    pub(super) ids: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) results: Vec<String>,
}

impl Batch {
    /// The rows of these numbers, with arguments and result of each.
    pub(super) fn of(numbers: &[usize], work: impl Fn(usize) -> (String, String)) -> Self {
        let mut batch = Self::default();
        for number in numbers {
            let (random, (args, result)) = (rand::random::<u128>(), work(*number));
            batch.codes.push(format!("consumer-{:04x}{number:06x}", random as u16));
            batch.ids.push(format!("{random:032x}"));
            batch.args.push(args);
            batch.results.push(result);
        }
        batch
    }
}
