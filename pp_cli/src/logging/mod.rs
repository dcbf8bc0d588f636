//! Logging.
//!
//! env_logger filters the records, [`line`] formats them, and a queue carries them to standard error. A working thread
//! therefore never waits for the reader of the log. Only `main` calls [`init`], because logger and panic hook belong to
//! the process.

mod front;
mod line;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, thread};

use env_logger::fmt::style::Style;
use env_logger::{Builder, Target, WriteStyle};
use log::{Level, LevelFilter};
use pp_lib::runtime::{say, write_counts, write_last_counts};

use self::front::Front;
use self::line::Line;
use self::queue::Queue;
use crate::config::{LogFormat, RuntimeArgs};

/// Libraries that log every error they also return. The services log these errors once, in their own words.
const NOISY: [(&str, LevelFilter); 6] = [
    ("lapin", LevelFilter::Off),
    ("tokio_postgres", LevelFilter::Off),
    ("r2d2", LevelFilter::Off),
    ("async_rs", LevelFilter::Off),
    ("tracing::span", LevelFilter::Off),
    // Only this library reports connections that could not be accepted, for example for lack of file descriptors.
    ("actix_server", LevelFilter::Error),
];

/// The interval at which counts of repeated lines are logged.
const COUNTS: Duration = Duration::from_secs(1);

/// The time the process waits for its last lines at its end.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: Queue,
    format: LogFormat,
}

impl Log {
    /// The log of this process. The first call creates it.
    fn of_process(format: LogFormat) -> &'static Self {
        LOG.get_or_init(|| Self {
            queue: Queue::start(standard_error(), move |dropped| lines_were_dropped(format, dropped)),
            format,
        })
    }
}

/// Installs the logger and the panic hook.
pub fn init(args: &RuntimeArgs) {
    let Log { queue, format } = Log::of_process(args.log_format);
    let mut builder = Builder::new();
    builder.parse_filters(&args.log);
    let verbatim = args.log.contains('=');
    if !verbatim {
        for (noisy, most) in NOISY {
            builder.filter_module(noisy, most);
        }
    }
    let colours = *format == LogFormat::Text && is_for_people();
    builder.write_style(if colours { WriteStyle::Always } else { WriteStyle::Never });
    builder.target(Target::Pipe(Box::new(QueueWriter(queue.clone()))));
    builder.format(move |out, record| {
        let style = out.default_level_style(record.level());
        out.write_all(Line::of(record).render(*format, style).as_bytes())
    });
    let logger = builder.build();
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(Front { logger, verbatim })).is_ok() {
        log::set_max_level(most);
    }
    let _ = thread::Builder::new().name("log counts".to_owned()).spawn(|| {
        loop {
            thread::sleep(COUNTS);
            write_counts();
        }
    });
    panic::set_hook(Box::new(panicked));
}

/// Writes the error that ends the process as one line to standard error. It ignores the log level and waits a limited
/// time for the write.
pub(crate) fn fatal(error: impl Display, format: LogFormat) {
    let Log { queue, format } = Log::of_process(format);
    let line = match format {
        LogFormat::Text => format!("error: {error}\n"),
        LogFormat::Json => {
            Line::new(Level::Error, module_path!(), format_args!("{error}")).render(*format, Style::new())
        }
    };
    write_last_counts();
    queue.push(line.into_bytes());
    queue.flush(LAST_LINES);
}

/// Writes the error that ends a service, in the format of its log.
pub(crate) fn fatal_in_log(error: impl Display) {
    fatal(error, LOG.get().map_or(LogFormat::Text, |log| log.format));
}

/// Waits until all lines are written, at most `limit`.
pub(crate) fn flush(limit: Duration) {
    if let Some(log) = LOG.get() {
        write_last_counts();
        log.queue.flush(limit);
    }
}

/// Standard error without the lock of the standard library, which an endless write would hold forever.
fn standard_error() -> Box<dyn Write + Send> {
    use std::os::fd::AsFd as _;
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(std::fs::File::from(descriptor)),
        // Standard error is closed, or the process has no free descriptors.
        Err(_) => Box::new(io::stderr()),
    }
}

/// True if standard error is a terminal with colours.
fn is_for_people() -> bool {
    let unset = |variable: &str| env::var_os(variable).is_none_or(|value| value.is_empty());
    io::stderr().is_terminal() && unset("NO_COLOR") && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn lines_were_dropped(format: LogFormat, dropped: u64) -> Vec<u8> {
    let what = if dropped == 1 { "line was" } else { "lines were" };
    let line = Line::new(
        Level::Warn,
        module_path!(),
        format_args!("{dropped} {what} dropped: standard error was not read fast enough"),
    );
    line.render(format, Style::new()).into_bytes()
}

/// Logs a panic as one line. The standard hook would write on the thread that panics.
fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let place = panic.location().map_or_else(String::new, ToString::to_string);
    let why = panic.payload_as_str().unwrap_or("without a message");
    let name = thread.name().unwrap_or("unnamed");
    let (kind, rest) = (format!("panicked at {place}"), format_args!("{why} (thread '{name}')"));
    let written = say(Level::Error, module_path!(), kind, rest);
    let backtrace = Backtrace::capture();
    if written && backtrace.status() == BacktraceStatus::Captured {
        for line in backtrace.to_string().lines() {
            log::error!("{line}");
        }
    }
    // The process ends after a panic of the main thread.
    if thread.name() == Some("main") {
        flush(LAST_LINES);
    }
}

/// The target of env_logger, which writes whole lines.
struct QueueWriter(Queue);

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
