//! The arguments of `work` and of the earlier forms `create`, `events`, `update`, `cancel`, `retry` and `delete`.

use clap::{Args, Subcommand};
use pp_lib::domain::{AddUpTo, Json, KindName, Unique, WebUrl, WorkCode, WorkId};
use pp_lib::serving::{CreateWork, requested_args};

use super::search::SearchArgs;
use super::times::run_at;
use crate::commands::{Command, Empty, Which};
use crate::failure::Failure;

const CREATE_EXAMPLES: &str = "Examples:
  cli_01 work create --add-up-to 100
  cli_01 work create --kind user.mail --args '{\"to\":\"ada@example.com\"}' --run-at +1h";

const SEARCH_EXAMPLES: &str = "Examples:
  cli_01 work search --status failed --since -1d
  cli_01 work search --kind user.mail --limit 20 --json";

#[derive(Debug, Subcommand)]
pub(super) enum WorkAction {
    /// Show a work.
    Show(WhichWork),
    /// List works, newest first; none is no error.
    #[command(visible_alias = "list", after_help = SEARCH_EXAMPLES)]
    Search(SearchArgs),
    /// Create a work.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// Show the history of a work, oldest first.
    Events(WhichWork),
    /// Give a work another bound or other arguments and compute it again.
    Update {
        #[command(flatten)]
        work: WhichWork,

        #[command(flatten)]
        new: NewArgs,
    },
    /// End a pending or running work; it stays readable as cancelled.
    Cancel(WhichWork),
    /// Start a failed or cancelled work again.
    Retry(WhichWork),
    /// Cancel a work and remove it.
    Delete(WhichWork),
}

impl WorkAction {
    pub(super) fn command(self) -> Result<Command, Failure> {
        Ok(match self {
            Self::Show(work) => Command::Show(work.work),
            Self::Search(search) => Command::Search(search.search()?, Empty::Fine),
            Self::Create(create) => create.command()?,
            Self::Events(work) => Command::Events(work.work, Empty::Fine),
            Self::Update { work, new } => Command::Update(work.work, new.args()?),
            Self::Cancel(work) => Command::Cancel(work.work),
            Self::Retry(work) => Command::Retry(work.work),
            Self::Delete(work) => Command::Delete(work.work),
        })
    }
}

/// A work, as its position names it.
#[derive(Args, Debug)]
pub(super) struct WhichWork {
    /// The id of the work, or its code.
    #[arg(value_name = "WORK", value_parser = which, allow_negative_numbers = true)]
    work: Which,
}

/// A work, as the earlier forms name it.
#[derive(Args, Debug)]
pub(super) struct OneWork {
    /// The id of the work.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    id: i64,
}

impl OneWork {
    pub(super) fn which(&self) -> Which {
        Which::Id(WorkId(self.id))
    }
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// The bound of the sum, 1 to 2147483647 [default: random, 1 to 99].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    add_up_to: Option<AddUpTo>,

    /// The kind of work [default: add_up_to].
    #[arg(long, value_name = "KIND", requires = "args", conflicts_with = "add_up_to")]
    kind: Option<KindName>,

    /// The arguments of a work of another kind, as JSON.
    #[arg(long, value_name = "JSON", requires = "kind", value_parser = args_json)]
    args: Option<Json>,

    /// The time it starts, at most 366 days ahead [Unix seconds, or from now as in +1h; default: at once].
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = run_at)]
    run_at: Option<i64>,

    /// While a work of the kind with this text is unfinished, show that one instead [1 to 255 bytes].
    #[arg(long, value_name = "TEXT", value_parser = unique)]
    unique: Option<Unique>,

    /// The http or https URL that is told when the work is finished.
    #[arg(long, value_name = "URL", value_parser = web_url)]
    notify: Option<WebUrl>,
}

impl CreateArgs {
    pub(super) fn command(self) -> Result<Command, Failure> {
        let kind = self.kind.unwrap_or_default();
        let args = requested_args(&kind, self.add_up_to, self.args).map_err(Failure::Usage)?;
        Ok(Command::Create(CreateWork {
            kind,
            args,
            run_at: self.run_at,
            unique: self.unique,
            notify: self.notify,
        }))
    }
}

/// What a work is to compute from now on.
#[derive(Args, Debug)]
pub(super) struct NewArgs {
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
}

impl NewArgs {
    pub(super) fn args(self) -> Result<Json, Failure> {
        let args = self.add_up_to.map(AddUpTo::args).or(self.args);
        args.ok_or_else(|| Failure::Usage("give --add-up-to or --args".to_owned()))
    }
}

fn which(text: &str) -> Result<Which, String> {
    if let Ok(id) = text.parse() {
        return Ok(Which::Id(WorkId(id)));
    }
    let code: Result<WorkCode, _> = text.parse();
    code.map(Which::Code)
        .map_err(|_| "expected an id, as in 7, or a code, as in api-bjq8euwsEA".to_owned())
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
