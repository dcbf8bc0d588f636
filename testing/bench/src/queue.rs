//! The queues of several kinds, filled the way producers do it.

use anyhow::{Result, ensure};
use pp_chaos::queues;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Outgoing, Published, Queue};
use pp_lib::domain::{KindName, MessageId};
use pp_lib::runtime::new_message_id;

/// Messages in one publication.
pub(super) const WINDOW: usize = 2_000;

/// A client of RabbitMQ with the queues of these kinds.
pub(super) struct Queues {
    broker: RabbitMq,
    url: String,
    names: QueueNames,
    kinds: Vec<KindName>,
}

impl Queues {
    /// Connects and declares the queues.
    pub(super) async fn declare(url: &str, prefix: &str, kinds: &[KindName]) -> Result<Self> {
        let names = QueueNames::new(prefix);
        let broker = RabbitMq::connect(url, names.clone(), RabbitMqConfig::default()).await?;
        for kind in kinds {
            broker.declare(&Queue::Demand(kind.clone())).await?;
        }
        Ok(Self {
            broker,
            url: url.to_owned(),
            names,
            kinds: kinds.to_vec(),
        })
    }

    /// Puts so many demands with these arguments into the queue of a kind, each confirmed.
    pub(super) async fn fill(&self, kind: &KindName, demands: usize, args: impl Fn(usize) -> String) -> Result<()> {
        let numbers: Vec<usize> = (0..demands).collect();
        for window in numbers.chunks(WINDOW) {
            let messages = window.iter().map(|number| message(new_message_id(), args(*number)));
            self.publish(kind, &messages.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Puts one demand into the queue of a kind.
    pub(super) async fn put(&self, kind: &KindName, message_id: MessageId, args: String) -> Result<()> {
        self.publish(kind, &[message(message_id, args)]).await
    }

    async fn publish(&self, kind: &KindName, messages: &[Outgoing]) -> Result<()> {
        let published = self.broker.publish(kind, messages).await?;
        let all = published.iter().all(|one| *one == Published::Confirmed);
        ensure!(all, "not every demand was confirmed");
        Ok(())
    }

    /// How many demands wait in all of them.
    pub(super) async fn waiting(&self) -> Result<u64> {
        let mut waiting = 0;
        for kind in &self.kinds {
            waiting += self.broker.ready_messages(&Queue::Demand(kind.clone())).await?;
        }
        Ok(waiting)
    }

    /// Deletes those that do not belong to every place.
    pub(super) async fn delete(self) -> Result<()> {
        for kind in self.kinds.iter().filter(|kind| !kind.is_add_up_to()) {
            queues::delete(&self.url, &self.names.get(&Queue::Demand(kind.clone()))).await?;
        }
        Ok(())
    }
}

fn message(message_id: MessageId, args: String) -> Outgoing {
    Outgoing {
        message_id,
        row: None,
        new_work_code: None,
        unique: None,
        body: args.into(),
    }
}
