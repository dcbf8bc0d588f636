//! Lists dead letters, runs them again or drops them.

use pp_lib::domain::DeadLetterId;
use pp_lib::store::{LetterFilter, Selection};

use super::{Works, waiting};
use crate::failure::Failure;
use crate::output::Output;

/// An action on dead letters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeadLetters {
    /// Lists the matching letters below `before`, newest first, at most `limit`.
    List {
        filter: LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    },
    Redrive(Change),
    Drop(Change),
}

/// The letters to change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) which: Selection,
    /// Only counts the letters.
    pub(crate) dry_run: bool,
}

pub(super) fn dead_letters(works: &dyn Works, what: &DeadLetters, output: Output) -> Result<(), Failure> {
    match what {
        DeadLetters::List { filter, before, limit } => {
            let letters = works.dead_letters(filter, *before, *limit)?;
            output.dead_letters(&letters)?;
            some(letters.len() as u64)
        }
        DeadLetters::Redrive(Change { which, dry_run }) => {
            let redriven = waiting::shown("running dead letters again", || works.redrive(which, *dry_run))?;
            output.count("redriven", redriven, *dry_run)?;
            some(redriven)
        }
        DeadLetters::Drop(Change { which, dry_run }) => {
            let dropped = waiting::shown("dropping dead letters", || works.drop_letters(which, *dry_run))?;
            output.count("dropped", dropped, *dry_run)?;
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
