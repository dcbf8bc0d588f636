//! The demands' actor: publishes waiting demands as one batch, confirmed in one round trip.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::broker::Published;
use crate::enqueue::{DemandSink, NewDemand};
use crate::log_repeated;
use crate::serving::actors::mailbox::{Mailbox, MailboxOptions, Reply, open};
use crate::serving::actors::{Actor, ActorError};

/// The maximum number of demands in a batch.
const BATCH: usize = 512;

/// The outcome of offering a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferOutcome {
    /// The demand is confirmed and will be computed.
    Confirmed,
    /// The demand may or may not be computed. It may be offered again.
    NotConfirmed,
    /// Another demand with the same identity was offered at the same time.
    OtherDemand,
}

/// Sends demands to their actor.
#[derive(Clone)]
pub struct DemandHandle(Mailbox<NewDemand, OfferOutcome>);

impl DemandHandle {
    /// Starts the actor on the current runtime. At most `mailbox` demands may wait, and the sink may take up to `limit`
    /// per batch.
    pub fn start(sink: Arc<dyn DemandSink>, mailbox: usize, limit: Duration) -> (Actor, Self) {
        let actor = Actor::default();
        let options = MailboxOptions {
            name: "demands",
            capacity: mailbox,
            batch: BATCH,
            // The broker connection publishes one batch at a time; the next batch grows meanwhile.
            lanes: 1,
        };
        let mailbox = open(&actor, options, move |demands, replies| {
            offer(Arc::clone(&sink), demands, replies, limit)
        });
        (actor, Self(mailbox))
    }

    /// Offers a demand and waits for its outcome.
    pub async fn offer(&self, demand: NewDemand) -> Result<OfferOutcome, ActorError> {
        self.0.ask(demand).await
    }
}

async fn offer(sink: Arc<dyn DemandSink>, demands: Vec<NewDemand>, replies: Vec<Reply<OfferOutcome>>, limit: Duration) {
    let (demands, replies) = distinct(demands, replies);
    let answers = match timeout(limit, sink.offer(&demands)).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            log_repeated!(Warn, "demands were not taken", "{} of them: {error}", demands.len());
            Vec::new()
        }
        Err(_) => {
            log_repeated!(
                Warn,
                "demands were not taken",
                "{} of them within {limit:?}",
                demands.len()
            );
            Vec::new()
        }
    };
    for (place, waiting) in replies.into_iter().enumerate() {
        let offered = match answers.get(place) {
            Some(Published::Confirmed) => OfferOutcome::Confirmed,
            _ => OfferOutcome::NotConfirmed,
        };
        for reply in waiting {
            // The send fails if the caller no longer waits.
            let _ = reply.send(Ok(offered));
        }
    }
}

/// Merges equal demands and their replies: a repeated demand may arrive while the first one still waits.
fn distinct(
    demands: Vec<NewDemand>,
    replies: Vec<Reply<OfferOutcome>>,
) -> (Vec<NewDemand>, Vec<Vec<Reply<OfferOutcome>>>) {
    let (mut merged, mut waiting) = (Vec::<NewDemand>::new(), Vec::new());
    let mut places = HashMap::with_capacity(demands.len());
    for (demand, reply) in demands.into_iter().zip(replies) {
        match places.entry(demand.message_id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(merged.len());
                merged.push(demand);
                waiting.push(vec![reply]);
            }
            Entry::Occupied(place) if merged[*place.get()] == demand => waiting[*place.get()].push(reply),
            Entry::Occupied(_) => {
                let _ = reply.send(Ok(OfferOutcome::OtherDemand));
            }
        }
    }
    (merged, waiting)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures_util::future::join_all;

    use super::*;
    use crate::broker::BrokerError;
    use crate::domain::{AddUpTo, KindName, MessageId};
    use crate::enqueue::SinkError;

    /// Records each offer. Answering takes a permit.
    struct RecordingSink {
        offers: Mutex<Vec<Vec<String>>>,
        gate: tokio::sync::Semaphore,
    }

    #[async_trait]
    impl DemandSink for RecordingSink {
        async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError> {
            let ids: Vec<_> = demands.iter().map(|demand| demand.message_id.to_string()).collect();
            self.offers.lock().unwrap().push(ids.clone());
            self.gate.acquire().await.unwrap().forget();
            if ids.iter().any(|id| id == "away") {
                return Err(BrokerError::Blocked.into());
            }
            let answer = |id: &String| match id.as_str() {
                "refused" => Published::Unconfirmed,
                _ => Published::Confirmed,
            };
            Ok(ids.iter().map(answer).collect())
        }
    }

    fn demand(id: &str, bound: &str) -> NewDemand {
        NewDemand {
            message_id: MessageId::try_from(id.to_owned()).unwrap(),
            kind: KindName::default(),
            args: bound.parse::<AddUpTo>().unwrap().args(),
            work_code: None,
            unique: None,
        }
    }

    async fn answers(
        limit: Duration,
        permits: usize,
        demands: &[(&str, &str)],
    ) -> (Vec<OfferOutcome>, Vec<Vec<String>>) {
        let sink = Arc::new(RecordingSink {
            offers: Mutex::default(),
            gate: tokio::sync::Semaphore::new(permits),
        });
        let (actor, handle) = DemandHandle::start(sink.clone(), 100, limit);
        let offers = demands.iter().map(|(id, bound)| handle.offer(demand(id, bound)));
        let answers = join_all(offers).await.into_iter().map(Result::unwrap).collect();
        actor.stop().await;
        let offers = sink.offers.lock().unwrap().clone();
        (answers, offers)
    }

    #[tokio::test]
    async fn waiting_demands_are_published_together_and_each_identity_once() {
        use OfferOutcome::{Confirmed, NotConfirmed, OtherDemand};
        let demands = [("a", "1"), ("b", "2"), ("a", "1"), ("a", "3"), ("refused", "4")];
        let (answers, offers) = answers(Duration::from_secs(60), 9, &demands).await;
        assert_eq!(answers, [Confirmed, Confirmed, Confirmed, OtherDemand, NotConfirmed]);
        assert_eq!(offers, [["a", "b", "refused"]]);
    }

    #[tokio::test]
    async fn an_unavailable_sink_confirms_nothing() {
        let (answers, _) = answers(Duration::from_secs(60), 9, &[("a", "1"), ("away", "2")]).await;
        assert_eq!(answers, [OfferOutcome::NotConfirmed; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_sink_is_abandoned_at_the_limit() {
        let (answers, _) = answers(Duration::from_secs(5), 0, &[("a", "1")]).await;
        assert_eq!(answers, [OfferOutcome::NotConfirmed]);
    }
}
