//! Lists dead letters, runs them again or drops them.

use pp_lib::domain::DeadLetterId;
use pp_lib::store::Selection;

use super::Works;
use crate::failure::Failure;
use crate::output::Output;

/// An action on dead letters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeadLetters {
    /// Lists letters below `before`, newest first, at most `limit`.
    List {
        before: Option<DeadLetterId>,
        limit: u16,
    },
    Redrive(Selection),
    Drop(Selection),
}

pub(super) fn dead_letters(works: &dyn Works, what: &DeadLetters, output: Output) -> Result<(), Failure> {
    match what {
        DeadLetters::List { before, limit } => {
            let letters = works.dead_letters(*before, *limit)?;
            output.dead_letters(&letters)?;
            some(letters.len() as u64)
        }
        DeadLetters::Redrive(which) => {
            let redriven = works.redrive(which)?;
            output.count("redriven", redriven)?;
            some(redriven)
        }
        DeadLetters::Drop(which) => {
            let dropped = works.drop_letters(which)?;
            output.count("dropped", dropped)?;
            some(dropped)
        }
    }
}

fn some(letters: u64) -> Result<(), Failure> {
    if letters == 0 {
        return Err(Failure::NotFound("there is no such dead letter".to_owned()));
    }
    Ok(())
}
