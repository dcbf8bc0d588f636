//! What happens to works, as it happens: one line for each change, until one work has come to its end.
//!
//! A stream that breaks off is opened anew behind the last change that came, so that none is missed and none is shown
//! twice.

mod progress;

use std::io::{self, Write as _};
use std::thread::sleep;
use std::time::Duration;

use pp_lib::domain::{Status, Variable, Work, WorkCodePrefix, WorkId};
use pp_lib::streams::StreamedChange;
use pp_lib::streams::sse::{self, Told};
use serde::de::DeserializeOwned;

use super::Works;
use crate::failure::Failure;
use crate::http::Stream;
use crate::output::Output;
use progress::Progress;

/// Between two tries to open a stream again, when the API did not say otherwise.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries become rarer up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is to be watched.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) what: Followed,
    /// How long each addition takes, as the consumer has it.
    pub(crate) pace: Duration,
}

/// Which changes are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Those of a work.
    One(WorkId),
    /// Those of all works that match.
    All {
        work_code: Option<WorkCodePrefix>,
        status: Option<Status>,
    },
}

/// Follows to the end of the one work, or for ever.
pub(crate) fn watch(works: &dyn Works, watch: &Watch, output: Output) -> Result<(), Failure> {
    let mut watcher = Watcher {
        works,
        watch,
        output,
        progress: Progress::new(watch),
        decisive: true,
    };
    let mut stream = works.follow(&watch.what, None)?;
    loop {
        let broken = match watcher.read(&mut stream)? {
            Read::Finished(verdict) => return verdict,
            Read::Broken(why) => why,
        };
        watcher.tell(&format!("the stream broke off ({broken}); trying again"))?;
        let last_id = stream.last_id().map(str::to_owned);
        stream = watcher.again(last_id.as_deref(), stream.retry().unwrap_or(PAUSE))?;
        watcher.tell("the stream goes on")?;
    }
}

/// How far a stream was read.
enum Read {
    /// To what was waited for.
    Finished(Result<(), Failure>),
    /// Until it broke off.
    Broken(String),
}

struct Watcher<'a> {
    works: &'a dyn Works,
    watch: &'a Watch,
    output: Output,
    progress: Progress,
    /// Whether the work as it stands counts. After a cut it does not: what happened to it meanwhile is about to come.
    decisive: bool,
}

impl Watcher<'_> {
    fn read(&mut self, stream: &mut Stream) -> Result<Read, Failure> {
        loop {
            let (name, data) = match stream.told() {
                Ok(Some(Told::Event { name, data })) => (name, data),
                Ok(Some(Told::Alive)) => continue,
                Ok(None) => return Ok(Read::Broken("the API ended it".to_owned())),
                Err(error) => return Ok(Read::Broken(error.to_string())),
            };
            if let Some(verdict) = self.event(&name, &data)? {
                return Ok(Read::Finished(verdict));
            }
        }
    }

    /// Shows an event; what became of the one work, if that is decided.
    fn event(&mut self, name: &str, data: &str) -> Result<Option<Result<(), Failure>>, Failure> {
        match name {
            "" => {
                let change: StreamedChange = parsed(data)?;
                self.progress.aside(|| self.output.change(&change))?;
                self.progress.change(&change);
                let one = matches!(self.watch.what, Followed::One(_));
                Ok(ended(&change).filter(|_| one))
            }
            sse::WORK if std::mem::take(&mut self.decisive) => {
                let work: Work = parsed(data)?;
                self.progress.aside(|| self.output.standing(&work))?;
                self.progress.work(&work, self.works);
                Ok(standing(&work))
            }
            sse::RESET => {
                self.decisive = true;
                self.tell("some changes are not known any more and were left out")?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Opens the stream again, however long the API is away.
    fn again(&mut self, last_id: Option<&str>, first: Duration) -> Result<Stream, Failure> {
        let mut pause = first.min(LONGEST_PAUSE);
        self.decisive |= last_id.is_none();
        loop {
            sleep(pause);
            match self.works.follow(&self.watch.what, last_id) {
                Err(Failure::Unavailable(why)) => {
                    pause = (pause * 2).clamp(PAUSE, LONGEST_PAUSE);
                    self.progress.waiting(&why);
                }
                Err(Failure::NotFound(_)) => return Err(Failure::Ended("the work was deleted".to_owned())),
                opened => return opened,
            }
        }
    }

    fn tell(&self, what: &str) -> io::Result<()> {
        self.progress.aside(|| writeln!(io::stderr().lock(), "{what}"))
    }
}

/// What a change means for whoever waits for its work.
fn ended(change: &StreamedChange) -> Option<Result<(), Failure>> {
    match (change.variable, change.status) {
        (Variable::ComputeResult, _) => Some(Ok(())),
        (Variable::ComputeError, Some(Status::Failed)) => Some(Err(failed(&change.value))),
        (Variable::WorkCancelled, Some(Status::Cancelled)) => {
            Some(Err(Failure::Ended("the work was cancelled or deleted".to_owned())))
        }
        (Variable::WorkCancelled, _) => Some(Err(Failure::Ended("the work was deleted".to_owned()))),
        _ => None,
    }
}

/// The same for a work as it stands.
fn standing(work: &Work) -> Option<Result<(), Failure>> {
    match work.status {
        Status::Done => Some(Ok(())),
        Status::Failed => Some(Err(failed("see its events"))),
        Status::Cancelled => Some(Err(Failure::Ended("the work was cancelled".to_owned()))),
        Status::Pending | Status::Running => None,
    }
}

fn failed(why: &str) -> Failure {
    Failure::Ended(format!("the work failed: {why}"))
}

fn parsed<T: DeserializeOwned>(data: &str) -> Result<T, Failure> {
    let strange = |error| Failure::Unavailable(format!("the API does not stream as that of PP does: {error}"));
    serde_json::from_str(data).map_err(strange)
}
