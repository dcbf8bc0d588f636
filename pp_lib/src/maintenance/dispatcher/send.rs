//! Sends due rows and redriven dead messages. Both are claimed, published, and released after the confirmation.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{BATCH, CLAIM_TIME, DispatchError, Dispatcher, Result};
use crate::broker::{Outgoing, Published, Resent};
use crate::domain::{DemandedRow, WorkDemand};
use crate::store::{Claim, Redriven};

/// The maximum number of dead messages sent together. Large ones are sent in smaller groups.
const REDRIVEN_BATCH: u16 = 20;
/// The number of batches sent before other tasks get their turn.
const BATCHES_IN_A_ROW: usize = 20;

impl Dispatcher {
    /// Sends due rows, or only those that fell due `within` that time. Answers `true` if all were sent. A long backlog
    /// is sent in parts, so that rescue and sweep get their turns.
    pub(super) async fn send_due(&self, within: Option<Duration>, shutdown: &CancellationToken) -> Result<bool> {
        for _ in 0..BATCHES_IN_A_ROW {
            if shutdown.is_cancelled() {
                return Ok(true);
            }
            let claims = self.store.claim(within, CLAIM_TIME, BATCH).await?;
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
                // No message was sent, so another dispatcher that reaches the broker need not wait for the claims to
                // expire.
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
            // The unmarked claims are given back. A message of them may be in the queue as well, which does no harm.
            self.store.give_back(claims).await?;
            return Err(DispatchError::NotTaken(missing, claims.len()));
        }
        Ok(())
    }

    /// Sends redriven dead messages. Unconfirmed ones are due again when their claims expire.
    pub(super) async fn send_redriven(&self) -> Result<()> {
        for _ in 0..BATCHES_IN_A_ROW {
            let redriven = self.store.claim_redriven(CLAIM_TIME, REDRIVEN_BATCH).await?;
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
