//! Heavy work, imitated: each addition takes its time.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Computation, ComputeError, Computing, Task};

/// The longest that a paced work may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// A computation that takes `pace` for each of the numbers up to the bound.
pub struct Paced {
    inner: Arc<dyn Computation>,
    pace: Duration,
}

/// The computation of this system, slowed down if `pace` is not zero. To compute something else, name it here.
pub fn computation(pace: Duration) -> Arc<dyn Computation> {
    let inner: Arc<dyn Computation> = Arc::new(crate::domain::AddUpToSum);
    if pace.is_zero() {
        inner
    } else {
        Arc::new(Paced { inner, pace })
    }
}

impl Computation for Paced {
    fn compute(&self, task: &Task) -> Computing {
        let additions = task.add_up_to.get().unsigned_abs();
        let Some(duration) = self.pace.checked_mul(additions).filter(|duration| *duration <= LONGEST) else {
            let reason = format!(
                "{additions} additions of {:?} each take longer than one hour",
                self.pace
            );
            return Box::pin(std::future::ready(Err(ComputeError::Permanent(reason))));
        };
        let (inner, task) = (self.inner.clone(), task.clone());
        Box::pin(async move {
            tokio::time::sleep(duration).await;
            inner.compute(&task).await
        })
    }
}
