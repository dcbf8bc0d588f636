//! Shows the history of a work.

use pp_lib::domain::WorkId;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn events(works: &dyn Works, id: WorkId, output: Output) -> Result<(), Failure> {
    let events = works.events(id)?;
    output.events(&events)?;
    if events.is_empty() {
        return Err(Failure::NotFound(format!("work {id} has no events yet")));
    }
    Ok(())
}
