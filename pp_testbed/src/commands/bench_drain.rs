//! `bench-drain`: how fast one consumer process works off a full queue. It prints and asserts nothing but that the
//! result is exact; a figure that is wrong is worth less than none.

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use pp_testbed::demands::Demands;
use pp_testbed::ledger::Ledger;
use pp_testbed::servers::{Choice, Kind, Provided};

use super::install;

const PREFIX: &str = "pp.bench";
/// The longest a round may take.
const LIMIT: Duration = Duration::from_secs(600);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many demands are in the queue.
    #[arg(long, default_value = "20000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    demands: u32,
    /// How often it is repeated, each time on an empty database.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

pub(crate) fn run(args: &Args, choice: Choice) -> Result<ExitCode> {
    let compose = choice.is_compose()?;
    let kinds = [Kind::RabbitMq, Kind::Postgres];
    if !compose {
        install::ensure(&kinds)?;
    }
    let servers = Provided::temporary(compose, &kinds)?;
    let urls = (servers.url(Kind::Postgres)?, servers.url(Kind::RabbitMq)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut rates = Vec::new();
    println!(
        "demands in the queue: {}, consumers: 1, fsync and synchronous_commit on",
        args.demands
    );
    for round in 1..=args.rounds {
        let Drained { seconds, from_start } = runtime.block_on(drain(args.demands, round, &urls.0, &urls.1))?;
        let rate = f64::from(args.demands) / seconds;
        println!("round {round}: {seconds:.3} s, {rate:.0} works/s ({from_start:.3} s from the start of the process)");
        rates.push(rate);
    }
    rates.sort_by(f64::total_cmp);
    let (low, median, high) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
    println!("median {median:.0} works/s (lowest {low:.0}, highest {high:.0}); rows and events exact in every round");
    Ok(ExitCode::SUCCESS)
}

struct Drained {
    /// From the first work's creation until all are committed.
    seconds: f64,
    from_start: f64,
}

async fn drain(demands: u32, round: u32, postgres: &str, rabbitmq: &str) -> Result<Drained> {
    let database = Ledger::create_database(postgres, &format!("drain_{round}")).await?;
    let prefix = format!("{PREFIX}.{round}");
    migrate(&database).await?;
    let ids = Demands::connect(rabbitmq, &prefix)
        .await?
        .publish(demands as usize)
        .await?;
    let ledger = Ledger::connect(&database).await?;

    let started = Instant::now();
    let consumer = Consumer::start(&database, rabbitmq, &prefix)?;
    while ledger.highest_id().await? < i64::from(demands) {
        ensure!(started.elapsed() < LIMIT, "not drained within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let drained = Drained {
        seconds: ledger.seconds_since_first().await?,
        from_start: started.elapsed().as_secs_f64(),
    };
    drop(consumer);

    let (account, lost) = (ledger.account().await?, ledger.lost(&ids).await?);
    let demands = i64::from(demands);
    ensure!(
        account.done == demands && account.unfinished == 0 && account.wrong_history == 0,
        "the result is not exact: {account:?}"
    );
    ensure!(
        account.events == 3 * demands && account.orphans == 0 && lost.is_empty(),
        "not exact: {account:?}"
    );
    Ok(drained)
}

async fn migrate(database: &str) -> Result<()> {
    let config = PostgresConfig {
        url: database.to_owned(),
        pool: 1,
        timeout: Duration::from_secs(10),
    };
    Ok(PostgresStore::open(config)
        .await?
        .migrate(Duration::from_secs(60))
        .await?)
}

/// A consumer process of the same build; it is ended with this value.
struct Consumer(Child);

impl Consumer {
    fn start(database: &str, broker: &str, prefix: &str) -> Result<Self> {
        let program = sibling("task_consumer")?;
        let child = Command::new(&program)
            .env("PP_DATABASE_URL", database)
            .env("PP_BROKER_URL", broker)
            .env("PP_QUEUE_PREFIX", prefix)
            .env("PP_PROBE_BIND", "off")
            .env("PP_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sibling(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(
        program.is_file(),
        "{} is not built; `make bench-drain` builds it",
        program.display()
    );
    Ok(program)
}
