//! Statements that a connection prepares once: their text is always the same, and so is the best plan. The server parses
//! them once for each connection, and after a few plans goes on with one that suits any values, if that is as good.
//!
//! Diesel would parse and plan whatever it is handed as text each time. That stays for statements whose best plan depends
//! on their values, such as a search. By way of a pooler nothing is prepared, see `session`.

use diesel::pg::{Pg, PgConnection};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{QueryResult, RunQueryDsl};

use super::session::is_in_transaction;

/// A statement with its values; its text is its key among the statements of a connection.
pub(super) struct Prepared<Q>(pub(super) Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Prepared<Q> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<Q> QueryId for Prepared<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Prepared<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> RunQueryDsl<PgConnection> for Prepared<Q> {}

/// Runs an insert plainly, and where a row is there already once more, to skip those. To look for each row before it is
/// inserted costs the server a sixth of all it does for it, and rows that come twice are rare. Within a transaction,
/// which the first error would end, it skips at once.
pub(super) fn skipping_at_need<T>(
    connection: &mut PgConnection,
    mut insert: impl FnMut(&mut PgConnection, OnConflict) -> QueryResult<T>,
) -> QueryResult<T> {
    if is_in_transaction(connection) {
        return insert(connection, OnConflict::Skip);
    }
    match insert(connection, OnConflict::Fail) {
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => insert(connection, OnConflict::Skip),
        outcome => outcome,
    }
}

/// The treatment of a row that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnConflict {
    /// All of it fails.
    Fail,
    /// The row is left out.
    Skip,
}

impl OnConflict {
    /// The clause behind the insert.
    pub(super) const fn clause(self) -> &'static str {
        match self {
            Self::Fail => "",
            Self::Skip => "ON CONFLICT DO NOTHING",
        }
    }
}
