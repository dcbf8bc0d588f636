//! Parses the command line into a command and the source that answers it, and checks every value.
//!
//! Without a subcommand the program does the lookup that existing scripts call: `--id N` or `--work-code C`.

mod dead_letters;
mod keys;
mod kinds;
mod search;
mod watch;

use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use pp_cli::config::{DatabaseArgs, DurationText, TlsArgs, duration, whole};
use pp_lib::access::ApiKey;
use pp_lib::domain::{AddUpTo, Json, KindName, Status, Unique, WebUrl, WorkCodePrefix, WorkId};
use pp_lib::serving::{CreateWork, latest_run_at, requested_args};
use pp_lib::store::Search;
use pp_lib::tls::Trust;

use self::dead_letters::DeadletterAction;
use self::keys::{AuditArgs, KeyAction, OwnKey};
use self::kinds::{KindAction, WorkerAction};
use self::search::SearchArgs;
use self::watch::WatchArgs;
use crate::commands::{Command, ONLY_HTTP, Works};
use crate::db::Database;
use crate::failure::Failure;
use crate::http::Api;
use crate::output::Output;

/// The default number of works found. The API has the same default.
const DEFAULT_WORKS: u16 = 1000;

const DATABASE: &str = "sqlite://data/pp.sqlite";

const NOTES: &str = "Exit codes:
  0  done
  1  not found, nothing matches, or the work's status rules it out
  2  usage
  3  the API or the database is unavailable, or not one that this program knows";

/// Creates, shows and changes works, over HTTP or directly in the database.
#[derive(Debug, Parser)]
#[command(name = "cli_01", version, max_term_width = 100, after_help = NOTES, mut_args(global_option))]
pub(crate) struct Args {
    /// Show the work with this id.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    id: Option<i64>,

    /// List the newest 1000 works whose code begins with CODE.
    #[arg(long, value_name = "CODE")]
    work_code: Option<String>,

    /// The source: the API, or the database itself.
    #[arg(long, value_enum, default_value = "http")]
    call_type: CallType,

    /// The output format: the API's JSON, or a table for people.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,

    /// The time limit of a call [unit: duration, as in 5s].
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = timeout)]
    timeout: Duration,

    /// The address of the API, for call type http.
    #[arg(
        long,
        env = "PP_API_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:3000"
    )]
    api_url: String,

    #[command(flatten)]
    own_key: OwnKey,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(subcommand)]
    action: Option<Action>,
}

/// The source of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CallType {
    /// The API.
    Http,
    /// The database. Its schema is never changed.
    Db,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a work.
    Create {
        /// The bound of the sum, 1 to 2147483647 [default: random, 1 to 99].
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        add_up_to: Option<AddUpTo>,

        /// The kind of work [default: add_up_to].
        #[arg(long, value_name = "KIND", requires = "args", conflicts_with = "add_up_to")]
        kind: Option<KindName>,

        /// The arguments of a work of another kind, as JSON.
        #[arg(long, value_name = "JSON", requires = "kind", value_parser = args_json)]
        args: Option<Json>,

        /// The time it starts, at most 366 days ahead [unit: Unix seconds; default: at once].
        #[arg(long, value_name = "UNIX", allow_negative_numbers = true, value_parser = run_at)]
        run_at: Option<i64>,

        /// While a work of the kind with this text is unfinished, show that one instead [1 to 255 bytes].
        #[arg(long, value_name = "TEXT", value_parser = unique)]
        unique: Option<Unique>,

        /// The http or https URL that is told when the work is finished.
        #[arg(long, value_name = "URL", value_parser = web_url)]
        notify: Option<WebUrl>,
    },
    /// List works, newest first.
    Search(SearchArgs),
    /// Show the history of a work, oldest first.
    Events(OneWork),
    /// Give a work another bound or other arguments and compute it again.
    Update {
        #[command(flatten)]
        work: OneWork,

        /// The bound of the sum, 1 to 2147483647.
        #[arg(
            long,
            value_name = "N",
            allow_negative_numbers = true,
            required_unless_present = "args",
            conflicts_with = "args"
        )]
        add_up_to: Option<AddUpTo>,

        /// The arguments of a work of another kind, as JSON.
        #[arg(long, value_name = "JSON", value_parser = args_json)]
        args: Option<Json>,
    },
    /// End a pending or running work; it stays readable as cancelled.
    Cancel(OneWork),
    /// Start a failed or cancelled work again.
    Retry(OneWork),
    /// Cancel a work and remove it.
    Delete(OneWork),
    /// Show the number of works in each status, their throughput and the newest works.
    Stats {
        /// Count all works again first; needs call type db.
        #[arg(long)]
        rebuild: bool,

        /// Only works of this kind.
        #[arg(long, value_name = "KIND")]
        kind: Option<KindName>,
    },
    /// Follow changes as they happen, of all works or of one until its end.
    Watch(WatchArgs),
    /// List dead letters, run them again or drop them.
    #[command(subcommand)]
    Deadletter(DeadletterAction),
    /// List kinds of works, pause them or change their settings.
    #[command(subcommand)]
    Kind(KindAction),
    /// List the workers, and what each works on.
    #[command(subcommand)]
    Worker(WorkerAction),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Key(KeyAction),
    /// Show who changed what, newest first.
    Audit(AuditArgs),
}

#[derive(ClapArgs, Debug)]
struct OneWork {
    /// The id of the work.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    id: i64,
}

/// The command, its source and its output format.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) command: Command,
    pub(crate) source: Source,
    pub(crate) trust: Trust,
    /// The time limit of a call.
    pub(crate) timeout: Duration,
    pub(crate) output: Output,
}

/// The source of answers and its settings.
#[derive(Debug)]
pub(crate) enum Source {
    Http(String, Option<ApiKey>),
    Db(DatabaseArgs),
}

impl Source {
    pub(crate) fn open(self, trust: &Trust, timeout: Duration) -> Result<Box<dyn Works>, Failure> {
        Ok(match self {
            Self::Http(url, key) => Box::new(Api::new(&url, key.as_ref(), trust, timeout)?),
            Self::Db(args) => Box::new(Database::open(args, DATABASE, trust, timeout)?),
        })
    }
}

impl Args {
    /// Checks the combinations that clap cannot check.
    pub(crate) fn resolve(self) -> Result<Settings, Failure> {
        let source = match self.call_type {
            CallType::Http => Source::Http(self.api_url, self.own_key.key()?),
            CallType::Db => Source::Db(self.database),
        };
        let command = command(self.id, self.work_code, self.action)?;
        if matches!((&command, &source), (Command::Watch(_), Source::Db(_))) {
            return Err(Failure::Usage(ONLY_HTTP.to_owned()));
        }
        Ok(Settings {
            command,
            source,
            trust: self.tls.trust().map_err(|error| Failure::Usage(error.to_string()))?,
            timeout: self.timeout,
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
            kind: None,
            status: None,
            since: None,
            before: None,
            limit: DEFAULT_WORKS,
        })),
        (None, None, None) => usage("give --id, --work-code or a subcommand; see --help"),
        (Some(_), Some(_), None) => usage("--id and --work-code exclude each other; give one"),
        (None, None, Some(action)) => action.command(),
        (_, _, Some(_)) => usage("write --id and --work-code after the subcommand"),
    }
}

impl Action {
    fn command(self) -> Result<Command, Failure> {
        Ok(match self {
            Self::Create {
                add_up_to,
                kind,
                args,
                run_at,
                unique,
                notify,
            } => {
                let kind = kind.unwrap_or_default();
                let args = requested_args(&kind, add_up_to, args).map_err(Failure::Usage)?;
                Command::Create(CreateWork {
                    kind,
                    args,
                    run_at,
                    unique,
                    notify,
                })
            }
            Self::Events(work) => Command::Events(WorkId(work.id)),
            Self::Update { work, add_up_to, args } => {
                let args = add_up_to.map(AddUpTo::args).or(args);
                let missing = || Failure::Usage("give --add-up-to or --args".to_owned());
                Command::Update(WorkId(work.id), args.ok_or_else(missing)?)
            }
            Self::Cancel(work) => Command::Cancel(WorkId(work.id)),
            Self::Retry(work) => Command::Retry(WorkId(work.id)),
            Self::Delete(work) => Command::Delete(WorkId(work.id)),
            Self::Stats { rebuild, kind } => Command::Stats { rebuild, kind },
            Self::Watch(watch) => Command::Watch(watch.watch()?),
            Self::Deadletter(action) => Command::DeadLetters(action.command()?),
            Self::Kind(action) => Command::Kinds(action.command()?),
            Self::Worker(WorkerAction::List { limit }) => Command::Workers { limit },
            Self::Key(action) => Command::Keys(action.command()),
            Self::Audit(audit) => Command::Keys(audit.command()),
            Self::Search(search) => Command::Search(search.search()?),
        })
    }
}

fn prefix(text: &str) -> Result<WorkCodePrefix, Failure> {
    let most = WorkCodePrefix::MAX_LENGTH;
    WorkCodePrefix::parse(text).ok_or_else(|| Failure::Usage(format!("--work-code may be at most {most} bytes long")))
}

fn status(text: &str) -> Result<Status, String> {
    text.parse()
        .map_err(|()| format!("expected one of {}", Status::ALL.map(Status::as_str).join(", ")))
}

fn args_json(text: &str) -> Result<Json, String> {
    Json::parse(text.as_bytes(), Json::USUAL_LIMIT).map_err(|error| error.to_string())
}

fn web_url(text: &str) -> Result<WebUrl, String> {
    WebUrl::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn unique(text: &str) -> Result<Unique, String> {
    Unique::try_from(text.to_owned()).map_err(|error| error.to_string())
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

/// Lets an option for source or output stand before and after a subcommand.
fn global_option(argument: clap::Arg) -> clap::Arg {
    let of_the_lookup = ["id", "work_code"].contains(&argument.get_id().as_str());
    argument.global(!of_the_lookup)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use pp_lib::domain::DeadLetterId;
    use pp_lib::store::{LetterFilter, Selection};

    use super::*;
    use crate::commands::{Change, DeadLetters, Followed};

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
    fn clap_accepts_the_definition_of_the_flags() {
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
            let line = usage(wrong);
            assert!(line.contains("--id") && line.contains("--work-code"), "{line}");
        }
        assert!(usage(&["--work-code", &"a".repeat(65)]).contains("64 bytes"));
    }

    #[test]
    fn source_options_may_stand_before_or_after_a_subcommand() {
        for args in [["--call-type", "db", "create"], ["create", "--call-type", "db"]] {
            assert!(matches!(resolve(&args).unwrap().source, Source::Db(_)), "{args:?}");
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
        assert!(matches!(settings.source, Source::Db(args) if args.timeout == Duration::from_secs(7)));
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
    fn watch_follows_one_work_or_a_search_and_refuses_a_database() {
        let watched = |args: &[&str]| match resolve(&[&["watch"], args].concat()).unwrap().command {
            Command::Watch(watch) => watch.what,
            other => panic!("{other:?}"),
        };
        assert_eq!(watched(&["--id", "7", "--pace", "5ms"]), Followed::One(WorkId(7)));
        let all = Followed::All {
            work_code: WorkCodePrefix::parse("api-"),
            kind: Some("user.welcome".parse().unwrap()),
            status: Some(Status::Failed),
        };
        let args = ["--work-code", "api-", "--kind", "user.welcome", "--status", "failed"];
        assert_eq!(watched(&args), all);
        assert_eq!(usage(&["watch", "--call-type", "db"]), ONLY_HTTP);
    }

    #[test]
    fn letters_are_selected_by_number_by_kind_and_error_or_all_together() {
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
            let which = ids(&[1, 2]);
            let expected = DeadLetters::Redrive(Change { which, dry_run: false });
            assert_eq!(chosen(args), expected, "{args:?}");
        }
        let (which, dry_run) = (Selection::ALL, true);
        assert_eq!(
            chosen(&["drop", "--all", "--dry-run"]),
            DeadLetters::Drop(Change { which, dry_run })
        );
        let (kind, error) = (Some("user.welcome".parse().unwrap()), Some("no address".to_owned()));
        let filter = LetterFilter { kind, error };
        let (before, limit) = (None, 50);
        let narrowed = ["--kind", "user.welcome", "--error", "no address"];
        assert_eq!(
            chosen(&[&["redrive"], &narrowed[..]].concat()),
            DeadLetters::Redrive(Change {
                which: Selection::Matching(filter.clone()),
                dry_run: false
            })
        );
        assert_eq!(
            chosen(&[&["list"], &narrowed[..]].concat()),
            DeadLetters::List { filter, before, limit }
        );
        let many = vec!["1"; 1001].join(",");
        assert!(usage(&["deadletter", "drop", "--id", &many]).contains("1000"));
    }

    #[test]
    fn a_value_out_of_bounds_is_refused() {
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
            &["deadletter", "redrive", "--dry-run"],
            &["deadletter", "redrive", "--id", "1", "--kind", "a"],
            &["deadletter", "drop", "--all", "--error", "a"],
            &["deadletter", "drop", "--error", ""],
            &["deadletter", "list", "--kind", "A"],
            &["deadletter", "drop", "--id", "0"],
            &["search", "--kind", "no kind"],
            &["stats", "--kind", ""],
            &["watch", "--id", "1", "--status", "done"],
            &["watch", "--id", "1", "--work-code", "api-"],
            &["watch", "--id", "1", "--kind", "a"],
            &["watch", "--status", "lost"],
            &["watch", "--id", "1", "--pace", "5"],
        ] {
            assert!(Args::try_parse_from([&["cli_01"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
