//! A new work.

use pp_lib::domain::AddUpTo;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn create(works: &dyn Works, add_up_to: Option<AddUpTo>, output: Output) -> Result<(), Failure> {
    Ok(output.work(&works.create(add_up_to)?)?)
}
