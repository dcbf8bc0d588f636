//! Commands that change a work: update, cancel, retry and delete.

use pp_lib::domain::{AddUpTo, WorkId};

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn update(works: &dyn Works, id: WorkId, add_up_to: AddUpTo, output: Output) -> Result<(), Failure> {
    Ok(output.work(&works.update(id, add_up_to)?)?)
}

pub(crate) fn cancel(works: &dyn Works, id: WorkId, output: Output) -> Result<(), Failure> {
    Ok(output.work(&works.cancel(id)?)?)
}

pub(crate) fn retry(works: &dyn Works, id: WorkId, output: Output) -> Result<(), Failure> {
    Ok(output.work(&works.retry(id)?)?)
}

/// Prints nothing on success.
pub(crate) fn delete(works: &dyn Works, id: WorkId) -> Result<(), Failure> {
    works.delete(id)
}
