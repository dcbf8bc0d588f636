//! Creates a work.

use pp_lib::serving::CreateWork;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn create(works: &dyn Works, wanted: CreateWork, output: Output) -> Result<(), Failure> {
    Ok(output.work(&works.create(wanted)?)?)
}
