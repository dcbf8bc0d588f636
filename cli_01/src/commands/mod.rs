//! The commands. Each queries [`Works`], which hides the source, and prints the answer.

mod dead_letters;
mod doctor;
mod keys;
mod kinds;
mod local;
mod waiting;
mod watch;

use pp_lib::domain::{
    ApiKeyId, AuditEntry, DeadLetter, DeadLetterId, Event, Json, KeyInfo, KeyLabel, KindName, Scopes, Stats, Work,
    WorkCode, WorkCodePrefix, WorkId, WorksPerDay,
};
use pp_lib::kinds::Declaration;
use pp_lib::serving::CreateWork;
use pp_lib::store::{AuditFilter, LetterFilter, Search, Selection};
use serde_json::Value;

use crate::failure::Failure;
use crate::http::Stream;
use crate::output::Output;

pub(crate) use dead_letters::{Change, DeadLetters};
pub(crate) use doctor::{Checked, Doctor};
pub(crate) use keys::Keys;
pub(crate) use kinds::Kinds;
pub(crate) use local::Local;
pub(crate) use watch::{Followed, Watch};

/// The error of a watch on a database.
pub(crate) const ONLY_HTTP: &str = "watch needs the API; use --call-type http";

/// The requested action.
#[derive(Debug)]
pub(crate) enum Command {
    Show(Which),
    Search(Search, Empty),
    Events(Which, Empty),
    Create(CreateWork),
    Update(Which, Json),
    Cancel(Which),
    Retry(Which),
    Delete(Which),
    DeadLetters(DeadLetters),
    Kinds(Kinds),
    Keys(Keys),
    Workers {
        limit: u16,
    },
    Stats {
        /// Counts all works again first.
        rebuild: bool,
        kind: Option<KindName>,
    },
    Watch(Watch),
}

/// The work that a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Id(WorkId),
    Code(WorkCode),
}

/// What an empty list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// An answer like any other.
    Fine,
    /// Exit code 1, as scripts know it of the earlier forms.
    Failure,
}

impl Which {
    fn work(&self, works: &dyn Works) -> Result<Work, Failure> {
        match self {
            Self::Id(id) => works.work(*id),
            Self::Code(code) => {
                let search = Search {
                    work_code: WorkCodePrefix::parse(code.as_str()),
                    kind: None,
                    status: None,
                    since: None,
                    before: None,
                    limit: 1,
                };
                let found = works.search(&search)?.into_iter().next();
                found.ok_or_else(|| Failure::NotFound(format!("there is no work {code}")))
            }
        }
    }

    fn id(&self, works: &dyn Works) -> Result<WorkId, Failure> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Code(_) => self.work(works).map(|work| work.id),
        }
    }
}

impl Command {
    /// Asks the source and prints its answer. A deletion prints nothing.
    pub(crate) fn run(self, works: &dyn Works, output: Output) -> Result<(), Failure> {
        match self {
            Self::Show(which) => output.work(&which.work(works)?)?,
            Self::Search(search, empty) => {
                let found = works.search(&search)?;
                output.works(&found)?;
                if found.is_empty() && empty == Empty::Failure {
                    return Err(Failure::NotFound("no work matches".to_owned()));
                }
            }
            Self::Events(which, empty) => {
                let id = which.id(works)?;
                let events = works.events(id)?;
                output.events(&events)?;
                if events.is_empty() && empty == Empty::Failure {
                    return Err(Failure::NotFound(format!("work {id} has no events yet")));
                }
            }
            Self::Create(wanted) => output.work(&works.create(wanted)?)?,
            Self::Update(which, args) => output.work(&works.update(which.id(works)?, &args)?)?,
            Self::Cancel(which) => output.work(&works.cancel(which.id(works)?)?)?,
            Self::Retry(which) => output.work(&works.retry(which.id(works)?)?)?,
            Self::Delete(which) => works.delete(which.id(works)?)?,
            Self::DeadLetters(what) => dead_letters::dead_letters(works, &what, output)?,
            Self::Kinds(what) => kinds::kinds(works, &what, output)?,
            Self::Keys(what) => keys::keys(works, &what, output)?,
            Self::Workers { limit } => {
                let workers = works.workers(limit)?;
                output.workers(&workers)?;
                if workers.is_empty() {
                    return Err(Failure::NotFound("no worker was heard of".to_owned()));
                }
            }
            Self::Stats { rebuild, kind } => {
                if rebuild {
                    waiting::shown("counting all works", || works.rebuild_stats())?;
                }
                output.stats(&works.stats(kind.as_ref())?)?;
            }
            Self::Watch(what) => watch::watch(works, &what, output)?,
        }
        Ok(())
    }
}

/// A source of works.
pub(crate) trait Works {
    /// The work with this id, or [`Failure::NotFound`].
    fn work(&self, id: WorkId) -> Result<Work, Failure>;

    /// The matching works, newest first.
    fn search(&self, search: &Search) -> Result<Vec<Work>, Failure>;

    /// The events of a work, oldest first, or [`Failure::NotFound`].
    fn events(&self, id: WorkId) -> Result<Vec<Event>, Failure>;

    /// Creates a work. The default bound is random.
    fn create(&self, wanted: CreateWork) -> Result<Work, Failure>;

    /// Changes the bound of a work, which is then computed again; or [`Failure::NotFound`].
    fn update(&self, id: WorkId, args: &Json) -> Result<Work, Failure>;

    /// Cancels a pending or running work. Fails with [`Failure::NotFound`], or with [`Failure::Ended`] for a finished
    /// work.
    fn cancel(&self, id: WorkId) -> Result<Work, Failure>;

    /// Starts a failed or cancelled work again. Fails with [`Failure::NotFound`], or with [`Failure::Ended`] for
    /// another status.
    fn retry(&self, id: WorkId) -> Result<Work, Failure>;

    /// Cancels and removes a work, or [`Failure::NotFound`].
    fn delete(&self, id: WorkId) -> Result<(), Failure>;

    /// Opens a stream of changes, continuing after the event with this id. Only the API has streams.
    fn follow(&self, _: &Followed, _: Option<&str>) -> Result<Stream, Failure> {
        Err(Failure::Usage(ONLY_HTTP.to_owned()))
    }

    /// The matching dead letters below `before`, newest first.
    fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>, Failure>;

    /// Runs dead letters again, or only counts them, and answers their number.
    fn redrive(&self, which: &Selection, dry_run: bool) -> Result<u64, Failure>;

    /// Removes dead letters, or only counts them, and answers their number.
    fn drop_letters(&self, which: &Selection, dry_run: bool) -> Result<u64, Failure>;

    /// The kinds in the order of their names, as the API shows them.
    fn kinds(&self) -> Result<Vec<Value>, Failure>;

    /// The workers and what they work on, as the API shows them.
    fn workers(&self, limit: u16) -> Result<Vec<Value>, Failure>;

    /// Declares a kind and answers it, or [`Failure::Ended`] if it is built in or there are too many.
    fn declare(&self, kind: &KindName, declaration: &Declaration) -> Result<Value, Failure>;

    /// Changes settings of a kind and answers it, or [`Failure::NotFound`].
    fn set_policy(&self, kind: &KindName, change: &Json) -> Result<Value, Failure>;

    /// Makes a key and answers it with its secret, or [`Failure::Ended`] if there is one of the name.
    fn create_key(
        &self,
        name: &KeyLabel,
        scopes: &Scopes,
        works_per_day: Option<WorksPerDay>,
    ) -> Result<Value, Failure>;

    /// The keys, without their secrets.
    fn keys(&self) -> Result<Vec<KeyInfo>, Failure>;

    /// Ends a key, or [`Failure::NotFound`].
    fn revoke_key(&self, id: ApiKeyId) -> Result<(), Failure>;

    /// The matching rows of the audit below `before`, newest first.
    fn audit(&self, filter: &AuditFilter, before: Option<i64>, limit: u16) -> Result<Vec<AuditEntry>, Failure>;

    /// The counters of all works, or of those of one kind.
    fn stats(&self, kind: Option<&KindName>) -> Result<Stats, Failure>;

    /// Counts all works again. A source that cannot do that answers [`Failure::Usage`].
    fn rebuild_stats(&self) -> Result<(), Failure>;
}
