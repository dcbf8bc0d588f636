//! Detects a damaged file by SQLite's own check, whatever an error says.

use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

/// Shortest life of a verdict; the check reads the whole file.
const HOLDS: Duration = Duration::from_secs(60);

/// The verdict of the last check.
#[derive(Debug, Default)]
pub(super) struct Integrity(Mutex<Option<Verdict>>);

#[derive(Debug)]
struct Verdict {
    damage: Option<String>,
    until: Instant,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

impl Integrity {
    /// The first damage that is found; none while another thread is looking. To be asked after an error that may come of
    /// it. Blocks.
    pub(super) fn damage(&self, connection: &mut SqliteConnection) -> Option<String> {
        let mut verdict = match self.0.try_lock() {
            Ok(verdict) => verdict,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let begun = Instant::now();
        match &*verdict {
            Some(last) if begun < last.until => last.damage.clone(),
            _ => {
                let damage = look(connection);
                // A large file is not read all the time.
                let until = Instant::now() + HOLDS.max(20 * begun.elapsed());
                verdict.insert(Verdict { damage, until }).damage.clone()
            }
        }
    }
}

fn look(connection: &mut SqliteConnection) -> Option<String> {
    let found: Found = sql_query("PRAGMA quick_check(1)").get_result(connection).ok()?;
    (found.quick_check != "ok").then_some(found.quick_check.replace('\n', " "))
}
