//! Parses the command line into a request, and checks every value.
//!
//! Without a subcommand the program does the lookup that existing scripts call: `--id N` or `--work-code C`.

mod dead_letters;
mod doctor;
mod groups;
mod keys;
mod kinds;
mod local;
mod search;
#[cfg(test)]
mod tests;
mod times;
mod watch;
mod works;

use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use pp_cli::config::{DatabaseArgs, DurationText, TlsArgs, duration};
use pp_lib::access::ApiKey;
use pp_lib::domain::{KindName, Status, WorkCodePrefix, WorkId};
use pp_lib::store::Search;
use pp_lib::tls::Trust;

use self::dead_letters::DeadletterAction;
use self::doctor::DoctorArgs;
use self::keys::{AuditArgs, KeyAction, OwnKey};
use self::kinds::{KindAction, WorkerAction};
use self::local::{CompletionsArgs, ManArgs};
use self::search::SearchArgs;
use self::watch::WatchArgs;
use self::works::{CreateArgs, NewArgs, OneWork, WorkAction};
use crate::commands::{Command, Doctor, Empty, Local, ONLY_HTTP, Which, Works};
use crate::db::Database;
use crate::failure::Failure;
use crate::http::Api;
use crate::output::Output;

/// The default number of works found. The API has the same default.
const DEFAULT_WORKS: u16 = 1000;

/// The database unless another is named.
pub(crate) const DATABASE: &str = "sqlite://data/pp.sqlite";

/// The widest help, in characters.
const WIDTH: usize = 100;

/// The heading of the options for the source of answers and their form.
const SOURCE: &str = "Source and output";

const NOTES: &str = "Examples:
  cli_01 work create --add-up-to 100
  cli_01 work show 1
  cli_01 work search --status failed --since -1d
  cli_01 kind list --json
  cli_01 doctor
  cli_01 --id 1 --call-type db

Exit codes:
  0  done
  1  not found, nothing matches, or the work's status rules it out
  2  usage
  3  the API or the database is unavailable, or not one that this program knows

`cli_01 COMMAND --help` has the options and examples of a command.";

const KEY_EXAMPLES: &str = "Examples:
  cli_01 key create --name deploy --scopes read,create:user.mail
  cli_01 key revoke 3";

const KIND_EXAMPLES: &str = "Examples:
  cli_01 kind list
  cli_01 kind pause user.mail
  cli_01 kind set user.mail max_attempts=8 backoff.cap=1h";

const LETTER_EXAMPLES: &str = "Examples:
  cli_01 deadletter list --kind user.mail
  cli_01 deadletter redrive --kind user.mail --error 'no address' --dry-run
  cli_01 deadletter drop --id 3 7";

const WATCH_EXAMPLES: &str = "Examples:
  cli_01 watch --id 7
  cli_01 watch --kind user.mail --status failed";

/// Creates, shows and changes works, over HTTP or directly in the database.
#[derive(Debug, Parser)]
#[command(
    name = "cli_01",
    version,
    max_term_width = WIDTH,
    help_template = groups::template(),
    after_help = NOTES,
    mut_args(global_option)
)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,

    #[command(subcommand)]
    action: Option<Action>,
}

/// All that stands beside a command.
#[derive(ClapArgs, Debug)]
struct Options {
    /// Show the work with this id.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    id: Option<i64>,

    /// List the newest 1000 works whose code begins with CODE.
    #[arg(long, value_name = "CODE")]
    work_code: Option<String>,

    /// The source: the API, or the database itself.
    #[arg(long, value_enum, default_value = "http", help_heading = SOURCE)]
    call_type: CallType,

    /// The output format: the API's JSON, or a table for people.
    #[arg(long, value_enum, default_value = "table", help_heading = SOURCE)]
    output: Output,

    /// The same as --output json.
    #[arg(long, conflicts_with = "output", help_heading = SOURCE)]
    json: bool,

    /// The time limit of a call [unit: duration, as in 5s].
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = timeout, help_heading = SOURCE)]
    timeout: Duration,

    /// The address of the API, for call type http.
    #[arg(
        long,
        env = "PP_API_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:3000",
        help_heading = SOURCE
    )]
    api_url: String,

    #[command(flatten)]
    own_key: OwnKey,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    tls: TlsArgs,
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
    /// Create, show, search, change, cancel and retry works.
    #[command(subcommand, arg_required_else_help = false)]
    Work(WorkAction),
    /// Create a work.
    Create(CreateArgs),
    /// List works, newest first.
    Search(SearchArgs),
    /// Show the history of a work, oldest first.
    Events(OneWork),
    /// Give a work another bound or other arguments and compute it again.
    Update {
        #[command(flatten)]
        work: OneWork,

        #[command(flatten)]
        new: NewArgs,
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
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// List dead letters, run them again or drop them.
    #[command(subcommand, arg_required_else_help = false, after_help = LETTER_EXAMPLES)]
    Deadletter(DeadletterAction),
    /// List kinds of works, pause them or change their settings.
    #[command(subcommand, arg_required_else_help = false, after_help = KIND_EXAMPLES)]
    Kind(KindAction),
    /// List the workers, and what each works on.
    #[command(subcommand, arg_required_else_help = false)]
    Worker(WorkerAction),
    /// Make, list and revoke API keys.
    #[command(subcommand, arg_required_else_help = false, after_help = KEY_EXAMPLES)]
    Key(KeyAction),
    /// Show who changed what, newest first.
    Audit(AuditArgs),
    /// Check servers, schema, queues, clocks, TLS, keys and kinds, and say what to do.
    #[command(after_help = doctor::NOTES)]
    Doctor(DoctorArgs),
    /// Print completions for a shell.
    #[command(after_help = local::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print manual pages.
    #[command(after_help = local::PAGES)]
    Man(ManArgs),
}

/// What is asked of the program.
#[derive(Debug)]
pub(crate) enum Request {
    /// Something about itself.
    Local(Local),
    /// A command for a source of works.
    Ask(Box<Settings>),
    /// The checks of the whole system.
    Doctor(Box<Doctor>),
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
    pub(crate) fn resolve(self) -> Result<Request, Failure> {
        let Options {
            id,
            work_code,
            call_type,
            output,
            json,
            timeout,
            api_url,
            own_key,
            database,
            tls,
        } = self.options;
        let output = if json { Output::Json } else { output };
        let trust = || tls.trust().map_err(|error| Failure::Usage(error.to_string()));
        let action = match self.action {
            Some(Action::Completions(shell)) => return Ok(Request::Local(shell.local())),
            Some(Action::Man(page)) => return Ok(Request::Local(page.local())),
            Some(Action::Doctor(servers)) => {
                let api = match call_type {
                    CallType::Http => Some((api_url, own_key.key()?)),
                    CallType::Db => None,
                };
                let doctor = servers.doctor(api, database, trust()?, timeout, output)?;
                return Ok(Request::Doctor(Box::new(doctor)));
            }
            action => action,
        };
        let source = match call_type {
            CallType::Http => Source::Http(api_url, own_key.key()?),
            CallType::Db => Source::Db(database),
        };
        let command = command(id, work_code, action)?;
        if matches!((&command, &source), (Command::Watch(_), Source::Db(_))) {
            return Err(Failure::Usage(ONLY_HTTP.to_owned()));
        }
        Ok(Request::Ask(Box::new(Settings {
            command,
            source,
            trust: trust()?,
            timeout,
            output,
        })))
    }
}

fn command(id: Option<i64>, work_code: Option<String>, action: Option<Action>) -> Result<Command, Failure> {
    let usage = |why: &str| Err(Failure::Usage(why.to_owned()));
    match (id, work_code, action) {
        (Some(id), None, None) => Ok(Command::Show(Which::Id(WorkId(id)))),
        (None, Some(code), None) => {
            let search = Search {
                work_code: Some(prefix(&code)?),
                kind: None,
                status: None,
                since: None,
                before: None,
                limit: DEFAULT_WORKS,
            };
            Ok(Command::Search(search, Empty::Failure))
        }
        (None, None, None) => usage("give --id, --work-code or a subcommand; see --help"),
        (Some(_), Some(_), None) => usage("--id and --work-code exclude each other; give one"),
        (None, None, Some(action)) => action.command(),
        (_, _, Some(_)) => usage("write --id and --work-code after the subcommand"),
    }
}

impl Action {
    fn command(self) -> Result<Command, Failure> {
        Ok(match self {
            Self::Work(action) => action.command()?,
            Self::Create(create) => create.command()?,
            Self::Search(search) => Command::Search(search.search()?, Empty::Failure),
            Self::Events(work) => Command::Events(work.which(), Empty::Failure),
            Self::Update { work, new } => Command::Update(work.which(), new.args()?),
            Self::Cancel(work) => Command::Cancel(work.which()),
            Self::Retry(work) => Command::Retry(work.which()),
            Self::Delete(work) => Command::Delete(work.which()),
            Self::Stats { rebuild, kind } => Command::Stats { rebuild, kind },
            Self::Watch(watch) => Command::Watch(watch.watch()?),
            Self::Deadletter(action) => Command::DeadLetters(action.command()?),
            Self::Kind(action) => Command::Kinds(action.command()?),
            Self::Worker(WorkerAction::List { limit }) => Command::Workers { limit },
            Self::Key(action) => Command::Keys(action.command()),
            Self::Audit(audit) => Command::Keys(audit.command()),
            Self::Doctor(_) | Self::Completions(_) | Self::Man(_) => {
                return Err(Failure::Usage("this command stands alone".to_owned()));
            }
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

fn timeout(text: &str) -> Result<Duration, String> {
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3600));
    let timeout = duration(text)?;
    if (least..=most).contains(&timeout) {
        Ok(timeout)
    } else {
        Err(format!("expected {} to {}", DurationText(least), DurationText(most)))
    }
}

/// Lets an option for source or output stand before and after a command. The short help of commands leaves out those of
/// the database and of TLS.
fn global_option(argument: clap::Arg) -> clap::Arg {
    let of_the_lookup = ["id", "work_code"].contains(&argument.get_id().as_str());
    let rare = matches!(argument.get_help_heading(), Some("Database" | "TLS"));
    argument.global(!of_the_lookup).hide_short_help(rare)
}
