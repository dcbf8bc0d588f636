//! Draws the progress of the watched work on a terminal: a bar if the pace is known, else a spinner.

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use pp_lib::domain::{AddUpTo, Status, Variable, Work};
use pp_lib::streams::StreamedChange;

use super::{Followed, Watch};
use crate::commands::Works;
use crate::failure::one_line;

const TICK: Duration = Duration::from_millis(100);

/// The progress drawn below the lines.
pub(super) struct Progress {
    pace: Duration,
    add_up_to: Option<AddUpTo>,
    bar: ProgressBar,
}

impl Progress {
    /// Draws nothing yet. It never draws for all works, or outside a terminal.
    pub(super) fn new(watch: &Watch) -> Self {
        let seen = matches!(watch.what, Followed::One(_)) && io::stderr().is_terminal();
        let bar = if seen {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        Self {
            pace: watch.pace,
            add_up_to: None,
            bar,
        }
    }

    /// Runs `write` while the progress is hidden.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Shows the current state of the work.
    pub(super) fn work(&mut self, work: &Work, works: &dyn Works) {
        self.add_up_to = work.add_up_to();
        self.spin(work.status.as_str());
        if work.status == Status::Running && !self.bar.is_hidden() {
            let events = works.events(work.id).unwrap_or_default();
            let start = events
                .iter()
                .rev()
                .find(|event| event.variable == Variable::ComputeStart);
            if let Some(start) = start {
                self.begin(start.created_on);
            }
        }
    }

    /// Shows a change of the work.
    pub(super) fn change(&mut self, change: &StreamedChange) {
        match (change.variable, change.status) {
            (Variable::ComputeStart, Some(Status::Running)) => self.begin(change.created_on),
            (Variable::ComputeStart, _) => {}
            (Variable::WorkUpdated, _) => {
                self.add_up_to = change.value.parse().ok();
                self.spin("pending");
            }
            (_, status) => self.spin(status.map_or("", Status::as_str)),
        }
    }

    /// Shows that the API is away.
    pub(super) fn waiting(&self, why: &str) {
        self.spin(&one_line(why));
    }

    fn spin(&self, message: &str) {
        self.bar.set_style(ProgressStyle::default_spinner());
        self.bar.set_message(message.to_owned());
        self.bar.enable_steady_tick(TICK);
    }

    /// Starts the bar. The work has been running since this Unix second.
    fn begin(&self, since: i64) {
        let takes = self
            .add_up_to
            .map(|bound| self.pace.saturating_mul(bound.get().unsigned_abs()));
        match takes.filter(|takes| !takes.is_zero()) {
            Some(takes) => self.draw(since, takes),
            None => self.spin("running"),
        }
    }

    fn draw(&self, since: i64, takes: Duration) {
        // The template is a valid constant.
        let style = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}");
        self.bar
            .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_length(milliseconds(takes));
        self.bar
            .set_message(format!("of {}", pp_cli::config::DurationText(takes)));
        let bar = self.bar.clone();
        if !bar.is_hidden() {
            thread::spawn(move || {
                while !bar.is_finished() && bar.length() == Some(milliseconds(takes)) {
                    bar.set_position(milliseconds(passed(since)).min(milliseconds(takes)));
                    thread::sleep(TICK);
                }
            });
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The time since a Unix second. The database's clock may be ahead of this one.
fn passed(since: i64) -> Duration {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(since.unsigned_abs());
    since.elapsed().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
