//! Creates a work.

use pp_lib::serving::Wanted;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn create(works: &dyn Works, wanted: Wanted, output: Output) -> Result<(), Failure> {
    Ok(output.work(&works.create(wanted)?)?)
}
