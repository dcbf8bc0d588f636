//! Who does for all processes what one has to do.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;

/// Leases by name, on the store's clock: a holder that falls silent loses it, frozen or dead.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease that is free or ran out, or extends it; whether this holder has it now. Leases that ran out a day ago
    /// are forgotten on the way.
    async fn hold(&self, name: &str, holder: &str, hold: Duration) -> Result<bool>;

    /// Lets go of a lease, if this holder has it, so that the next one need not wait.
    async fn release(&self, name: &str, holder: &str) -> Result<()>;

    /// How many leases are held whose names begin like this.
    async fn held(&self, prefix: &str) -> Result<u64>;
}
