//! Detects a connection pooler that shares the server's sessions. The caller decides about the consequences.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use diesel::pg::PgConnection;
use diesel::sql_types::Integer;
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

/// The time limit for the second connection. A pooler in session mode without a free session delays it until the first
/// one ends. A pooler that shares sessions does not.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The number of repeated queries per connection. On a busy pooler each answer is random, and eight rounds do not agree
/// by chance.
const ROUNDS: u32 = 8;

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// True if a pooler in transaction or statement mode stands between these connections and their server.
///
/// Such a pooler runs each transaction in any free session of the server. Settings, prepared statements and locks of a
/// session do not work then, nor does `LISTEN`.
///
/// A connection to a server, or through a pooler in session mode, keeps one session to its end, and no other connection
/// has the same session. Two connections are queried twice each. A pooler that prefers the last session answers both
/// connections from one session. A pooler that rotates its sessions answers one connection from two.
/// answers both connections from one session, and a pooler that takes sessions in turn answers one connection from two.
pub fn sessions_are_shared<F>(connect: F) -> Result<bool, String>
where
    F: Fn() -> Result<PgConnection, String> + Send + Sync + 'static,
{
    let connect = Arc::new(connect);
    let mut one = connect()?;
    let (connected, other) = mpsc::sync_channel(1);
    thread::spawn(move || connected.send(connect()));
    let Ok(other) = other.recv_timeout(MAX_WAIT) else {
        return Ok(false);
    };
    let mut other = other?;
    let (first, second) = (backend(&mut one)?, backend(&mut other)?);
    if first == second {
        return Ok(true);
    }
    for _ in 0..ROUNDS {
        for (connection, session) in [(&mut one, first), (&mut other, second)] {
            if backend(connection)? != session || backend(connection)? != session {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The number of the session that answers.
fn backend(connection: &mut PgConnection) -> Result<i32, String> {
    let backend: Backend = sql_query("SELECT pg_backend_pid() AS pid")
        .get_result(connection)
        .map_err(|error| error.to_string())?;
    Ok(backend.pid)
}
