//! The arguments of `deadletter`.

use clap::{Args, Subcommand};
use pp_cli::config::whole;
use pp_lib::domain::DeadLetterId;
use pp_lib::store::Selection;

use crate::commands::DeadLetters;
use crate::failure::Failure;

/// The default number of dead letters listed, and the maximum number of letters in one call. The API has the same.
const DEFAULT_LETTERS: u16 = 50;
const MAX_LETTERS: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum DeadletterAction {
    /// List dead letters, newest first.
    List {
        /// The maximum number of letters, 1 to 1000.
        #[arg(long, value_name = "N", default_value_t = DEFAULT_LETTERS, value_parser = whole(1..=1000_u16))]
        limit: u16,

        /// Only letters with a smaller number; pass the last number of the page before.
        #[arg(long, value_name = "N", value_parser = whole(0..=i64::MAX))]
        before: Option<i64>,
    },
    /// Run dead letters again.
    Redrive(SelectionArgs),
    /// Remove dead letters; their works stay failed.
    Drop(SelectionArgs),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct SelectionArgs {
    /// The number of a letter; may be repeated up to 1000 times.
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', value_parser = whole(1..=i64::MAX))]
    id: Vec<i64>,

    /// All letters.
    #[arg(long)]
    all: bool,
}

impl DeadletterAction {
    pub(super) fn command(self) -> Result<DeadLetters, Failure> {
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

impl SelectionArgs {
    fn selection(self) -> Result<Selection, Failure> {
        if self.all {
            return Ok(Selection::All);
        }
        if self.id.len() > MAX_LETTERS {
            return Err(Failure::Usage(format!(
                "--id names more than {MAX_LETTERS} letters; use several calls"
            )));
        }
        Ok(Selection::Ids(self.id.into_iter().map(DeadLetterId).collect()))
    }
}
