//! Shows on a terminal that a call takes its time.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;

/// The time of a call before anything is shown.
const QUIET: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(100);

/// Makes a call. If it lasts, a line with `what` and the time passed stands on the terminal meanwhile.
pub(super) fn shown<T>(what: &str, call: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return call();
    }
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
                let bar = ProgressBar::new_spinner().with_message(what.to_owned());
                bar.set_style(style());
                bar.enable_steady_tick(TICK);
                // It ends when the call does.
                let _ = waiting.recv();
                bar.finish_and_clear();
            }
        });
        let answer = call();
        drop(done);
        answer
    })
}

fn style() -> indicatif::ProgressStyle {
    // The template is a valid constant.
    indicatif::ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner())
}
