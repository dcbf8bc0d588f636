//! Trials: changes that are made to see whether the file takes them, and taken back at once.
//!
//! A rolled-back change is never written to the disk. So each trial also commits a mark: a full disk or a file that
//! cannot be written shows then.

use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, RunQueryDsl as _, sql_query};

use super::rows::NOW;
use super::{complete, create};
use crate::domain::{AddUpTo, KindName, MessageId, Origin, Run, WorkCode};
use crate::store::refusal::{Steps, like_completed, like_new};
use crate::store::{Completion, Guard, NewWork, Outcome};

/// Creates another work like this one.
pub(super) fn create(connection: &mut SqliteConnection, work: &NewWork) -> QueryResult<()> {
    any(connection, like_new(work), |connection, other| {
        create::create(connection, &[other]).map(drop)
    })
}

/// Completes another work like this one, which is created and started first where the guard asks for that.
pub(super) fn complete(connection: &mut SqliteConnection, kind: &KindName, completion: &Completion) -> QueryResult<()> {
    any(connection, like_completed(kind, completion), |connection, steps| {
        let Steps { created, completed } = steps;
        if let Some(work) = created {
            create::create(connection, &[work])?;
        }
        completed
            .into_iter()
            .try_for_each(|step| complete::complete(connection, kind, &[step]).map(drop))
    })
}

/// Inserts into the tables that works need, and changes what it inserted.
pub(super) fn writes(connection: &mut SqliteConnection) -> QueryResult<()> {
    complete(connection, KindName::add_up_to(), &any_completion())
}

/// A completion of a made-up work that writes to all tables that works need.
fn any_completion() -> Completion {
    let new = format!("trial-{:032x}", rand::random::<u128>());
    Completion {
        message_id: MessageId::try_from(new).unwrap_or_else(|_| unreachable!("it is printable and short")),
        work_code: WorkCode::new(Origin::Api, rand::random()),
        args: Some(AddUpTo::MIN.args()),
        guard: Guard::Pending(Run::FIRST),
        outcome: Outcome::Failed {
            reason: "a trial".to_owned(),
        },
    }
}

/// Takes the first of these that the file takes back, and leaves a mark; or fails as the last one did.
fn any<T>(
    connection: &mut SqliteConnection,
    others: impl Iterator<Item = T>,
    mut trial: impl FnMut(&mut SqliteConnection, T) -> QueryResult<()>,
) -> QueryResult<()> {
    use diesel::result::Error::RollbackTransaction;
    let mut last = Ok(());
    for other in others {
        let ended = connection.transaction(|connection| {
            trial(connection, other)?;
            Err::<(), _>(RollbackTransaction)
        });
        last = match ended {
            Ok(()) | Err(RollbackTransaction) => return mark(connection),
            Err(error) => Err(error),
        };
    }
    last
}

/// Changes a page of the file: a lease of no use.
fn mark(connection: &mut SqliteConnection) -> QueryResult<()> {
    sql_query(format!(
        "INSERT INTO leases (name, holder, held_until) VALUES ('trial', '', {NOW})
         ON CONFLICT (name) DO UPDATE SET held_until = 1 + max(leases.held_until, excluded.held_until)"
    ))
    .execute(connection)
    .map(drop)
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
