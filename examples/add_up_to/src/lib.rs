//! The built-in kind written anew: 1 + 2 + … + `add_up_to`. Some works fail, so that retries and dead letters are seen.

use pp_lib::kinds::{Context, Failure, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sum that is asked for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AddUpTo {
    /// The last number of the sum.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub add_up_to: i64,
}

impl Kind for AddUpTo {
    const NAME: &'static str = "add_up_to";
    // The sum has no effect but its result, so it need not be claimed first.
    const IS_PURE: bool = true;
    type Output = i64;
    type State = ();

    async fn run(self, (): &(), context: &Context) -> Result<i64, Failure> {
        let (last, attempt) = (self.add_up_to, context.run().attempt);
        match last % 10 {
            3 => Err(Failure::permanent(format_args!("{last} ends in 3"))),
            7 if attempt <= 2 => Err(Failure::retry(format_args!("{last} ends in 7, attempt {attempt}"))),
            9 => panic!("{last} ends in 9"),
            _ => Ok(last * (last + 1) / 2),
        }
    }
}
