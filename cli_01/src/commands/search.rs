//! Lists matching works, newest first.

use pp_lib::store::Search;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn search(works: &dyn Works, search: &Search, output: Output) -> Result<(), Failure> {
    let found = works.search(search)?;
    output.works(&found)?;
    if found.is_empty() {
        return Err(Failure::NotFound("no work matches".to_owned()));
    }
    Ok(())
}
