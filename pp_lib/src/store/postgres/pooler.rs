//! Detects at the start a connection pooler before the server, and refuses one that cannot be used.
//!
//! `pp_storage` has the detection, `session` the use of a pooler.

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use tokio::task::spawn_blocking;

use super::session::Sessions;
use super::{PostgresStore, no_connection, panicked};
use crate::store::{Result, StoreError};

const SHARED: &str = "a connection pooler in transaction or statement mode answers there; put it into session mode, or \
    give PP_DATABASE_URL one in transaction mode and PP_DATABASE_DIRECT_URL the server itself";
const STATEMENTS_ALONE: &str =
    "the connection pooler that answers there takes no transactions; put it into transaction mode";
const ANOTHER_SERVER: &str = "the connection pooler that answers there leads to another database than \
    PP_DATABASE_DIRECT_URL";

/// Refuses a pooler that shares the server's sessions.
pub(super) async fn refuse_shared_sessions(sessions: &Sessions) -> Result<()> {
    let asked = sessions.clone();
    let asking = spawn_blocking(move || pp_storage::sessions_are_shared(move || asked.connect_plainly()));
    match asking.await.unwrap_or_else(panicked) {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Rejected(SHARED.to_owned())),
        Err(why) => Err(no_connection(sessions, why).await),
    }
}

/// Refuses a pooler in statement mode, which answers statements and cuts off transactions.
pub(super) async fn refuse_statements_alone(sessions: &Sessions) -> Result<()> {
    let asked = sessions.clone();
    // The outer error is why there is no connection.
    let asking = spawn_blocking(move || -> std::result::Result<Result<()>, String> {
        let in_transaction = || -> std::result::Result<QueryResult<()>, String> {
            let mut connection = asked.connect_plainly()?;
            Ok(connection.transaction(|connection| connection.batch_execute("SELECT 1")))
        };
        let Err(error) = in_transaction()? else {
            return Ok(Ok(()));
        };
        let mut connection = asked.connect_plainly()?;
        if connection.batch_execute("SELECT 1").is_ok() && in_transaction()?.is_err() {
            return Ok(Err(StoreError::Rejected(STATEMENTS_ALONE.to_owned())));
        }
        Ok(Err(StoreError::Unavailable(error.to_string())))
    });
    match asking.await.unwrap_or_else(panicked) {
        Ok(refused) => refused,
        Err(why) => Err(no_connection(sessions, why).await),
    }
}

/// Refuses a pooler before another server or database. A server that is restarted meanwhile is asked once more.
pub(super) async fn refuse_another_server(store: &PostgresStore, direct: &PostgresStore) -> Result<()> {
    for _ in 0..2 {
        if place(store).await? == place(direct).await? {
            return Ok(());
        }
    }
    Err(StoreError::Rejected(ANOTHER_SERVER.to_owned()))
}

/// Which database of which run of a server this is.
async fn place(store: &PostgresStore) -> Result<String> {
    #[derive(QueryableByName)]
    struct Place {
        #[diesel(sql_type = Text)]
        place: String,
    }

    store
        .run(|connection| {
            let place: Place = sql_query(
                "SELECT current_database() || ' ' || extract(epoch FROM pg_postmaster_start_time()) AS place",
            )
            .get_result(connection)?;
            Ok(place.place)
        })
        .await
}
