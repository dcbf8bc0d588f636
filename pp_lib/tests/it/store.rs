//! Stores against the store suite.

/// SQLite on a file of its own.
mod embedded {
    use std::sync::Arc;
    use std::time::Duration;

    use pp_lib::store::AnyStore;
    use pp_lib::store::sqlite::SqliteStore;

    async fn fresh() -> (AnyStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 4, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        (Arc::new(store), folder)
    }

    pp_lib::store_suite!(fresh);
}
