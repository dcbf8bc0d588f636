//! Publishes with confirmations in windows: it sends a whole window, then awaits all of its answers.
//!
//! A call holds the link while it uses it, and returns only a good one. A failed or cancelled call therefore leaves
//! nothing behind, and the next call opens another link.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::poll;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation, PublisherConfirm};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::super::{BrokerError, Published, Queue, Result};
use super::connection::{Link, Purpose, Server};
use super::topology;

use crate::domain::{PART_BYTES, parts};
use crate::log_repeated;

/// The maximum number of messages in a window.
const WINDOW_MESSAGES: usize = 2_000;

/// The publishing side of a process. One call at a time has the link.
pub(super) struct Publisher {
    server: Arc<Server>,
    link: Mutex<Option<Link>>,
}

impl Publisher {
    /// A publisher without a link. The first call opens one.
    pub(super) fn new(server: Arc<Server>) -> Self {
        let link = Mutex::new(None);
        Self { server, link }
    }

    /// Takes an open link.
    pub(super) async fn begin_with(&self, link: Link) {
        *self.link.lock().await = Some(link);
    }

    /// Sends messages to a queue: properties, each with a message id, and bodies. After an error none was sent.
    pub(super) async fn publish(&self, queue: &Queue, messages: &[(BasicProperties, Bytes)]) -> Result<Vec<Published>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut place = self.turn().await?;
        let mut link = self.take_link(&mut place).await?;
        if let Err(error) = self.server.declare(&mut link, queue).await {
            // A refusal concerns this queue only.
            *place = Some(link).filter(Link::connected);
            return Err(error);
        }
        let mut outcomes = Vec::with_capacity(messages.len());
        for window in windows(messages) {
            let (published, healthy) = self.send(&link, queue, window).await;
            outcomes.extend(published);
            if !healthy {
                outcomes.resize(messages.len(), Published::Unconfirmed);
                // While the server is blocked, answers are only late.
                *place = link.blocked().then_some(link);
                return Ok(outcomes);
            }
        }
        let returned = outcomes
            .iter()
            .filter(|outcome| **outcome == Published::Returned)
            .count();
        *place = match returned {
            0 => Some(link),
            _ => self.declared_again(link, queue, returned).await,
        };
        Ok(outcomes)
    }

    /// Declares a queue.
    pub(super) async fn declare(&self, queue: &Queue) -> Result<()> {
        let mut place = self.turn().await?;
        let mut link = self.take_link(&mut place).await?;
        let declared = self.server.declare(&mut link, queue).await;
        *place = Some(link).filter(Link::connected);
        declared
    }

    /// The number of waiting messages in a queue. A missing queue counts as empty and is declared again.
    pub(super) async fn ready_messages(&self, queue: &Queue) -> Result<u64> {
        let mut place = self.turn().await?;
        let link = self.take_link(&mut place).await?;
        let ask = async {
            let channel = link.connection.create_channel().await?;
            topology::ready_messages(&channel, &self.server.names.get(queue)).await
        };
        let ready = timeout(self.server.config.answer_timeout, ask)
            .await
            .map_err(|_| self.server.no_answer("about a queue"))?
            .map_err(|error| self.server.lost(&error))?;
        *place = match ready {
            Some(_) => Some(link),
            None => self.declared_again(link, queue, 0).await,
        };
        Ok(ready.unwrap_or(0))
    }

    async fn turn(&self) -> Result<MutexGuard<'_, Option<Link>>> {
        let turn = timeout(self.server.config.confirm_timeout, self.link.lock()).await;
        turn.map_err(|_| self.server.no_answer("to those who publish before"))
    }

    /// Takes the link or opens another. A server that lacks memory or disk reads from no link, so a blocked link stays
    /// in its place. Another one would be blocked too.
    async fn take_link(&self, place: &mut Option<Link>) -> Result<Link> {
        if place.as_ref().is_some_and(Link::blocked) {
            return Err(BrokerError::Blocked);
        }
        if let Some(link) = place.take().filter(Link::connected) {
            return Ok(link);
        }
        let link = self.server.reopen(Purpose::Publish).await?;
        log_repeated!(Info, "connected to the broker, to publish", "");
        Ok(link)
    }

    /// Sends a window. Answers the outcomes, and `true` if the link is still good.
    async fn send(&self, link: &Link, queue: &Queue, window: &[(BasicProperties, Bytes)]) -> (Vec<Published>, bool) {
        let name = ShortString::from(self.server.names.get(queue));
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut outcomes = vec![Published::Unconfirmed; window.len()];
        let mut returned: HashSet<ShortString> = HashSet::new();
        let mut lost = None;
        let sent_and_answered = async {
            let mut sends = Vec::with_capacity(window.len());
            for (properties, body) in window {
                let properties = properties.clone();
                let send = link
                    .channel
                    .basic_publish("".into(), name.clone(), mandatory, body, properties);
                let mut send = Box::pin(send);
                // The poll queues the message on the connection in this order. Writing continues in the background.
                let first = poll!(send.as_mut());
                sends.push((send, first));
            }
            for (outcome, (send, first)) in outcomes.iter_mut().zip(sends) {
                let sent = match first {
                    Poll::Ready(sent) => sent,
                    Poll::Pending => send.await,
                };
                match answer(sent).await {
                    Ok(confirmation) => {
                        if confirmation.is_ack() {
                            *outcome = Published::Confirmed;
                        }
                        let message = confirmation.take_message();
                        returned.extend(message.and_then(|message| message.delivery.properties.message_id().clone()));
                    }
                    Err(error) => lost = Some(self.server.lost(&error)),
                }
            }
        };
        if timeout(self.server.config.confirm_timeout, sent_and_answered)
            .await
            .is_err()
        {
            lost = Some(self.server.no_answer("to published messages"));
        }
        if let Some(lost) = &lost {
            log_repeated!(Warn, "publishing", "{lost}");
        }
        // The library attaches a returned message to any confirmation, so only the ids are reliable.
        for (outcome, (properties, _)) in outcomes.iter_mut().zip(window) {
            if properties.message_id().as_ref().is_some_and(|id| returned.contains(id)) {
                *outcome = Published::Returned;
            }
        }
        (outcomes, lost.is_none())
    }

    /// Declares a missing queue for the next call. After a failure that call tries again.
    async fn declared_again(&self, mut link: Link, missing: &Queue, returned: usize) -> Option<Link> {
        link.forget(missing);
        let declared = self.server.declare(&mut link, missing).await;
        let then = match &declared {
            Ok(()) => "it is declared again".to_owned(),
            Err(error) => error.to_string(),
        };
        log_repeated!(
            Warn,
            format!("there was no queue {}", self.server.names.get(missing)),
            "{returned} messages came back; {then}"
        );
        Some(link).filter(Link::connected)
    }
}

async fn answer(sent: lapin::Result<PublisherConfirm>) -> lapin::Result<Confirmation> {
    sent?.await
}

fn windows(messages: &[(BasicProperties, Bytes)]) -> impl Iterator<Item = &[(BasicProperties, Bytes)]> {
    parts(messages, WINDOW_MESSAGES, PART_BYTES, |(_, body)| body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_limited_in_messages_and_bytes() {
        let lengths = |bodies: &[usize]| {
            let message = |length: &usize| (BasicProperties::default(), Bytes::from(vec![0; *length]));
            let messages: Vec<_> = bodies.iter().map(message).collect();
            windows(&messages).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&vec![1; 4_500]), [2_000, 2_000, 500]);
        assert_eq!(lengths(&[1, PART_BYTES, 1, PART_BYTES - 1, 1]), [2, 2, 1]);
    }
}
