//! The demands' actor: what is asked for at the same time goes out together and is confirmed in one round trip.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Published;
use crate::enqueue::{DemandSink, NewDemand};
use crate::log_repeated;
use crate::serving::ActorError;
use crate::serving::actors::mailbox::{Ask, Keeping, Mailbox, Reply, open};

/// How many demands go out together at most.
const BATCH: usize = 512;

/// What became of a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It will be computed.
    Safe,
    /// It may be computed or not: the same demand, offered again, is.
    NotConfirmed,
    /// Another demand with the same identity was offered at the same time.
    OtherDemand,
}

/// The running actor, owned by whoever stops it.
#[derive(Debug)]
pub struct DemandActor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How demands are handed over.
#[derive(Clone)]
pub struct DemandHandle(Mailbox<NewDemand, Offered>);

impl DemandActor {
    /// Starts the actor on the runtime this is called from. So many demands may wait, and the sink may take so long.
    pub fn start(sink: Arc<dyn DemandSink>, mailbox: usize, patience: Duration) -> (Self, DemandHandle) {
        let actor = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let keeping = Keeping {
            name: "demands",
            capacity: mailbox,
            batch: BATCH,
            // The way to a broker is used by one at a time; meanwhile the next batch grows.
            lanes: 1,
        };
        let mailbox = open(keeping, &actor.tasks, &actor.stop, move |asks| {
            offer(Arc::clone(&sink), asks, patience)
        });
        (actor, DemandHandle(mailbox))
    }

    /// Answers what waits, refuses what still comes, and returns when nothing is under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl DemandHandle {
    /// Offers a demand and waits for what becomes of it.
    pub async fn offer(&self, demand: NewDemand) -> Result<Offered, ActorError> {
        self.0.ask(demand).await
    }
}

async fn offer(sink: Arc<dyn DemandSink>, asks: Vec<Ask<NewDemand, Offered>>, patience: Duration) {
    let (demands, replies) = distinct(asks);
    let answers = match timeout(patience, sink.offer(&demands)).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            log_repeated!(Warn, "demands were not taken", "{} of them: {error}", demands.len());
            Vec::new()
        }
        Err(_) => {
            log_repeated!(
                Warn,
                "demands were not taken",
                "{} of them within {patience:?}",
                demands.len()
            );
            Vec::new()
        }
    };
    for (place, waiting) in replies.into_iter().enumerate() {
        let offered = match answers.get(place) {
            Some(Published::Confirmed) => Offered::Safe,
            _ => Offered::NotConfirmed,
        };
        for reply in waiting {
            // Whoever does not wait any more is not told.
            let _ = reply.send(Ok(offered));
        }
    }
}

/// Each demand once, with all who wait for it: one that is sent again may come while it is still under way.
fn distinct(asks: Vec<Ask<NewDemand, Offered>>) -> (Vec<NewDemand>, Vec<Vec<Reply<Offered>>>) {
    let (mut demands, mut replies) = (
        Vec::<NewDemand>::with_capacity(asks.len()),
        Vec::with_capacity(asks.len()),
    );
    let mut places = HashMap::with_capacity(asks.len());
    for Ask { question, reply } in asks {
        match places.entry(question.message_id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(demands.len());
                demands.push(question);
                replies.push(vec![reply]);
            }
            Entry::Occupied(place) if demands[*place.get()] == question => replies[*place.get()].push(reply),
            Entry::Occupied(_) => {
                let _ = reply.send(Ok(Offered::OtherDemand));
            }
        }
    }
    (demands, replies)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures_util::future::join_all;

    use super::*;
    use crate::broker::BrokerError;
    use crate::domain::MessageId;
    use crate::enqueue::SinkError;

    /// Notes what it is offered, and answers in its way, as often as it has a permit.
    struct Notes {
        offers: Mutex<Vec<Vec<String>>>,
        gate: tokio::sync::Semaphore,
    }

    #[async_trait]
    impl DemandSink for Notes {
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
            add_up_to: bound.parse().unwrap(),
            work_code: None,
        }
    }

    async fn answers(patience: Duration, permits: usize, demands: &[(&str, &str)]) -> (Vec<Offered>, Vec<Vec<String>>) {
        let sink = Arc::new(Notes {
            offers: Mutex::default(),
            gate: tokio::sync::Semaphore::new(permits),
        });
        let (actor, handle) = DemandActor::start(sink.clone(), 100, patience);
        let offers = demands.iter().map(|(id, bound)| handle.offer(demand(id, bound)));
        let answers = join_all(offers).await.into_iter().map(Result::unwrap).collect();
        actor.stop().await;
        let offers = sink.offers.lock().unwrap().clone();
        (answers, offers)
    }

    #[tokio::test]
    async fn what_waits_goes_out_together_and_each_identity_once() {
        use Offered::{NotConfirmed, OtherDemand, Safe};
        let demands = [("a", "1"), ("b", "2"), ("a", "1"), ("a", "3"), ("refused", "4")];
        let (answers, offers) = answers(Duration::from_secs(60), 9, &demands).await;
        assert_eq!(answers, [Safe, Safe, Safe, OtherDemand, NotConfirmed]);
        assert_eq!(offers, [["a", "b", "refused"]]);
    }

    #[tokio::test]
    async fn a_sink_that_is_away_has_taken_nothing_for_sure() {
        let (answers, _) = answers(Duration::from_secs(60), 9, &[("a", "1"), ("away", "2")]).await;
        assert_eq!(answers, [Offered::NotConfirmed; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_hangs_is_not_waited_for_longer_than_allowed() {
        let (answers, _) = answers(Duration::from_secs(5), 0, &[("a", "1")]).await;
        assert_eq!(answers, [Offered::NotConfirmed]);
    }
}
