//! Follows works: prints one line per change, until the one work has ended.
//!
//! A broken stream is opened again after the last received change. No change is missed or shown twice.

mod progress;

use std::io::{self, Write as _};
use std::thread::sleep;
use std::time::Duration;

use pp_lib::domain::{KindName, Status, Variable, Work, WorkCodePrefix, WorkId};
use pp_lib::streams::StreamedChange;
use pp_lib::streams::sse::{self, Frame};
use serde::de::DeserializeOwned;

use super::Works;
use crate::failure::Failure;
use crate::http::Stream;
use crate::output::Output;
use progress::Progress;

/// The first pause before a stream is opened again, unless the API asks for another.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. Repeated failures lengthen the pause up to it.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The works to follow, and the pace of the consumer.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) what: Followed,
    /// The time of each addition, as set for the consumer.
    pub(crate) pace: Duration,
}

/// The followed works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    One(WorkId),
    All {
        work_code: Option<WorkCodePrefix>,
        kind: Option<KindName>,
        status: Option<Status>,
    },
}

/// Follows one work to its end, or all works for ever.
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
        watcher.notice(&format!("the stream broke ({broken}); trying again"))?;
        let last_id = stream.last_id().map(str::to_owned);
        stream = watcher.reopen(last_id.as_deref(), stream.retry().unwrap_or(PAUSE))?;
        watcher.notice("the stream continues")?;
    }
}

/// The result of reading a stream.
enum Read {
    /// The awaited end was reached.
    Finished(Result<(), Failure>),
    Broken(String),
}

struct Watcher<'a> {
    works: &'a dyn Works,
    watch: &'a Watch,
    output: Output,
    progress: Progress,
    /// True if the current state of the work may end the watch. After a break it may not, because the missed changes
    /// follow.
    decisive: bool,
}

impl Watcher<'_> {
    fn read(&mut self, stream: &mut Stream) -> Result<Read, Failure> {
        loop {
            let (name, data) = match stream.next_frame() {
                Ok(Some(Frame::Event { name, data })) => (name, data),
                Ok(Some(Frame::Alive)) => continue,
                Ok(None) => return Ok(Read::Broken("the API closed it".to_owned())),
                Err(error) => return Ok(Read::Broken(error.to_string())),
            };
            if let Some(verdict) = self.event(&name, &data)? {
                return Ok(Read::Finished(verdict));
            }
        }
    }

    /// Shows an event. Answers the outcome of the one work once it is known.
    fn event(&mut self, name: &str, data: &str) -> Result<Option<Result<(), Failure>>, Failure> {
        match name {
            "" => {
                let change: StreamedChange = parsed(data)?;
                self.progress.aside(|| self.output.change(&change))?;
                self.progress.change(&change);
                let one = matches!(self.watch.what, Followed::One(_));
                Ok(outcome_of(&change).filter(|_| one))
            }
            sse::WORK if std::mem::take(&mut self.decisive) => {
                let work: Work = parsed(data)?;
                self.progress.aside(|| self.output.standing(&work))?;
                self.progress.work(&work, self.works);
                Ok(outcome_now(&work))
            }
            sse::RESET => {
                self.decisive = true;
                self.notice("some older changes are no longer available and were skipped")?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Opens the stream again. It retries while the API is away.
    fn reopen(&mut self, last_id: Option<&str>, first: Duration) -> Result<Stream, Failure> {
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

    fn notice(&self, what: &str) -> io::Result<()> {
        self.progress.aside(|| writeln!(io::stderr().lock(), "{what}"))
    }
}

/// The outcome of the work after a change, if it has ended.
fn outcome_of(change: &StreamedChange) -> Option<Result<(), Failure>> {
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

/// The outcome of the work in its current state, if it has ended.
fn outcome_now(work: &Work) -> Option<Result<(), Failure>> {
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
