//! A spike above what the workers can do: how soon clients are answered that wait for the commit, and how soon they
//! would be if the answer were the result.

use std::time::Duration;

use anyhow::Result;
use pp_lib::domain::Status;

use super::stand::Stand;
use super::statistics::rate;
use super::watcher::Watcher;
use super::{Line, Plan, Samples, load};

const CLIENTS: u32 = 200;
const PER_SECOND: u32 = 800;
const TIME: Duration = Duration::from_secs(5);
/// Twenty additions of 1 ms, ten works at a time: at most 500 works a second.
const BODY: &str = r#"{"add_up_to":20}"#;
const PACE: &str = "1ms";
const PLACES: &str = "10";
const LIMIT: Duration = Duration::from_secs(40);

pub(super) fn measure(stand: &Stand, _: &Plan) -> Result<Vec<Line>> {
    let variables = stand.distributed("spike")?;
    let api = stand.api("spike-api", "pp_backend_api", variables.clone())?;
    let paced = [
        variables,
        vec![("PP_PACE", PACE.to_owned()), ("PP_BATCH", PLACES.to_owned())],
    ]
    .concat();
    let _consumer = stand.service("spike-consumer", "task_consumer", paced)?;
    let (posted, waited) = stand.runtime.block_on(async {
        let watcher = Watcher::start(api.port, |change| change.status == Some(Status::Done)).await?;
        let posted = load::post(api.port, CLIENTS, PER_SECOND, TIME, BODY).await?;
        let waited = watcher.times(&posted, |one| one.due, LIMIT).await?;
        anyhow::Ok((posted, waited))
    })?;
    let answered: Samples = posted.iter().map(|one| one.answered - one.due).collect();
    let waited: Samples = waited.into_iter().collect();
    let asked = format!(
        "open loop: {CLIENTS} clients, {:.0} works/s for {} s by the clock, each from when it was due; one consumer with \
         {PLACES} places of 20 ms, at most 500 works/s",
        rate(posted.len(), TIME),
        TIME.as_secs()
    );
    let lines = |what: &str, times: &Samples, note: String| {
        let line = |percent| Line::new(format!("{what}: p{percent}"), "ms", vec![times.milliseconds(percent)]);
        [line(50).note(note), line(99)]
    };
    let same = "the same works in the same run, until the event of the result is read from /stream";
    Ok([
        lines("spike, answers to POST after the commit", &answered, asked),
        lines("spike, if the answer were the result", &waited, same.to_owned()),
    ]
    .concat())
}
