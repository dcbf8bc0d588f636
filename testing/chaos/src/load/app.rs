//! An application that puts works in with `pp_enqueue`, in transactions of its own: some commit, some are rolled back.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use super::{Database, RETRY_PAUSE, Shared, any_ask, at_a_rate};
use crate::asks::Ask;
use crate::ledger;
use crate::told::Identity;

const INTERVAL: Duration = Duration::from_millis(150);
const ENQUEUE: &str = "SELECT work_code FROM pp_enqueue($1, $2::text::json)";

/// How a transaction ended.
enum Ended {
    Committed,
    RolledBack,
    /// The server did not answer to the commit.
    Unknown,
}

/// Puts works in until the load stops.
pub(super) fn run(shared: &Shared, database: &Database, mut rng: StdRng) {
    let mut client: Option<Client> = None;
    at_a_rate(shared, INTERVAL, || {
        let asks: Vec<Ask> = (0..rng.random_range(1..=6)).map(|_| any_ask(&mut rng)).collect();
        let commits = rng.random_range(0..5) > 0;
        let transaction = async {
            if client.as_ref().is_none_or(Client::is_closed) {
                client = Some(ledger::client(&database.url).await?);
            }
            match &mut client {
                Some(client) => transact(client, &asks, commits).await,
                None => Ok((Vec::new(), Ended::RolledBack)),
            }
        };
        match database.runtime.block_on(transaction) {
            Ok((codes, ended)) => note(shared, &asks, codes, &ended),
            // No statement but the commit makes anything of it, so there never was such a work.
            Err(_) => thread::sleep(RETRY_PAUSE),
        }
    });
}

/// One transaction; the codes of its works.
async fn transact(client: &mut Client, asks: &[Ask], commits: bool) -> Result<(Vec<String>, Ended)> {
    let transaction = client.transaction().await?;
    let mut codes = Vec::new();
    for ask in asks {
        let row = transaction.query_one(ENQUEUE, &[&ask.kind(), &ask.args()]).await?;
        codes.push(row.try_get(0)?);
    }
    if !commits {
        transaction.rollback().await?;
        return Ok((codes, Ended::RolledBack));
    }
    let ended = match transaction.commit().await {
        Ok(()) => Ended::Committed,
        Err(_) => Ended::Unknown,
    };
    Ok((codes, ended))
}

fn note(shared: &Shared, asks: &[Ask], codes: Vec<String>, ended: &Ended) {
    match ended {
        Ended::Committed => {
            for (code, ask) in codes.into_iter().zip(asks) {
                shared.acknowledge(Identity::Code(code), Some(*ask));
            }
        }
        Ended::RolledBack => shared.told().rolled_back.extend(codes),
        Ended::Unknown => shared.told().indeterminate.extend(asks.iter().copied().map(Some)),
    }
}
