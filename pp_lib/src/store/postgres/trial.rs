//! Trials: changes that are made to see whether the database takes them, and taken back at once.

use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::{complete, create};
use crate::domain::KindName;
use crate::store::refusal::{Steps, like_completed, like_new};
use crate::store::{Completion, NewWork};

type Tried = Result<(), Failure>;

/// Creates another work like this one.
pub(super) fn create(connection: &mut PgConnection, work: &NewWork) -> Tried {
    any(like_new(work), |other| {
        taken_back(connection, |connection| create::create(connection, &[other]).map(drop))
    })
}

/// Completes another work like this one, which is created and started first where the guard asks for that.
pub(super) fn complete(connection: &mut PgConnection, kind: &KindName, completion: &Completion) -> Tried {
    any(like_completed(kind, completion), |Steps { created, completed }| {
        taken_back(connection, |connection| {
            if let Some(work) = created {
                create::create(connection, &[work])?;
            }
            completed
                .into_iter()
                .try_for_each(|step| complete::complete(connection, kind, &[step]).map(drop))
        })
    })
}

/// Inserts into the tables that works need, and changes what it inserted. Its ids are its own, so that those of works do
/// not skip numbers.
pub(super) fn writes(connection: &mut PgConnection) -> Tried {
    let (id, key) = (
        -rand::random_range(1..=i64::MAX),
        format!("trial-{:032x}", rand::random::<u128>()),
    );
    let code = format!("api-{:010x}", rand::random::<u64>() >> 24);
    taken_back(connection, |connection| {
        sql_query(
            "WITH work AS (
                INSERT INTO works (id, kind, work_code, origin, message_id, args, due_at)
                VALUES ($1, 'add_up_to', $3, 'api', $2, '{\"add_up_to\":1}', now())
            ), event AS (
                INSERT INTO events (id, work_id, generation, variable, value, status)
                VALUES ($1, $1, 1, 'work/created', '1', 'pending')
            ), delta AS (
                INSERT INTO stat_deltas (kind, origin, status, works) VALUES ('add_up_to', 'api', 'pending', 1)
            ), letter AS (
                INSERT INTO dead_letters (id, kind, work_id, generation, message_id, reason)
                VALUES ($1, 'add_up_to', $1, 1, $2, 'a trial')
            )
            INSERT INTO idempotency_keys (scope, key, fingerprint, seed, held_until, expires_on)
            VALUES ($2, $2, '', $2, now(), now())",
        )
        .bind::<BigInt, _>(id)
        .bind::<Text, _>(key)
        .bind::<Text, _>(code)
        .execute(connection)?;
        sql_query("UPDATE works SET version = version + 1, due_at = NULL WHERE id = $1")
            .bind::<BigInt, _>(id)
            .execute(connection)?;
        Ok(())
    })
}

/// Succeeds if one of these is taken; else fails as the last one did.
fn any<T>(others: impl Iterator<Item = T>, mut trial: impl FnMut(T) -> Tried) -> Tried {
    let mut last = Err(Failure::Unclear("there is nothing to try".to_owned()));
    for other in others {
        last = trial(other);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn taken_back(connection: &mut PgConnection, change: impl FnOnce(&mut PgConnection) -> Tried) -> Tried {
    let ended = connection.transaction(|connection| {
        change(connection).map_err(End::Failed)?;
        // Checks of the commit.
        connection.batch_execute("SET CONSTRAINTS ALL IMMEDIATE")?;
        Err::<(), End>(End::TakenBack)
    });
    match ended {
        Err(End::Failed(failure)) => Err(failure),
        Ok(()) | Err(End::TakenBack) => Ok(()),
    }
}

/// The end of a trial.
enum End {
    TakenBack,
    Failed(Failure),
}

impl From<diesel::result::Error> for End {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}
