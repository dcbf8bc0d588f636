//! The built-in kind: 1 + 2 + … + `add_up_to`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Failure, Kind};
use crate::domain::{AddUpTo, KindName};

/// The longest duration of a paced sum.
const LONGEST: Duration = Duration::from_secs(3600);

/// A sum that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// The last number of the sum.
    #[schemars(with = "i32", range(min = 1))]
    pub add_up_to: AddUpTo,
}

/// The time of each addition, to imitate heavy work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace(pub Duration);

impl Kind for Sum {
    const NAME: &'static str = KindName::ADD_UP_TO;
    const IS_PURE: bool = true;
    type Output = i64;
    type State = Pace;

    async fn run(self, Pace(pace): &Pace, _: &Context) -> Result<i64, Failure> {
        if !pace.is_zero() {
            let additions = self.add_up_to.get().unsigned_abs();
            let duration = pace.checked_mul(additions).filter(|duration| *duration <= LONGEST);
            let duration = duration.ok_or_else(|| {
                Failure::permanent(format_args!(
                    "{additions} additions of {pace:?} each take longer than one hour"
                ))
            })?;
            tokio::time::sleep(duration).await;
        }
        Ok(self.add_up_to.sum())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn run(bound: i64, pace: Duration) -> Result<i64, Failure> {
        let add_up_to = AddUpTo::try_from(bound).unwrap();
        Sum { add_up_to }.run(&Pace(pace), &Context::test()).await
    }

    #[tokio::test(start_paused = true)]
    async fn each_addition_takes_the_pace() {
        let begun = Instant::now();
        assert_eq!(run(100, Duration::from_millis(10)).await, Ok(5050));
        let taken = begun.elapsed();
        assert!((1000..1010).contains(&taken.as_millis()), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn sums_longer_than_an_hour_fail_at_once() {
        let second = Duration::from_secs(1);
        assert_eq!(run(3600, second).await, Ok(6_481_800));
        let begun = Instant::now();
        for bound in [3601, 2_147_483_647] {
            let refused = run(bound, second).await.unwrap_err();
            assert!(refused.is_permanent() && refused.reason().contains("one hour"));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
