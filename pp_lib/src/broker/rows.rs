//! The broker of a system without one: demands are rows, and consumers claim them from the store. It carries nothing.

use async_trait::async_trait;

use super::queues::NamesOfKind;
use super::{Broker, BrokerError, DeadLetter, Outgoing, Prefetch, Published, Queue, Resent, Result, Subscription};
use crate::domain::KindName;

/// Carries no messages, see the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows;

/// The error of everything that needs messages.
fn none() -> BrokerError {
    BrokerError::Rejected("works are rows here, and no messages are sent".to_owned())
}

#[async_trait]
impl Broker for Rows {
    async fn publish(&self, _: &KindName, _: &[Outgoing]) -> Result<Vec<Published>> {
        Err(none())
    }

    async fn resend(&self, _: &KindName, _: &[Resent]) -> Result<Vec<Published>> {
        Err(none())
    }

    async fn dead_letter(&self, _: &[DeadLetter]) -> Result<()> {
        Err(none())
    }

    async fn subscribe(&self, _: &Queue, _: Prefetch) -> Result<Box<dyn Subscription>> {
        Err(none())
    }

    async fn ready_messages(&self, _: &Queue) -> Result<u64> {
        Ok(0)
    }

    fn name_queues(&self, _: &[NamesOfKind<'_>]) -> Vec<String> {
        Vec::new()
    }

    fn dead_letter_queues(&self) -> Vec<(Queue, KindName)> {
        Vec::new()
    }

    fn durable(&self) -> bool {
        false
    }

    fn carries(&self) -> bool {
        false
    }
}
