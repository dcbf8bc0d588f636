//! Shows one work by its id.

use pp_lib::domain::WorkId;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn show(works: &dyn Works, id: WorkId, output: Output) -> Result<(), Failure> {
    Ok(output.work(&works.work(id)?)?)
}
