//! What a database tells of itself.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::{SystemTime, UNIX_EPOCH};

use pp_lib::store::AnyStore;

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

/// The databases of tests have the clock of this machine.
pub async fn a_database_tells_its_system_version_and_clock(store: AnyStore) {
    let began = now_ms();
    let about = store.about().await.unwrap();
    assert!(["PostgreSQL", "SQLite"].contains(&about.system), "{about:?}");
    let major: u32 = about.version.split('.').next().unwrap().parse().unwrap();
    assert!(major >= 3, "{about:?}");
    assert!((began - 5..=now_ms() + 5).contains(&about.now_ms), "{about:?}");
}
