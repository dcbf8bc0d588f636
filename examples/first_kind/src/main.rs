//! My first kind of work.

use std::process::ExitCode;

use pp_lib::kinds::{Context, Failure, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Greeting {
    name: String,
}

impl Kind for Greeting {
    const NAME: &'static str = "greeting";
    type Output = String;
    type State = ();

    async fn run(self, (): &(), context: &Context) -> Result<String, Failure> {
        if self.name.is_empty() {
            return Err(Failure::permanent("nobody to greet"));
        }
        if context.run().attempt == 1 {
            return Err(Failure::retry("still asleep"));
        }
        Ok(format!("Hello {}", self.name))
    }
}

fn main() -> ExitCode {
    pp_standalone::main(async |kinds| Ok(kinds.with::<Greeting>(())))
}

#[cfg(test)]
mod tests;
