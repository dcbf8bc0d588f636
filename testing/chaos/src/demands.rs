//! Demands in bulk, put into the queue the way a producer does.

use anyhow::{Result, ensure};
use bytes::Bytes;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use pp_lib::broker::{Broker as _, Outgoing, Published, Queue};
use pp_lib::domain::KindName;
use pp_lib::runtime::new_message_id;

/// The queues of RabbitMQ under a prefix of its own.
pub struct Demands {
    broker: RabbitMq,
}

impl Demands {
    /// Connects and declares the queues.
    ///
    /// # Errors
    /// When the broker does not let it in.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self> {
        Ok(Self {
            broker: RabbitMq::connect(url, QueueNames::new(prefix), RabbitMqConfig::default()).await?,
        })
    }

    /// Publishes so many demands, for the bounds 1 to 99 in turn, each confirmed; their identities.
    ///
    /// # Errors
    /// When not all are confirmed.
    pub async fn publish(&self, count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            let window: Vec<Outgoing> = (ids.len()..count.min(ids.len() + 2000)).map(demand).collect();
            let published = self.broker.publish(KindName::add_up_to(), &window).await?;
            ensure!(
                published.iter().all(|one| *one == Published::Confirmed),
                "not every demand was confirmed"
            );
            ids.extend(window.into_iter().map(|message| message.message_id.as_str().to_owned()));
        }
        Ok(ids)
    }

    /// How many wait in the queue, with nobody.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn waiting(&self) -> Result<u64> {
        Ok(self.broker.ready_messages(&Queue::sums()).await?)
    }

    /// How many dead letters wait in their queue.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn dead(&self) -> Result<u64> {
        Ok(self.broker.ready_messages(&Queue::DeadLetter).await?)
    }
}

fn demand(number: usize) -> Outgoing {
    let body = Bytes::from(format!(r#"{{"add_up_to":{},"done":false}}"#, number % 99 + 1));
    Outgoing {
        message_id: new_message_id(),
        row: None,
        new_work_code: None,
        unique: None,
        body,
    }
}
