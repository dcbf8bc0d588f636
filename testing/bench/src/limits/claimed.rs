//! What a kind with an effect costs in raw SQL: rows of letters that become running with their first event, and then
//! done with the other two, many in a transaction, over one connection, into PP's own tables with all their indexes. No
//! counters, no queue, nothing decided.

use std::time::Instant;

use anyhow::Result;

use super::super::letters;
use super::super::stand::Stand;
use super::sql::{Batch, are_exact};
use pp_chaos::ledger;

/// How the limit is called.
pub(in super::super) const WHAT: &str = "raw SQL, 500 works a transaction, and 500 finished in another";
const BATCH: usize = 500;
const CLAIM: &str = "
    WITH inserted AS (
        INSERT INTO works (kind, work_code, origin, message_id, args, status, lease_until, due_set_on, claim)
        SELECT 'bench.letter', code, 'consumer', id, args::json, 'running', now() + interval '4 s', now(), 1
        FROM unnest($1::text[], $2::text[], $3::text[]) AS input (code, id, args)
        RETURNING id
    )
    INSERT INTO events (work_id, generation, variable, value, status)
    SELECT id, 1, 'compute/start', '', 'running' FROM inserted";
const FINISH: &str = "
    WITH updated AS (
        UPDATE works SET status = 'done', result = input.result::json, lease_until = NULL, due_set_on = NULL,
            claim = NULL, version = version + 1, updated_on = now()
        FROM unnest($1::text[], $2::text[]) AS input (id, result)
        WHERE works.kind = 'bench.letter' AND works.message_id = input.id
        RETURNING works.id, works.result
    )
    INSERT INTO events (work_id, generation, variable, value, status)
    SELECT id, 1, unnest('{compute/stop,compute/result}'::event_variable[]), unnest(ARRAY['', result::text]), 'done'
    FROM updated";

/// Works a second.
pub(in super::super) fn rate(stand: &Stand, works: usize) -> Result<f64> {
    let place = stand.place("claimed")?;
    let rate = stand.runtime.block_on(finish(&place.database, works))?;
    stand.leave(place)?;
    Ok(rate)
}

async fn finish(database: &str, works: usize) -> Result<f64> {
    let client = ledger::client(database).await?;
    let (claim, finish) = (client.prepare(CLAIM).await?, client.prepare(FINISH).await?);
    let numbers: Vec<usize> = (0..works).collect();
    // The rows are there before the clock starts: they are not what is measured.
    let batches: Vec<Batch> = numbers
        .chunks(BATCH)
        .map(|numbers| Batch::of(numbers, letter))
        .collect();
    let begun = Instant::now();
    for batch in &batches {
        client.execute(&claim, &[&batch.codes, &batch.ids, &batch.args]).await?;
        client.execute(&finish, &[&batch.ids, &batch.results]).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let counts = format!(
        "SELECT (SELECT count(*) FROM works WHERE status = 'done' AND {}), (SELECT count(*) FROM events)",
        letters::RIGHT
    );
    let row = client.query_one(&counts, &[]).await?;
    are_exact((row.try_get(0)?, row.try_get(1)?), works)?;
    Ok(works as f64 / seconds)
}

/// Arguments and result of a letter.
fn letter(number: usize) -> (String, String) {
    let args = letters::args(number);
    let result = letters::result(&args).unwrap_or_default();
    (args, result)
}
