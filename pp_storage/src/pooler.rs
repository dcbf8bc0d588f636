//! Tells a connection pooler that shares the server's sessions from a server, and from a pooler that does not.
//!
//! It only asks. What a program does about the answer is decided where it connects.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use diesel::pg::PgConnection;
use diesel::sql_types::Integer;
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

/// How long the second connection may take. A pooler in session mode that has no session left lets it wait until the
/// first one ends; a pooler that shares sessions does not.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often each connection is asked after the first time. On a busy pooler the answers are chance, and the answers of
/// eight rounds do not agree by chance.
const ROUNDS: u32 = 8;

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// Whether a pooler in transaction or statement mode stands between these connections and their server. It runs each
/// transaction in any session of the server that is free, so that settings, prepared statements and locks of a session
/// do not work, nor does `LISTEN`.
///
/// A connection to a server, or by way of a pooler in session mode, has one session until it ends, and no other
/// connection has the same. Two connections are each asked twice in a row: a pooler that takes the session used last
/// answers both connections from one session, and a pooler that takes sessions in turn answers one connection from two.
pub fn sessions_are_shared<F>(connect: F) -> Result<bool, String>
where
    F: Fn() -> Result<PgConnection, String> + Send + Sync + 'static,
{
    let connect = Arc::new(connect);
    let mut one = connect()?;
    let (connected, other) = mpsc::sync_channel(1);
    thread::spawn(move || connected.send(connect()));
    let Ok(other) = other.recv_timeout(PATIENCE) else {
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
