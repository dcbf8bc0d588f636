//! The commands: what each asks for, and what it prints or fails with.
//!
//! Whom they ask, over HTTP or in the database, is behind [`Works`].

mod create;
mod events;
mod search;
mod show;

use pp_lib::domain::{Event, Work, WorkId};
use pp_lib::flow::Wanted;
use pp_lib::store::Search;

pub(crate) use create::create;
pub(crate) use events::events;
pub(crate) use search::search;
pub(crate) use show::show;

use crate::failure::Failure;

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// One work.
    Show(WorkId),
    /// The works that match.
    Search(Search),
    /// The history of a work.
    Events(WorkId),
    /// A new work.
    Create(Wanted),
}

/// Whoever knows about works.
pub(crate) trait Works {
    /// The work with this id, else [`Failure::NotFound`].
    fn work(&self, id: WorkId) -> Result<Work, Failure>;

    /// The works that match, newest first.
    fn search(&self, search: &Search) -> Result<Vec<Work>, Failure>;

    /// The events of a work, oldest first, or [`Failure::NotFound`] when there is no such work.
    fn events(&self, id: WorkId) -> Result<Vec<Event>, Failure>;

    /// Makes a work; without a bound, with a random one.
    fn create(&self, wanted: Wanted) -> Result<Work, Failure>;
}
