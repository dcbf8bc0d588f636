//! What is typed, and what it comes to: a command and the place that answers it, every value checked.
//!
//! Without a subcommand it is the lookup that existing scripts call: `--id N` or `--work-code C`.

use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use pp_cli::config::{DatabaseArgs, DurationText, duration, whole};
use pp_lib::domain::{AddUpTo, DeadLetterId, Status, WorkCodePrefix, WorkId};
use pp_lib::serving::{Wanted, latest_run_at};
use pp_lib::store::{Search, Selection};

use crate::commands::{Command, DeadLetters, Followed, ONLY_HTTP, Watch, Works};
use crate::db::Database;
use crate::failure::Failure;
use crate::http::Api;
use crate::output::Output;

/// At most this many works are found, and this many dead letters listed, unless told otherwise; as the API has it.
const WORKS: u16 = 1000;
const LETTERS: u16 = 50;

/// How many letters one call may name; as the API has it.
const MOST_LETTERS: usize = 1000;

/// The last second of the year 9999.
const LATEST: i64 = 253_402_300_799;

const DATABASE: &str = "sqlite://data/pp.sqlite";

const NOTES: &str = "Exit codes:
  0  done
  1  not found, nothing matches, or the work's status rules it out
  2  usage
  3  the API or the database is unavailable, or not one that this program knows";

/// Creates and looks up works, over HTTP or straight in the database.
#[derive(Debug, Parser)]
#[command(name = "cli_01", version, max_term_width = 100, after_help = NOTES, mut_args(anywhere))]
pub(crate) struct Args {
    /// Show the work with this id.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    id: Option<i64>,

    /// List the newest 50 works whose code begins like this.
    #[arg(long, value_name = "CODE")]
    work_code: Option<String>,

    /// Whom to ask.
    #[arg(long, value_enum, default_value = "http")]
    call_type: CallType,

    /// How to print: JSON as the API's, or a table for people.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,

    /// How long a call may take, all in all [unit: duration, as in 5s].
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = timeout)]
    timeout: Duration,

    /// Where the API is, for call type http.
    #[arg(
        long,
        env = "PP_API_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:3000"
    )]
    api_url: String,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(subcommand)]
    action: Option<Action>,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CallType {
    /// The API.
    Http,
    /// The database, whose schema is never changed.
    Db,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a work.
    Create {
        /// The bound of the sum, 1 to 2147483647 [default: random, 1 to 99].
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        add_up_to: Option<AddUpTo>,

        /// When it is to run, at most 366 days ahead [unit: Unix seconds; default: at once].
        #[arg(long, value_name = "UNIX", allow_negative_numbers = true, value_parser = run_at)]
        run_at: Option<i64>,
    },
    /// List works, newest first.
    Search(SearchArgs),
    /// Show the history of a work, oldest first.
    Events {
        /// The work's id.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        id: i64,
    },
    /// Give a work another bound, to be computed anew.
    Update {
        /// The work's id.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        id: i64,

        /// The bound of the sum, 1 to 2147483647.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        add_up_to: AddUpTo,
    },
    /// End a pending or running work; it stays readable as cancelled.
    Cancel {
        /// The work's id.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        id: i64,
    },
    /// Start a failed or cancelled work over.
    Retry {
        /// The work's id.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        id: i64,
    },
    /// Cancel a work and remove it.
    Delete {
        /// The work's id.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        id: i64,
    },
    /// Show how many works there are in each status, how fast they become done, and the newest.
    Stats {
        /// Count all works anew before, with call type db only.
        #[arg(long)]
        rebuild: bool,
    },
    /// Follow changes as they happen, those of all works or of one until its end.
    Watch(WatchArgs),
    /// Look at what was given up, run it again or drop it.
    #[command(subcommand)]
    Deadletter(DeadletterAction),
}

#[derive(Debug, Subcommand)]
enum DeadletterAction {
    /// List dead letters, newest first.
    List {
        /// At most so many letters, 1 to 1000.
        #[arg(long, value_name = "N", default_value_t = LETTERS, value_parser = whole(1..=1000_u16))]
        limit: u16,

        /// Only letters with a smaller number than this: where the page before ended.
        #[arg(long, value_name = "N", value_parser = whole(0..=i64::MAX))]
        before: Option<i64>,
    },
    /// Run dead letters again.
    Redrive(Which),
    /// Forget dead letters; their works stay failed.
    Drop(Which),
}

#[derive(ClapArgs, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// The letters with these numbers, at most 1000; may be repeated.
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', value_parser = whole(1..=i64::MAX))]
    id: Vec<i64>,

    /// All of them.
    #[arg(long)]
    all: bool,
}

#[derive(ClapArgs, Debug)]
struct WatchArgs {
    /// Only this work, until it is done (exit code 0), or failed, cancelled or deleted (1).
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with_all = ["work_code", "status"])]
    id: Option<i64>,

    /// Only works whose code begins like this.
    #[arg(long, value_name = "CODE")]
    work_code: Option<String>,

    /// Only changes that leave their work in this status: pending, running, done, failed or cancelled.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,

    /// How long each addition takes, as the consumer has it, to show how far the one work is [unit: duration, as in
    /// 10ms].
    #[arg(long, env = "PP_PACE", value_name = "DURATION", default_value = "0", value_parser = duration)]
    pace: Duration,
}

#[derive(ClapArgs, Debug)]
struct SearchArgs {
    /// Only works whose code begins like this.
    #[arg(long, value_name = "CODE")]
    work_code: Option<String>,

    /// Only works in this status: pending, running, done, failed or cancelled.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,

    /// Only works that are done (true) or not done (false).
    #[arg(long, value_name = "BOOL")]
    done: Option<bool>,

    /// Only works created at this time or later [unit: Unix seconds].
    #[arg(long, value_name = "UNIX", value_parser = whole(0..=LATEST))]
    since: Option<i64>,

    /// At most so many works, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = WORKS, value_parser = whole(1..=1000_u16))]
    limit: u16,
}

/// What to do, whom to ask, how to print.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) command: Command,
    pub(crate) source: Source,
    pub(crate) output: Output,
}

/// Whom to ask, and how.
#[derive(Debug)]
pub(crate) enum Source {
    Http { url: String, timeout: Duration },
    Db { args: DatabaseArgs, timeout: Duration },
}

impl Source {
    /// Makes ready to ask.
    pub(crate) fn open(self) -> Result<Box<dyn Works>, Failure> {
        Ok(match self {
            Self::Http { url, timeout } => Box::new(Api::new(&url, timeout)?),
            Self::Db { args, timeout } => Box::new(Database::open(args, DATABASE, timeout)?),
        })
    }
}

impl Args {
    /// Checks what clap cannot.
    pub(crate) fn resolve(self) -> Result<Settings, Failure> {
        let timeout = self.timeout;
        let source = match self.call_type {
            CallType::Http => Source::Http {
                url: self.api_url,
                timeout,
            },
            CallType::Db => Source::Db {
                args: self.database,
                timeout,
            },
        };
        let command = command(self.id, self.work_code, self.action)?;
        if matches!((&command, &source), (Command::Watch(_), Source::Db { .. })) {
            return Err(Failure::Usage(ONLY_HTTP.to_owned()));
        }
        Ok(Settings {
            command,
            source,
            output: self.output,
        })
    }
}

fn command(id: Option<i64>, work_code: Option<String>, action: Option<Action>) -> Result<Command, Failure> {
    let usage = |why: &str| Err(Failure::Usage(why.to_owned()));
    match (id, work_code, action) {
        (Some(id), None, None) => Ok(Command::Show(WorkId(id))),
        (None, Some(code), None) => Ok(Command::Search(Search {
            work_code: Some(prefix(&code)?),
            status: None,
            since: None,
            before: None,
            limit: WORKS,
        })),
        (None, None, None) => usage("one of --id and --work-code is needed, or a subcommand; see --help"),
        (Some(_), Some(_), None) => usage("--id and --work-code exclude each other"),
        (None, None, Some(action)) => action.command(),
        (_, _, Some(_)) => usage("--id and --work-code of a subcommand are written after it"),
    }
}

impl Action {
    fn command(self) -> Result<Command, Failure> {
        Ok(match self {
            Self::Create { add_up_to, run_at } => Command::Create(Wanted { add_up_to, run_at }),
            Self::Events { id } => Command::Events(WorkId(id)),
            Self::Update { id, add_up_to } => Command::Update(WorkId(id), add_up_to),
            Self::Cancel { id } => Command::Cancel(WorkId(id)),
            Self::Retry { id } => Command::Retry(WorkId(id)),
            Self::Delete { id } => Command::Delete(WorkId(id)),
            Self::Stats { rebuild } => Command::Stats { rebuild },
            Self::Watch(watch) => Command::Watch(watch.watch()?),
            Self::Deadletter(action) => Command::DeadLetters(action.command()?),
            Self::Search(search) => Command::Search(Search {
                work_code: search.work_code.as_deref().map(prefix).transpose()?,
                status: status_and_done(search.status, search.done)?,
                since: search.since,
                before: None,
                limit: search.limit,
            }),
        })
    }
}

impl WatchArgs {
    fn watch(self) -> Result<Watch, Failure> {
        let what = match self.id {
            Some(id) => Followed::One(WorkId(id)),
            None => Followed::All {
                work_code: self.work_code.as_deref().map(prefix).transpose()?,
                status: self.status,
            },
        };
        Ok(Watch { what, pace: self.pace })
    }
}

impl DeadletterAction {
    fn command(self) -> Result<DeadLetters, Failure> {
        Ok(match self {
            Self::List { limit, before } => DeadLetters::List {
                before: before.map(DeadLetterId),
                limit,
            },
            Self::Redrive(which) => DeadLetters::Redrive(which.selection()?),
            Self::Drop(which) => DeadLetters::Drop(which.selection()?),
        })
    }
}

impl Which {
    fn selection(self) -> Result<Selection, Failure> {
        if self.all {
            return Ok(Selection::All);
        }
        if self.id.len() > MOST_LETTERS {
            return Err(Failure::Usage(format!("--id names more than {MOST_LETTERS} letters")));
        }
        Ok(Selection::Ids(self.id.into_iter().map(DeadLetterId).collect()))
    }
}

fn prefix(text: &str) -> Result<WorkCodePrefix, Failure> {
    let most = WorkCodePrefix::MAX_LENGTH;
    WorkCodePrefix::parse(text).ok_or_else(|| Failure::Usage(format!("--work-code is longer than {most} bytes")))
}

/// Both may be given, as long as some work can be both.
fn status_and_done(status: Option<Status>, done: Option<bool>) -> Result<Option<(Status, bool)>, Failure> {
    match (status, done) {
        (Some(status), Some(done)) if (status == Status::Done) != done => Err(Failure::Usage(format!(
            "--status {status} and --done {done} contradict each other"
        ))),
        (Some(status), _) => Ok(Some((status, true))),
        (None, done) => Ok(done.map(|done| (Status::Done, done))),
    }
}

fn status(text: &str) -> Result<Status, String> {
    text.parse()
        .map_err(|()| format!("expected one of {}", Status::ALL.map(Status::as_str).join(", ")))
}

fn run_at(text: &str) -> Result<i64, String> {
    whole(0..=latest_run_at())(text)
}

fn timeout(text: &str) -> Result<Duration, String> {
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3600));
    let timeout = duration(text)?;
    if (least..=most).contains(&timeout) {
        Ok(timeout)
    } else {
        Err(format!("expected {} to {}", DurationText(least), DurationText(most)))
    }
}

/// What says how to ask may stand before a subcommand or after it.
fn anywhere(argument: clap::Arg) -> clap::Arg {
    let of_the_lookup = ["id", "work_code"].contains(&argument.get_id().as_str());
    argument.global(!of_the_lookup)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn resolve(args: &[&str]) -> Result<Settings, Failure> {
        Args::try_parse_from([&["cli_01"], args].concat())
            .expect("clap takes these")
            .resolve()
    }

    fn usage(args: &[&str]) -> String {
        match resolve(args) {
            Err(Failure::Usage(line)) => line,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault_in_the_flags() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_lookup_needs_exactly_one_of_its_two_flags() {
        assert!(matches!(
            resolve(&["--id", "7"]).unwrap().command,
            Command::Show(WorkId(7))
        ));
        let listed = resolve(&["--work-code", "api-"]).unwrap().command;
        assert!(matches!(listed, Command::Search(Search { limit: 1000, .. })));
        for wrong in [&[][..], &["--id", "7", "--work-code", "x"], &["--id", "7", "create"]] {
            assert!(usage(wrong).contains("--id and --work-code"));
        }
        assert!(usage(&["--work-code", &"a".repeat(65)]).contains("64 bytes"));
    }

    #[test]
    fn how_to_ask_may_stand_before_or_after_a_subcommand() {
        for args in [["--call-type", "db", "create"], ["create", "--call-type", "db"]] {
            assert!(matches!(resolve(&args).unwrap().source, Source::Db { .. }), "{args:?}");
        }
        let settings = resolve(&[
            "events",
            "--id",
            "3",
            "--database-timeout",
            "7s",
            "--output",
            "json",
            "--call-type",
            "db",
        ]);
        let settings = settings.unwrap();
        assert_eq!(settings.output, Output::Json);
        assert!(matches!(settings.source, Source::Db { args, .. } if args.timeout == Duration::from_secs(7)));
    }

    #[test]
    fn status_and_done_agree_or_are_refused() {
        let found = |args: &[&str]| match resolve(&[&["search"], args].concat()).unwrap().command {
            Command::Search(search) => search.status,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(&["--done", "false"]), Some((Status::Done, false)));
        assert_eq!(
            found(&["--done", "false", "--status", "failed"]),
            Some((Status::Failed, true))
        );
        assert_eq!(
            found(&["--done", "true", "--status", "done"]),
            Some((Status::Done, true))
        );
        for wrong in [["true", "failed"], ["false", "done"]] {
            let line = usage(&["search", "--done", wrong[0], "--status", wrong[1]]);
            assert!(line.contains("contradict"), "{line}");
        }
    }

    #[test]
    fn one_work_is_watched_or_all_that_match_but_no_database() {
        let watched = |args: &[&str]| match resolve(&[&["watch"], args].concat()).unwrap().command {
            Command::Watch(watch) => watch.what,
            other => panic!("{other:?}"),
        };
        assert_eq!(watched(&["--id", "7", "--pace", "5ms"]), Followed::One(WorkId(7)));
        let all = Followed::All {
            work_code: WorkCodePrefix::parse("api-"),
            status: Some(Status::Failed),
        };
        assert_eq!(watched(&["--work-code", "api-", "--status", "failed"]), all);
        assert_eq!(usage(&["watch", "--call-type", "db"]), ONLY_HTTP);
    }

    #[test]
    fn letters_are_chosen_by_number_or_all_together() {
        let chosen = |args: &[&str]| match resolve(&[&["deadletter"], args].concat()).unwrap().command {
            Command::DeadLetters(what) => what,
            other => panic!("{other:?}"),
        };
        let ids = |ids: &[i64]| Selection::Ids(ids.iter().copied().map(DeadLetterId).collect());
        for args in [
            &["redrive", "--id", "1", "2"][..],
            &["redrive", "--id", "1,2"],
            &["redrive", "--id", "1", "--id", "2"],
        ] {
            assert_eq!(chosen(args), DeadLetters::Redrive(ids(&[1, 2])), "{args:?}");
        }
        assert_eq!(chosen(&["drop", "--all"]), DeadLetters::Drop(Selection::All));
        let many = vec!["1"; 1001].join(",");
        assert!(usage(&["deadletter", "drop", "--id", &many]).contains("1000"));
    }

    #[test]
    fn values_have_bounds() {
        for bad in [
            &["--id", "x"][..],
            &["--id", "99999999999999999999"],
            &["--id", "1", "--timeout", "5"],
            &["--id", "1", "--timeout", "0"],
            &["--id", "1", "--timeout", "2h"],
            &["--id", "1", "--call-type", "ftp"],
            &["search", "--limit", "0"],
            &["search", "--limit", "1001"],
            &["search", "--since", "-1"],
            &["search", "--status", "lost"],
            &["create", "--add-up-to", "0"],
            &["create", "--add-up-to", "-5"],
            &["create", "--add-up-to", "2147483648"],
            &["create", "--run-at", "-1"],
            &["create", "--run-at", "4000000000"],
            &["events"],
            &["update", "--id", "1"],
            &["delete"],
            &["deadletter"],
            &["deadletter", "list", "--limit", "1001"],
            &["deadletter", "redrive"],
            &["deadletter", "redrive", "--id", "1", "--all"],
            &["deadletter", "drop", "--id", "0"],
            &["watch", "--id", "1", "--status", "done"],
            &["watch", "--id", "1", "--work-code", "api-"],
            &["watch", "--status", "lost"],
            &["watch", "--id", "1", "--pace", "5"],
        ] {
            assert!(Args::try_parse_from([&["cli_01"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
