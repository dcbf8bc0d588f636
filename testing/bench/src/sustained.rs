//! What all parts sustain together: a producer at a steady rate, RabbitMQ, one consumer and PostgreSQL, for as long as the
//! backlog does not grow.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::limits::rabbitmq;
use super::stand::Stand;
use super::statistics::number;
use super::{Goal, Line, Plan};
use pp_chaos::demands::Demands;
use pp_chaos::ledger::Ledger;
use pp_testkit::servers::Kind;

/// As fast as the producer can.
const UNBOUNDED: f64 = 1_000_000.0;
/// How often a rate is halved towards the one that is sustained.
const STEPS: usize = 3;
/// What a rate is lowered to when it was sustained once, and then not.
const LOWER: f64 = 0.93;
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that a consumer with messages in hand records nothing.
const QUIET: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(120);

/// A run at one rate.
struct Run {
    /// Works a second that were finished meanwhile.
    done: f64,
    /// Whether the backlog stayed as it was.
    steady: bool,
}

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let time = plan.time * 2;
    let published = (0..plan.rounds).map(|_| rabbitmq::rates(stand, plan.demands));
    let (published, consumed): (Vec<f64>, Vec<f64>) = published.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let mut rate = search(stand, time)?;
    let mut runs = Vec::new();
    while runs.len() < plan.long_rounds {
        let run = at(stand, rate, time)?;
        if run.steady {
            runs.push(run.done);
        } else {
            ensure!(rate > 1.0, "no rate is sustained");
            runs.clear();
            rate *= LOWER;
        }
    }
    let note = format!(
        "{} for {} s: the highest rate found by halving at which the last third of the time saw no larger backlog than the \
         first one, give or take a quarter of a second; every demand done in the end",
        match rate {
            UNBOUNDED => "as fast as the producer can".to_owned(),
            rate => format!("at {} demands/s", number(rate)),
        },
        time.as_secs()
    );
    Ok(vec![
        Line::new(
            "sustained: producer, RabbitMQ, one consumer, PostgreSQL",
            "works/s",
            runs,
        )
        .limit(rabbitmq::PUBLISH, &published)
        .goal(Goal::AtLeast(15_000.0))
        .note(note),
        Line::new(rabbitmq::PUBLISH, "messages/s", published),
        Line::new(rabbitmq::CONSUME, "messages/s", consumed),
    ])
}

/// The highest rate that was sustained once.
fn search(stand: &Stand, time: Duration) -> Result<f64> {
    let unbounded = at(stand, UNBOUNDED, time)?;
    if unbounded.steady {
        return Ok(UNBOUNDED);
    }
    // A consumer beside a producer that takes all it can does less than it would beside one that keeps to a rate.
    let (mut low, mut high) = (unbounded.done * 0.5, unbounded.done * 1.5);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        match at(stand, middle, time)?.steady {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(low)
}

fn at(stand: &Stand, rate: f64, time: Duration) -> Result<Run> {
    let place = stand.place("sustained")?;
    let url = stand.servers.url(Kind::RabbitMq)?;
    let variables = stand.variables(&place)?;
    let run = stand.runtime.block_on(async {
        let ledger = Ledger::connect(&place.database).await?;
        let queue = Demands::connect(&url, &place.queues).await?;
        let mut consumer = stand.service("sustained-consumer", "task_consumer", variables.clone())?;
        let args = ["--rate".to_owned(), format!("{rate:.0}")];
        let mut producer = stand.service_with("sustained-producer", "task_producer", variables, &args)?;
        let started = Instant::now();
        while ledger.highest_id().await? == 0 {
            ensure!(started.elapsed() < LIMIT, "nothing is done");
            producer.ensure_running()?;
            consumer.ensure_running()?;
            sleep(PAUSE).await;
        }
        let (begun, first) = (Instant::now(), ledger.highest_id().await?);
        let mut backlog = Vec::new();
        while begun.elapsed() < time {
            backlog.push(queue.waiting().await? as f64);
            sleep(PAUSE).await;
        }
        let done = (ledger.highest_id().await? - first) as f64 / begun.elapsed().as_secs_f64();
        producer.stop()?;
        rest(&ledger, &queue).await?;
        consumer.stop()?;
        let (waiting, account) = (queue.waiting().await?, ledger.account().await?);
        let exact = waiting == 0 && account.unfinished == 0 && account.wrong_history == 0;
        ensure!(
            exact && account.events == 3 * account.done,
            "not exact: {account:?}, {waiting} wait"
        );
        Ok(Run {
            done,
            steady: is_steady(&backlog, done),
        })
    })?;
    stand.leave(place)?;
    Ok(run)
}

/// Until what was published is done. How much that was only the producer knows: nothing waits, and nothing is added any
/// more.
async fn rest(ledger: &Ledger, queue: &Demands) -> Result<()> {
    let (begun, mut last, mut since) = (Instant::now(), 0, Instant::now());
    while since.elapsed() < QUIET {
        ensure!(begun.elapsed() < LIMIT, "the rest is not worked off");
        let done = ledger.highest_id().await?;
        if done != last || queue.waiting().await? > 0 {
            (last, since) = (done, Instant::now());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Whether it is no larger in the last third than in the first one, but for a quarter of a second's works.
fn is_steady(backlog: &[f64], rate: f64) -> bool {
    let third = (backlog.len() / 3).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let (first, last) = (
        &backlog[..third.min(backlog.len())],
        &backlog[backlog.len() - third.min(backlog.len())..],
    );
    mean(last) <= mean(first) + rate / 4.0
}

#[cfg(test)]
mod tests {
    use super::is_steady;

    #[test]
    fn a_backlog_that_comes_and_goes_is_steady() {
        let waves: Vec<f64> = (0..60).map(|place| f64::from(place % 10) * 100.0).collect();
        assert!(is_steady(&waves, 1000.0));
        assert!(is_steady(&[], 1000.0) && is_steady(&[5.0], 1000.0));
        let growing: Vec<f64> = (0..60).map(|place| f64::from(place) * 10.0).collect();
        assert!(!is_steady(&growing, 1000.0));
        let shrinking: Vec<f64> = growing.into_iter().rev().collect();
        assert!(is_steady(&shrinking, 1000.0));
    }
}
