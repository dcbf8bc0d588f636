//! Sends due rows and redriven dead messages. Both are claimed, published, and released after the confirmation.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::blocked::Blocked;
use super::{BATCH, CLAIM_TIME, Dispatcher, Result};
use crate::broker::{Outgoing, Published, Resent};
use crate::domain::{DemandedRow, KindName, body_of_args, is_full};
use crate::maintenance::metrics;
use crate::store::{CLAIMED_BYTES, Claim, Redriven};

/// The maximum number of dead messages sent together. Large ones are sent in smaller groups.
const REDRIVEN_BATCH: u16 = 20;
/// The number of batches sent before other tasks get their turn.
const BATCHES_IN_A_ROW: usize = 20;

impl Dispatcher {
    /// Sends due rows, or only those that fell due `within` that time. Answers `true` if all were sent that may be sent
    /// now. A long backlog is sent in parts, so that rescue and sweep get their turns.
    pub(super) async fn send_due(
        &self,
        blocked: &mut Blocked,
        within: Option<Duration>,
        shutdown: &CancellationToken,
    ) -> Result<bool> {
        for _ in 0..BATCHES_IN_A_ROW {
            if shutdown.is_cancelled() {
                return Ok(true);
            }
            let claims = self.store.claim(&blocked.kinds(), within, CLAIM_TIME, BATCH).await?;
            if claims.is_empty() {
                return Ok(true);
            }
            let mut by_kind: BTreeMap<KindName, Vec<Claim>> = BTreeMap::new();
            for claim in claims {
                by_kind.entry(claim.kind.clone()).or_default().push(claim);
            }
            by_kind
                .iter()
                .for_each(|(kind, claims)| metrics::claimed(kind, claims.len()));
            let more = by_kind.values().any(|claims| may_have_more(claims));
            self.send_all(blocked, by_kind).await?;
            if !more {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends the claims of each kind. If the broker is away, all that were not sent are given back: another dispatcher
    /// that reaches it need not wait for the claims to expire.
    async fn send_all(&self, blocked: &mut Blocked, by_kind: BTreeMap<KindName, Vec<Claim>>) -> Result<()> {
        let mut kinds = by_kind.into_iter();
        while let Some((kind, claims)) = kinds.next() {
            if let Err(error) = self.send(blocked, &kind, &claims).await {
                let unsent: Vec<Claim> = kinds.flat_map(|(_, claims)| claims).chain(claims).collect();
                self.store.give_back(&unsent).await?;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn send(&self, blocked: &mut Blocked, kind: &KindName, claims: &[Claim]) -> Result<()> {
        let messages: Vec<Outgoing> = claims.iter().map(message).collect();
        let published = match self.broker.publish(kind, &messages).await {
            Ok(published) => published,
            Err(error) => {
                blocked.failed(kind, error)?;
                return Ok(self.store.give_back(claims).await?);
            }
        };
        let confirmed: Vec<Claim> = claims
            .iter()
            .zip(&published)
            .filter(|(_, published)| **published == Published::Confirmed)
            .map(|(claim, _)| claim.clone())
            .collect();
        self.store.mark_sent(&confirmed).await?;
        if not_taken(blocked, kind, &published) > 0 {
            // The unmarked claims are given back. A message of them may be in the queue as well, which does no harm.
            self.store.give_back(claims).await?;
        }
        Ok(())
    }

    /// Sends redriven dead messages. Unconfirmed ones are due again when their claims expire.
    pub(super) async fn send_redriven(&self, blocked: &mut Blocked) -> Result<()> {
        for _ in 0..BATCHES_IN_A_ROW {
            let redriven = self.store.claim_redriven(CLAIM_TIME, REDRIVEN_BATCH).await?;
            if redriven.is_empty() {
                break;
            }
            let mut by_kind: BTreeMap<KindName, Vec<Redriven>> = BTreeMap::new();
            for one in redriven {
                by_kind.entry(one.kind.clone()).or_default().push(one);
            }
            for (kind, redriven) in by_kind {
                self.send_again(blocked, &kind, redriven).await?;
            }
        }
        Ok(())
    }

    async fn send_again(&self, blocked: &mut Blocked, kind: &KindName, redriven: Vec<Redriven>) -> Result<()> {
        let messages: Vec<Resent> = redriven.iter().map(resent).collect();
        let published = match self.broker.resend(kind, &messages).await {
            Ok(published) => published,
            Err(error) => return blocked.failed(kind, error),
        };
        not_taken(blocked, kind, &published);
        let sent: Vec<Redriven> = (redriven.into_iter().zip(published))
            .filter(|(_, published)| *published == Published::Confirmed)
            .map(|(redriven, _)| redriven)
            .collect();
        self.store.end_redriven(&sent).await?;
        log::info!("{} dead messages of kind {kind} were sent again", sent.len());
        Ok(())
    }
}

/// True if a claim of one kind ended because of its bounds.
fn may_have_more(claims: &[Claim]) -> bool {
    let bytes = usize::try_from(CLAIMED_BYTES).unwrap_or(usize::MAX);
    claims.len() >= usize::from(BATCH) || is_full(claims, bytes, |claim| claim.args.bytes())
}

/// Notes if the broker took all messages of a kind; returns the number of those that it did not take.
fn not_taken(blocked: &mut Blocked, kind: &KindName, published: &[Published]) -> usize {
    let all = published.len();
    let missing = published.iter().filter(|one| **one != Published::Confirmed).count();
    match missing {
        0 => blocked.taken(kind),
        _ => blocked.not_taken(
            kind,
            &format!("{missing} of {all} messages were not taken by the broker"),
        ),
    }
    missing
}

fn resent(redriven: &Redriven) -> Resent {
    Resent {
        message_id: redriven.message_id.clone(),
        properties: redriven.properties.clone(),
        body: redriven.body.clone(),
    }
}

fn message(claim: &Claim) -> Outgoing {
    Outgoing {
        message_id: claim.message_id.clone(),
        row: Some(DemandedRow {
            work_code: claim.work_code.clone(),
            run: claim.run,
            failures: claim.failures,
            lost_leases: claim.lost_leases,
        }),
        new_work_code: None,
        unique: None,
        body: Bytes::from(body_of_args(&claim.kind, &claim.args)),
    }
}
