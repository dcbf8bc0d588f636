//! What a dispatcher sends: rows that are due, and dead messages that somebody wants to run again. Both are claimed,
//! published, and after the confirmation let go of.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{BATCH, DispatchError, Dispatcher, HOLD, Result};
use crate::broker::{Outgoing, Published, Resent};
use crate::domain::{DemandedRow, WorkDemand};
use crate::store::{Claim, Redriven};

/// How many dead messages are sent again together, or fewer when they are large.
const REDRIVEN_BATCH: u16 = 20;
/// How many batches are sent before anything else is looked after.
const BATCHES_IN_A_ROW: usize = 20;

impl Dispatcher {
    /// Sends what is due and fell due `within` that time, if given; whether that was all. Not all of a long backlog is
    /// sent at once, so that rescue and sweep have their turns.
    pub(super) async fn send_due(&self, within: Option<Duration>, shutdown: &CancellationToken) -> Result<bool> {
        for _ in 0..BATCHES_IN_A_ROW {
            if shutdown.is_cancelled() {
                return Ok(true);
            }
            let claims = self.store.claim(within, HOLD, BATCH).await?;
            if claims.is_empty() {
                return Ok(true);
            }
            self.send(&claims).await?;
        }
        Ok(false)
    }

    async fn send(&self, claims: &[Claim]) -> Result<()> {
        let messages: Vec<Outgoing> = claims.iter().map(message).collect();
        let published = match self.broker.publish(&messages).await {
            Ok(published) => published,
            Err(error) => {
                // Nothing was sent: the next dispatcher that reaches the broker need not wait for the claims to run out.
                self.store.give_back(claims).await?;
                return Err(error.into());
            }
        };
        let confirmed: Vec<Claim> = claims
            .iter()
            .zip(published)
            .filter(|(_, published)| *published == Published::Confirmed)
            .map(|(claim, _)| claim.clone())
            .collect();
        self.store.mark_sent(&confirmed).await?;
        let missing = claims.len() - confirmed.len();
        if missing > 0 {
            // Those that are not marked are the ones given back; which may be in the queue as well, which does no harm.
            self.store.give_back(claims).await?;
            return Err(DispatchError::NotTaken(missing, claims.len()));
        }
        Ok(())
    }

    /// Sends dead messages that somebody wants to run again. Those that are not confirmed are due again when their
    /// claims run out.
    pub(super) async fn send_redriven(&self) -> Result<()> {
        for _ in 0..BATCHES_IN_A_ROW {
            let redriven = self.store.claim_redriven(HOLD, REDRIVEN_BATCH).await?;
            if redriven.is_empty() {
                break;
            }
            self.send_again(redriven).await?;
        }
        Ok(())
    }

    async fn send_again(&self, redriven: Vec<Redriven>) -> Result<()> {
        let messages: Vec<Resent> = redriven.iter().map(resent).collect();
        let published = self.broker.resend(&messages).await?;
        let all = redriven.len();
        let sent: Vec<Redriven> = (redriven.into_iter().zip(published))
            .filter(|(_, published)| *published == Published::Confirmed)
            .map(|(redriven, _)| redriven)
            .collect();
        self.store.end_redriven(&sent).await?;
        log::info!("{} dead messages were sent again", sent.len());
        match all - sent.len() {
            0 => Ok(()),
            missing => Err(DispatchError::NotTaken(missing, all)),
        }
    }
}

fn resent(redriven: &Redriven) -> Resent {
    Resent {
        message_id: redriven.message_id.clone(),
        properties: redriven.properties.clone(),
        body: redriven.body.clone(),
    }
}

fn message(claim: &Claim) -> Outgoing {
    let demand = WorkDemand {
        add_up_to: claim.add_up_to,
        done: false,
    };
    Outgoing {
        message_id: claim.message_id.clone(),
        row: Some(DemandedRow {
            work_code: claim.work_code.clone(),
            run: claim.run,
            failures: claim.failures,
            lost_leases: claim.lost_leases,
        }),
        new_work_code: None,
        body: Bytes::from(serde_json::to_vec(&demand).unwrap_or_else(|_| unreachable!("two plain fields"))),
    }
}
