//! The commands: what each asks for, and what it prints or fails with.
//!
//! Whom they ask, over HTTP or in the database, is behind [`Works`].

mod change;
mod create;
mod dead_letters;
mod events;
mod search;
mod show;
mod stats;
mod watch;

use pp_lib::domain::{AddUpTo, DeadLetter, DeadLetterId, Event, Stats, Work, WorkId};
use pp_lib::serving::Wanted;
use pp_lib::store::{Search, Selection};

pub(crate) use change::{cancel, delete, retry, update};
pub(crate) use create::create;
pub(crate) use dead_letters::{DeadLetters, dead_letters};
pub(crate) use events::events;
pub(crate) use search::search;
pub(crate) use show::show;
pub(crate) use stats::stats;
pub(crate) use watch::{Followed, Watch, watch};

use crate::failure::Failure;
use crate::http::Stream;

/// What is said to whoever wants to watch a database.
pub(crate) const ONLY_HTTP: &str = "watch follows the API, so it needs --call-type http";

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
    /// Another bound for a work.
    Update(WorkId, AddUpTo),
    /// The end of an unfinished work.
    Cancel(WorkId),
    /// A new start of a failed or cancelled work.
    Retry(WorkId),
    /// The removal of a work.
    Delete(WorkId),
    /// What was given up.
    DeadLetters(DeadLetters),
    /// The counters.
    Stats {
        /// Whether to count anew before.
        rebuild: bool,
    },
    /// What happens from now on.
    Watch(Watch),
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

    /// Gives a work another bound, to be computed anew, else [`Failure::NotFound`].
    fn update(&self, id: WorkId, add_up_to: AddUpTo) -> Result<Work, Failure>;

    /// Ends a pending or running work, else [`Failure::NotFound`] or, for a finished one, [`Failure::Ended`].
    fn cancel(&self, id: WorkId) -> Result<Work, Failure>;

    /// Starts a failed or cancelled work over, else [`Failure::NotFound`] or, for another one, [`Failure::Ended`].
    fn retry(&self, id: WorkId) -> Result<Work, Failure>;

    /// Cancels a work and removes it, else [`Failure::NotFound`].
    fn delete(&self, id: WorkId) -> Result<(), Failure>;

    /// Opens a stream of changes, behind the one with this id if there was one. Only an API has one.
    fn follow(&self, _: &Followed, _: Option<&str>) -> Result<Stream, Failure> {
        Err(Failure::Usage(ONLY_HTTP.to_owned()))
    }

    /// The dead letters below `before`, newest first.
    fn dead_letters(&self, before: Option<DeadLetterId>, limit: u16) -> Result<Vec<DeadLetter>, Failure>;

    /// Runs dead letters again; how many.
    fn redrive(&self, which: &Selection) -> Result<u64, Failure>;

    /// Forgets dead letters; how many.
    fn drop_letters(&self, which: &Selection) -> Result<u64, Failure>;

    /// The counters.
    fn stats(&self) -> Result<Stats, Failure>;

    /// Counts all works anew; [`Failure::Usage`] from who only serves the counters.
    fn rebuild_stats(&self) -> Result<(), Failure>;
}
