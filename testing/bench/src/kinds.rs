//! How fast the queues of kinds with an effect are worked off: each work is claimed, handled, and recorded.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use pp_lib::domain::KindName;
use tokio::time::sleep;

use super::limits::claimed;
use super::queue::Queues;
use super::stand::{Place, Stand};
use super::statistics::number;
use super::{Goal, Line, Plan, letters};
use pp_chaos::ledger::{self, Ledger};
use pp_testkit::servers::Kind;

const WORKER: &str = "pp_bench_worker";
/// The kinds at once.
const KINDS: usize = 20;
/// The longest a drain may take.
const LIMIT: Duration = Duration::from_secs(900);
const PAUSE: Duration = Duration::from_millis(10);

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let one = names(1)?;
    let many = names(KINDS)?;
    let (mut raw, mut alone, mut together) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        raw.push(claimed::rate(stand, plan.demands)?);
        alone.push(drain(stand, &one, plan.demands)?);
        together.push(drain(stand, &many, plan.demands)?);
    }
    let demands = number(plan.demands as f64);
    Ok(vec![
        Line::new(
            "drain of one kind, 500 bytes in and 200 out, handled after its claim",
            "works/s",
            alone,
        )
        .limit(claimed::WHAT, &raw)
        .goal(Goal::TimesLimit(0.85))
        .note(format!(
            "{demands} demands, one worker with this kind alone; from the first claim until all is committed; rows and \
             events exact in every run"
        )),
        Line::new(format!("drain of {KINDS} such kinds at once"), "works/s", together)
            .limit(claimed::WHAT, &raw)
            .note(format!(
                "{demands} demands of all kinds together, one worker with all of them"
            )),
    ])
}

fn names(count: usize) -> Result<Vec<KindName>> {
    (0..count)
        .map(|number| Ok(format!("bench.letter_{number}").parse()?))
        .collect()
}

/// Starts a worker for these kinds.
pub(super) fn worker(
    stand: &Stand,
    name: &'static str,
    place: &Place,
    kinds: &[KindName],
) -> Result<pp_testkit::service::Service> {
    let names: Vec<&str> = kinds.iter().map(KindName::as_str).collect();
    let mut variables = stand.variables(place)?;
    variables.push((letters::KINDS, names.join(",")));
    stand.service(name, WORKER, variables)
}

/// Works a second, from the first claim until all are done.
fn drain(stand: &Stand, kinds: &[KindName], demands: usize) -> Result<f64> {
    let place = stand.place("kinds")?;
    let url = stand.servers.url(Kind::RabbitMq)?;
    let each = demands / kinds.len();
    let all = i64::try_from(each * kinds.len())?;
    let rate = stand.runtime.block_on(async {
        let ledger = Ledger::connect(&place.database).await?;
        let queues = Queues::declare(&url, &place.queues, kinds).await?;
        for kind in kinds {
            queues.fill(kind, each, letters::args).await?;
        }
        let begun = Instant::now();
        let mut worker = worker(stand, "kinds-worker", &place, kinds)?;
        // The highest id is cheap to ask for; that no id was skipped is asked for in the end.
        while ledger.highest_id().await? < all || ledger.done().await? < all {
            ensure!(begun.elapsed() < LIMIT, "not drained within {LIMIT:?}");
            worker.ensure_running()?;
            sleep(PAUSE).await;
        }
        let ended_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let first = ledger.first_above(0).await?;
        // What was not acknowledged comes back when its worker goes.
        worker.stop()?;
        let waiting = queues.waiting().await?;
        ensure!(waiting == 0, "{waiting} messages were not acknowledged");
        exact(&place.database, all, kinds.len()).await?;
        queues.delete().await?;
        anyhow::Ok(all as f64 / (ended_at - first))
    })?;
    stand.leave(place)?;
    Ok(rate)
}

/// Every work is done with its result and its three events in their order, and there is nothing else.
async fn exact(database: &str, works: i64, kinds: usize) -> Result<()> {
    let sql = format!(
        "WITH history AS (
            SELECT work_id, string_agg(split_part(variable::text, '/', 2), ' ' ORDER BY id) AS told
            FROM events GROUP BY work_id
        )
        SELECT count(*), count(*) FILTER (WHERE status = 'done' AND {} AND told = 'start stop result'),
            count(DISTINCT kind), (SELECT count(*) FROM events)
        FROM works LEFT JOIN history ON work_id = works.id",
        letters::RIGHT
    );
    let row = ledger::client(database).await?.query_one(&sql, &[]).await?;
    let counted: (i64, i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let right = (works, works, i64::try_from(kinds)?, 3 * works);
    ensure!(counted == right, "not exact: {counted:?} and not {right:?}");
    Ok(())
}
