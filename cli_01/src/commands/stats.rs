//! Shows the counters.

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

/// Shows the counters. `rebuild` counts all works first.
pub(crate) fn stats(works: &dyn Works, rebuild: bool, output: Output) -> Result<(), Failure> {
    if rebuild {
        works.rebuild_stats()?;
    }
    Ok(output.stats(&works.stats()?)?)
}
