//! Works off claimed rows one after the other, without a broker. For tests: see [`crate::testing`].

use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{DemandedRow, Json, KindName};
use crate::feed::AnyFeed;
use crate::kinds::{HandledKind, Outlet};
use crate::store::{AnyStore, Claim, Completed, Completion, Outcome, Result};
use crate::worker::attempt::{Attempt, Attempts};
use crate::worker::metrics::Meter;

/// Runs the handler of a kind for each claimed row, as a consumer would for its message, and records the outcomes.
pub(crate) async fn work_off(store: &AnyStore, feed: &AnyFeed, kind: &HandledKind, claims: Vec<Claim>) -> Result<()> {
    let policy = kind.declaration.policy.clone();
    let attempts = Attempts {
        kind: kind.name.clone(),
        handler: Arc::clone(&kind.handler),
        outlet: Outlet::Store(store.clone(), feed.clone()),
        policy: watch::channel(policy.clone()).1,
        args_limit: Json::USUAL_LIMIT,
        meter: Arc::new(Meter::new(&kind.name)),
    };
    for claim in claims {
        let row = DemandedRow {
            work_code: claim.work_code,
            run: claim.run,
            failures: claim.failures,
            lost_leases: claim.lost_leases,
        };
        let attempt = Attempt::at_row(claim.message_id, None, row);
        let announcement = attempt.announcement(Outcome::running(policy.lease));
        let Completed::Started(args) = complete(store, &kind.name, announcement).await? else {
            continue;
        };
        let attempt = attempt.running(args);
        let (handling, context) = attempts.start(&attempt);
        let outcome = attempts.judge(&attempt, handling.await);
        if let Some(progress) = context.take_progress() {
            store
                .report_progress(&kind.name, &[(attempt.lease(), progress)])
                .await?;
        }
        if let Some(outcome) = outcome {
            complete(store, &kind.name, attempt.completion(outcome)).await?;
        }
        feed.announce();
    }
    Ok(())
}

async fn complete(store: &AnyStore, kind: &KindName, completion: Completion) -> Result<Completed> {
    let mut completed = store.complete(kind, &[completion]).await?;
    Ok(completed.pop().unwrap_or(Completed::Superseded))
}
