//! How long one work of a kind takes while another kind of the same worker is in trouble.

use std::sync::Arc;

use anyhow::Result;
use pp_lib::domain::KindName;
use pp_lib::runtime::new_message_id;

use super::finishes::{self, Key};
use super::kinds::worker;
use super::queue::{Queues, WINDOW};
use super::stand::Stand;
use super::{Line, Plan, Samples, letters};
use pp_testkit::servers::Kind;

const PER_SECOND: u32 = 100;
const FAST: &str = "bench.fast";
const FLOODED: &str = "bench.flooded";
/// Works that never end: they take all places of their kind.
const HANGING: usize = 2_000;

/// What the other kind does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Nothing,
    Flood,
    Hang,
}

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let (mut alone, mut flooded, mut hanging) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        alone.push(times(stand, plan, Trouble::Nothing)?);
        flooded.push(times(stand, plan, Trouble::Flood)?);
        hanging.push(times(stand, plan, Trouble::Hang)?);
    }
    let what = "one work of a kind at 100/s";
    let note = "one worker with all kinds; from when the message was due until a look at the database, one in each \
                millisecond, sees the work done; 500 bytes in and 200 out, handled after its claim";
    let flood = "the other kind's queue is full at the beginning and filled as fast as RabbitMQ takes it";
    let hang = format!("{HANGING} works of the other kind never end");
    let mut lines = Vec::from(finishes::lines(&format!("{what}, nothing else"), &alone, note));
    lines.extend(finishes::lines(
        &format!("{what}, another floods its queue"),
        &flooded,
        flood,
    ));
    lines.extend(finishes::lines(&format!("{what}, another hangs"), &hanging, hang));
    Ok(lines)
}

fn times(stand: &Stand, plan: &Plan, trouble: Trouble) -> Result<Samples> {
    let place = stand.place("isolation")?;
    let url = stand.servers.url(Kind::RabbitMq)?;
    let kinds: Vec<KindName> = [FAST, FLOODED, letters::HANGS]
        .into_iter()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let times = stand.runtime.block_on(async {
        let queues = Arc::new(Queues::declare(&url, &place.queues, &kinds).await?);
        let (fast, flooded, hangs) = (&kinds[0], kinds[1].clone(), &kinds[2]);
        if trouble == Trouble::Hang {
            queues.fill(hangs, HANGING, letters::args).await?;
        }
        let flood = match trouble {
            Trouble::Flood => {
                // On a connection of its own: the other demands are not to wait in this program.
                let flood = Queues::declare(&url, &place.queues, std::slice::from_ref(&flooded)).await?;
                flood.fill(&flooded, plan.demands, letters::args).await?;
                Some(tokio::spawn(async move {
                    while flood.fill(&flooded, WINDOW, letters::args).await.is_ok() {}
                }))
            }
            Trouble::Nothing | Trouble::Hang => None,
        };
        let worker = worker(stand, "isolation-worker", &place, &kinds)?;
        let times = finishes::times(&place.database, PER_SECOND, plan.time, Key::MessageId, |begun, due| {
            let (queues, fast) = (Arc::clone(&queues), fast.clone());
            async move {
                let message_id = new_message_id();
                let _ = begun.send((message_id.as_str().to_owned(), due));
                queues.put(&fast, message_id, letters::args(0)).await
            }
        })
        .await;
        if let Some(flood) = flood {
            flood.abort();
            let _ = flood.await;
        }
        drop(worker);
        if let Some(queues) = Arc::into_inner(queues) {
            queues.delete().await?;
        }
        times
    })?;
    stand.leave(place)?;
    Ok(times)
}
