//! Selects the computation of this system, in one place. A pace imitates heavy work: each addition takes that long.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{AddUpTo, Computation, ComputeError, Computing, Task};

/// The maximum duration of a paced work.
const LONGEST: Duration = Duration::from_secs(3600);

/// A computation that takes `pace` for each number up to the bound.
struct Paced {
    inner: Arc<dyn Computation>,
    pace: Duration,
}

/// The computation of this system, slowed down by a non-zero `pace`. To compute something else, replace it here.
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
        let additions = match AddUpTo::of_args(&task.args) {
            Ok(bound) => bound.get().unsigned_abs(),
            Err(why) => return Box::pin(std::future::ready(Err(ComputeError::Transient(why)))),
        };
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

    fn is_pure(&self) -> bool {
        self.inner.is_pure()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::domain::Run;
    use crate::runtime::new_message_id;

    fn task(bound: i64) -> Task {
        Task {
            message_id: new_message_id(),
            run: Run::FIRST,
            args: AddUpTo::try_from(bound).unwrap().args(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_addition_takes_the_pace() {
        let begun = Instant::now();
        assert_eq!(
            computation(Duration::from_millis(10)).compute(&task(100)).await,
            Ok(5050.into())
        );
        let taken = begun.elapsed();
        assert!((1000..1010).contains(&taken.as_millis()), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn works_longer_than_an_hour_fail_at_once() {
        let paced = computation(Duration::from_secs(1));
        assert_eq!(paced.compute(&task(3600)).await, Ok(6_481_800.into()));
        let begun = Instant::now();
        for bound in [3601, 2_147_483_647] {
            let refused = paced.compute(&task(bound)).await;
            assert!(matches!(refused, Err(ComputeError::Permanent(why)) if why.contains("one hour")));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
