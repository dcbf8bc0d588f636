//! PP beside other job queues that need PostgreSQL alone: how fast each works off a full table of jobs that do nothing, in
//! turns on one server.
//!
//! A script for each peer puts its jobs in and works them off, with the settings for speed that its documentation names.
//! The look at the table and the clock are here, the same for all. How the peers are installed and run is in [`node`].

mod node;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use super::drain::now;
use super::http::Connection;
use super::stand::{Place, Stand};
use super::statistics::number;
use super::{Goal, Line, Plan, Spread, pull};
use node::{Node, Worked};
use pp_chaos::ledger;
use pp_testkit::service::Service;

/// The longest that a table may take.
const LIMIT: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(10);
/// The most works that one request may create.
const PART: usize = 1_000;
/// PP's jobs that are not done.
const UNFINISHED: &str = "works WHERE status <> 'done'";

/// A job queue of others.
struct Peer {
    /// Its package in npm.
    name: &'static str,
    version: &'static str,
    script: &'static str,
    /// Where its jobs are that are not done.
    unfinished: &'static str,
    /// What the script sets.
    settings: &'static str,
}

const PEERS: [Peer; 2] = [
    Peer {
        name: "graphile-worker",
        version: "0.18.0",
        script: include_str!("peers/graphile_worker.mjs"),
        unfinished: "graphile_worker._private_jobs",
        settings: "concurrentJobs 24, maxPoolSize 25, localQueue of 2,000, completeJobBatchDelay and failJobBatchDelay 0; \
                   addJobs with 10,000 at once",
    },
    Peer {
        name: "pg-boss",
        version: "12.38.0",
        script: include_str!("peers/pg_boss.mjs"),
        unfinished: "pgboss.job WHERE state <> 'completed'",
        settings: "batchSize 2,000, localConcurrency 4, burstWhenBatchFull, pollingIntervalSeconds 0.5, neither \
                   supervise nor schedule; insert with 10,000 at once",
    },
];

impl Peer {
    fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    fn file(&self) -> String {
        format!("{}.mjs", self.name)
    }
}

/// What came of one table, each per second.
#[derive(Clone, Copy, Debug)]
struct Run {
    enqueued: f64,
    done: f64,
}

pub(super) fn measure(stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
    let node = Node::install(&stand.file("peers"), &PEERS)?;
    let (mut own, mut others) = (Vec::new(), PEERS.map(|_| Vec::new()));
    for _ in 0..plan.rounds {
        own.push(ours(stand, plan.demands)?);
        for (peer, runs) in PEERS.iter().zip(&mut others) {
            let run = theirs(stand, &node, peer, plan.demands);
            runs.push(run.with_context(|| peer.title())?);
        }
    }
    Ok(lines(plan.demands, &own, &others))
}

fn ours(stand: &Stand, jobs: usize) -> Result<Run> {
    let place = stand.place("peers")?;
    let variables = pull::without_broker(stand, &place)?;
    let api = stand.api("peers-api", "pp_backend_api", variables.clone())?;
    let filling = stand.runtime.block_on(enqueue(api.port, jobs))?;
    drop(api);
    let start = || stand.service("peers-consumer", "task_consumer", variables);
    let (started, ended) = stand.runtime.block_on(work_off(&place, UNFINISHED, jobs, start))?;
    stand.leave(place)?;
    Ok(Run {
        enqueued: jobs as f64 / filling.as_secs_f64(),
        done: jobs as f64 / (ended - started),
    })
}

/// Puts so many sums into the database; how long that took.
async fn enqueue(port: u16, jobs: usize) -> Result<Duration> {
    let mut connection = Connection::open(port).await?;
    let begun = Instant::now();
    for first in (0..jobs).step_by(PART) {
        let part = vec![r#"{"add_up_to":42}"#; PART.min(jobs - first)];
        let reply = connection.post("/work/bulk", &format!("[{}]", part.join(","))).await?;
        ensure!(
            reply.status == 200,
            "a POST of {} works is answered with {}",
            part.len(),
            reply.status
        );
    }
    Ok(begun.elapsed())
}

fn theirs(stand: &Stand, node: &Node, peer: &Peer, jobs: usize) -> Result<Run> {
    let place = stand.place("peers")?;
    let filling = node.enqueue(peer, &place.database, jobs)?;
    let start = || node.worker(peer, &place.database);
    let (_, ended) = stand.runtime.block_on(work_off(&place, peer.unfinished, jobs, start))?;
    let Worked { started, handled } = node.worked(peer)?;
    ensure!(handled == jobs, "{handled} of {jobs} jobs were handled");
    stand.leave(place)?;
    Ok(Run {
        enqueued: jobs as f64 / filling,
        done: jobs as f64 / (ended - started),
    })
}

/// Has a full table worked off; the Unix seconds at which the worker was started and at which nothing was left.
async fn work_off(
    place: &Place,
    unfinished: &str,
    jobs: usize,
    start: impl FnOnce() -> Result<Service>,
) -> Result<(f64, f64)> {
    let client = ledger::client(&place.database).await?;
    let count = format!("SELECT count(*) FROM {unfinished}");
    let counted: i64 = client.query_one(&count, &[]).await?.try_get(0)?;
    ensure!(
        counted == i64::try_from(jobs)?,
        "{counted} of {jobs} jobs are in the table"
    );
    // Each is a transaction of its own.
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        client.batch_execute(statement).await?;
    }
    let any = client
        .prepare(&format!("SELECT EXISTS (SELECT FROM {unfinished})"))
        .await?;
    let (begun, started) = (Instant::now(), now()?);
    let mut worker = start()?;
    while client.query_one(&any, &[]).await?.try_get(0)? {
        ensure!(begun.elapsed() < LIMIT, "not done within {} s", LIMIT.as_secs());
        worker.ensure_running()?;
        sleep(PAUSE).await;
    }
    let ended = now()?;
    worker.stop()?;
    Ok((started, ended))
}

/// What was measured, PP first and next to the fastest of the others.
fn lines(jobs: usize, own: &[Run], others: &[Vec<Run>; PEERS.len()]) -> Vec<Line> {
    let done = |runs: &[Run]| runs.iter().map(|run| run.done).collect::<Vec<_>>();
    let enqueued = |runs: &[Run]| runs.iter().map(|run| run.enqueued).collect::<Vec<_>>();
    let what = |system: &str| format!("PostgreSQL alone, no-op jobs: {system}");
    let all = || PEERS.iter().zip(others);
    let median = |runs: &[Run]| Spread::of(&done(runs)).map_or(f64::NAN, |spread| spread.median);
    let fastest = all().max_by(|(_, one), (_, other)| median(one).total_cmp(&median(other)));
    let mut ours = Line::new(what("PP"), "jobs/s", done(own))
        .goal(Goal::TimesLimit(1.5))
        .note(format!(
            "{} sums in the table; from the start of the process until all are done, each with its result and four \
             events; one task_consumer, PP_BROKER_URL=database:",
            number(jobs as f64)
        ));
    if let Some((peer, runs)) = fastest {
        ours = ours.limit(peer.name, &done(runs));
    }
    let theirs = all().map(|(peer, runs)| {
        Line::new(what(&peer.title()), "jobs/s", done(runs)).note(format!(
            "from when its modules are loaded; one process of Node.js {}; {}",
            node::VERSION,
            peer.settings
        ))
    });
    let putting = |system: &str, runs| Line::new(format!("enqueued at once: {system}"), "jobs/s", enqueued(runs));
    let enqueues = all().map(|(peer, runs)| putting(&peer.title(), runs));
    let own_enqueue = putting("PP", own).note("POST /work/bulk with 1,000 at once, over one connection");
    std::iter::once(ours)
        .chain(theirs)
        .chain([own_enqueue])
        .chain(enqueues)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(done: f64) -> Vec<Run> {
        vec![Run { enqueued: 7.0, done }; 3]
    }

    #[test]
    fn ours_stands_next_to_the_fastest_of_the_others() {
        for (others, fastest) in [([20.0, 10.0], 0), ([10.0, 20.0], 1)] {
            let lines = lines(1000, &runs(30.0), &others.map(runs));
            let limit = lines[0].limit.as_ref().unwrap();
            assert_eq!(limit.what, PEERS[fastest].name);
            assert_eq!((lines[0].ratio(), lines[0].reached()), (Some(1.5), Some(true)));
        }
    }

    #[test]
    fn each_has_a_line_for_both_and_tells_its_settings() {
        let lines = lines(1000, &runs(30.0), &[20.0, 10.0].map(runs));
        assert_eq!(lines.len(), 2 * (PEERS.len() + 1));
        for (line, peer) in lines[1..].iter().zip(&PEERS) {
            assert!(line.what.contains(&peer.title()), "{}", line.what);
            assert!(line.notes[0].contains(peer.settings), "{:?}", line.notes);
        }
        assert!(lines[PEERS.len() + 1..].iter().all(|line| line.values == [7.0; 3]));
    }

    #[test]
    fn scripts_do_what_is_written_about_them() {
        let scripts = PEERS.map(|peer| (peer.name, peer.script));
        for (name, script) in scripts {
            assert!(script.contains(&format!("from \"{name}\"")), "{name}");
            assert!(script.contains("const PART = 10_000;"), "{name}");
        }
    }
}
