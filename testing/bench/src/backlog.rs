//! The consumer's memory while it works and its backlog grows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::search::count;
use super::stand::{Stand, with};
use super::{Goal, Line, Plan, usage};
use pp_chaos::demands::Demands;
use pp_testkit::servers::Kind;

/// How long each addition takes, which makes the consumer slower than the one who publishes.
const PACE: &str = "20ms";
/// How many are published at once.
const STEP: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(600);
/// Until the consumer holds all that it may hold.
const SETTLING: Duration = Duration::from_secs(5);
/// How much more it may have in the end.
const FLAT: f64 = 1.2;

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let place = stand.place("backlog")?;
    let variables = with(&stand.variables(&place)?, "PP_PACE", PACE);
    let url = stand.servers.url(Kind::RabbitMq)?;
    let memory = stand.runtime.block_on(async {
        let queue = Demands::connect(&url, &place.queues).await?;
        let mut consumer = stand.service("backlog-consumer", "task_consumer", variables)?;
        queue.publish(STEP * 2).await?;
        sleep(SETTLING).await;
        let (begun, mut memory) = (Instant::now(), Vec::new());
        for size in &plan.backlog {
            while queue.waiting().await? < *size as u64 {
                ensure!(begun.elapsed() < LIMIT, "the backlog does not grow to {size}");
                queue.publish(STEP).await?;
            }
            // Several looks: what it has goes up and down with its batches.
            let mut looks = Vec::new();
            for _ in 0..10 {
                looks.push(usage::resident_kib(consumer.pid()?)? as f64 / 1024.0);
                sleep(PAUSE).await;
            }
            memory.push((*size, looks));
        }
        anyhow::Ok(memory)
    })?;
    stand.leave(place)?;
    Ok(lines(&memory))
}

fn lines(memory: &[(usize, Vec<f64>)]) -> Vec<Line> {
    let size = |size: usize| count(size as i64);
    let line = |(backlog, looks): &(usize, Vec<f64>)| {
        let what = format!("consumer's resident memory, backlog of {}", size(*backlog));
        Line::new(what, "MiB", looks.clone())
    };
    let mut lines: Vec<Line> = memory.iter().map(line).collect();
    if let [first, .., last] = memory {
        let mean = first.1.iter().sum::<f64>() / first.1.len() as f64;
        let grown = last.1.iter().map(|look| look / mean).collect();
        let what = format!(
            "consumer's memory, backlog of {} by that of {}",
            size(last.0),
            size(first.0)
        );
        let note =
            format!("one run, ten looks at each size; each addition takes {PACE}, so that the consumer is always full");
        lines.push(Line::new(what, "×", grown).goal(Goal::AtMost(FLAT)).note(note));
    }
    lines
}
