//! Lists kinds, declares them and changes their settings.

use pp_lib::domain::{Json, KindName};
use pp_lib::kinds::Declaration;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

/// An action on kinds.
#[derive(Debug)]
pub(crate) enum Kinds {
    List,
    Show(KindName),
    Declare(KindName, Box<Declaration>),
    /// Changes settings by a JSON merge patch.
    Set(KindName, Json),
}

pub(super) fn kinds(works: &dyn Works, what: &Kinds, output: Output) -> Result<(), Failure> {
    match what {
        Kinds::List => output.kinds(&works.kinds()?)?,
        Kinds::Show(name) => {
            let kinds = works.kinds()?;
            let kind = kinds.iter().find(|kind| kind["name"] == name.as_str());
            let missing = || Failure::NotFound(format!("there is no kind {name}"));
            output.kind(kind.ok_or_else(missing)?)?;
        }
        Kinds::Declare(name, declaration) => output.kind(&works.declare(name, declaration)?)?,
        Kinds::Set(name, change) => output.kind(&works.set_policy(name, change)?)?,
    }
    Ok(())
}
