//! Leases by name: one process does something for all.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;

/// Leases by name, on the store's clock: a holder that falls silent loses it, frozen or dead.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease that is free or ran out, or extends it. Returns whether this holder has it now. Also removes
    /// leases that ran out a day ago.
    async fn hold(&self, name: &str, holder: &str, hold: Duration) -> Result<bool>;

    /// Releases a lease that this holder has, so that the next one need not wait.
    async fn release(&self, name: &str, holder: &str) -> Result<()>;

    /// The number of held leases whose names begin with this.
    async fn held(&self, prefix: &str) -> Result<u64>;
}
