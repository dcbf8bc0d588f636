//! The arguments of `deadletter`.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use pp_cli::config::whole;
use pp_lib::domain::{DeadLetterId, KindName};
use pp_lib::store::{LetterFilter, Selection};

use crate::commands::{Change, DeadLetters};
use crate::failure::Failure;

/// The default number of dead letters listed, and the maximum number of letters in one call. The API has the same.
const DEFAULT_LETTERS: u16 = 50;
const MAX_LETTERS: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum DeadletterAction {
    /// List dead letters, newest first.
    List {
        #[command(flatten)]
        filter: FilterArgs,

        /// The maximum number of letters, 1 to 1000.
        #[arg(long, value_name = "N", default_value_t = DEFAULT_LETTERS, value_parser = whole(1..=1000_u16))]
        limit: u16,

        /// Only letters with a smaller number; pass the last number of the page before.
        #[arg(long, value_name = "N", value_parser = whole(0..=i64::MAX))]
        before: Option<i64>,
    },
    /// Run dead letters again.
    Redrive(ChangeArgs),
    /// Remove dead letters; their works stay failed.
    Drop(ChangeArgs),
}

#[derive(Args, Debug)]
pub(super) struct FilterArgs {
    /// Only letters of this kind.
    #[arg(long, value_name = "KIND")]
    kind: Option<KindName>,

    /// Only letters whose reason begins with TEXT.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    error: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ChangeArgs {
    /// The number of a letter; may be repeated up to 1000 times.
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', value_parser = whole(1..=i64::MAX),
        conflicts_with_all = ["all", "kind", "error"], required_unless_present_any = ["all", "kind", "error"])]
    id: Vec<i64>,

    #[command(flatten)]
    filter: FilterArgs,

    /// All letters.
    #[arg(long, conflicts_with_all = ["kind", "error"])]
    all: bool,

    /// Only show the number of letters.
    #[arg(long)]
    dry_run: bool,
}

impl DeadletterAction {
    pub(super) fn command(self) -> Result<DeadLetters, Failure> {
        Ok(match self {
            Self::List { filter, limit, before } => DeadLetters::List {
                filter: filter.filter(),
                before: before.map(DeadLetterId),
                limit,
            },
            Self::Redrive(which) => DeadLetters::Redrive(which.change()?),
            Self::Drop(which) => DeadLetters::Drop(which.change()?),
        })
    }
}

impl FilterArgs {
    fn filter(self) -> LetterFilter {
        LetterFilter {
            kind: self.kind,
            error: self.error,
        }
    }
}

impl ChangeArgs {
    fn change(self) -> Result<Change, Failure> {
        if self.id.len() > MAX_LETTERS {
            return Err(Failure::Usage(format!(
                "--id names more than {MAX_LETTERS} letters; use several calls"
            )));
        }
        let which = if self.all {
            Selection::ALL
        } else if self.id.is_empty() {
            Selection::Matching(self.filter.filter())
        } else {
            Selection::Ids(self.id.into_iter().map(DeadLetterId).collect())
        };
        Ok(Change {
            which,
            dry_run: self.dry_run,
        })
    }
}
