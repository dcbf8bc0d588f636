//! A file that refuses: everything, one row, or because it is damaged or newer than the program.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;

use crate::domain::{AddUpTo, Json, KindName, Origin};
use crate::runtime::{new_message_id, new_work_code};
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Completed, Completion, Completions as _, Guard, NewWork, Outcome, Search, Store as _, StoreError, WorkRows as _,
};

struct Rig {
    store: SqliteStore,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = open(&file);
        store.migrate().await.unwrap();
        Self {
            store,
            file,
            _folder: folder,
        }
    }

    /// Runs statements on a connection of its own.
    fn run(&self, statements: &str) {
        let mut other = SqliteConnection::establish(self.file.to_str().unwrap()).unwrap();
        other.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        other.batch_execute(statements).unwrap();
    }
}

fn open(file: &std::path::Path) -> SqliteStore {
    SqliteStore::open(file.to_str().unwrap(), 2, Duration::from_secs(5)).unwrap()
}

fn work(bound: i64) -> NewWork {
    NewWork {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        kind: KindName::default(),
        args: AddUpTo::try_from(bound).unwrap().args(),
        run_at: None,
        unique: None,
        notify: None,
    }
}

fn demand(bound: i64) -> Completion {
    Completion {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Consumer),
        args: Some(AddUpTo::try_from(bound).unwrap().args()),
        guard: Guard::NoRow,
        outcome: Outcome::Done { result: Json::from(1) },
    }
}

fn everything() -> Search {
    Search {
        work_code: None,
        kind: None,
        status: None,
        since: None,
        before: None,
        limit: 1000,
    }
}

#[tokio::test]
async fn a_file_that_refuses_everything_refuses_no_work() {
    for (change, undo) in [
        ("ALTER TABLE works RENAME TO away", "ALTER TABLE away RENAME TO works"),
        (
            "CREATE TRIGGER refuse BEFORE INSERT ON works BEGIN SELECT RAISE(ABORT, 'heute nicht'); END",
            "DROP TRIGGER refuse",
        ),
        (
            "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'heute nicht'); END",
            "DROP TRIGGER refuse",
        ),
    ] {
        let rig = Rig::new().await;
        rig.run(change);
        for error in [
            rig.store
                .complete(KindName::add_up_to(), &[demand(3)])
                .await
                .unwrap_err(),
            rig.store
                .complete(KindName::add_up_to(), &[demand(3), demand(4)])
                .await
                .unwrap_err(),
            rig.store.create(&[work(3)]).await.unwrap_err(),
            rig.store.create_all(&[work(3), work(4)]).await.unwrap_err(),
            rig.store.check_writes().await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Unwell(_)), "{change}: {error:?}");
        }
        rig.run(undo);
        rig.store.check_writes().await.unwrap();
        assert_eq!(
            rig.store.complete(KindName::add_up_to(), &[demand(3)]).await.unwrap(),
            [Completed::Applied]
        );
        let works = rig.store.search(&everything()).await.unwrap();
        assert_eq!(
            (works.len(), works[0].id.0),
            (1, 1),
            "a trial is taken back, its id as well"
        );
    }
}

#[tokio::test]
async fn a_row_that_alone_is_refused_is_refused_for_good() {
    let rig = Rig::new().await;
    rig.run(
        "CREATE TRIGGER unlucky BEFORE INSERT ON works WHEN NEW.args ->> 'add_up_to' = 13
        BEGIN SELECT RAISE(ABORT, 'heute nicht'); END",
    );
    for refused in [vec![demand(13)], vec![demand(13), demand(12)]] {
        let completed = rig.store.complete(KindName::add_up_to(), &refused).await;
        assert!(matches!(completed, Err(StoreError::Rejected(_))), "{completed:?}");
    }
    let created = rig.store.create(&[work(13)]).await;
    assert!(matches!(created, Err(StoreError::Rejected(_))), "{created:?}");
    assert_eq!(
        rig.store.complete(KindName::add_up_to(), &[demand(12)]).await.unwrap(),
        [Completed::Applied]
    );
}

#[tokio::test]
async fn a_damaged_file_is_said_to_be_damaged() {
    let rig = Rig::new().await;
    for _ in 0..20 {
        let works: Vec<NewWork> = (1..=100).map(work).collect();
        rig.store.create(&works).await.unwrap();
    }
    let Rig { store, file, _folder } = rig;
    drop(store);
    Rig {
        store: open(&file),
        file: file.clone(),
        _folder: tempfile::tempdir().unwrap(),
    }
    .run("PRAGMA wal_checkpoint(TRUNCATE)");
    // Everything behind the schema's pages.
    let length = std::fs::metadata(&file).unwrap().len();
    let mut damaged = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    let from = 60 * 4096;
    damaged.seek(SeekFrom::Start(from)).unwrap();
    damaged
        .write_all(&vec![0xaa; usize::try_from(length - from).unwrap()])
        .unwrap();
    drop(damaged);
    let store = open(&file);
    let error = store.search(&everything()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let error = store.check_writes().await.err();
    assert!(
        error.is_none_or(|error| matches!(error, StoreError::Damaged(_))),
        "what can still be written is written"
    );
}

#[tokio::test]
async fn a_newer_schema_is_noticed() {
    let rig = Rig::new().await;
    rig.run("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')");
    let error = rig.store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Outdated(_)), "{error:?}");
    rig.run("ALTER TABLE works RENAME COLUMN result TO outcome");
    let error = rig
        .store
        .complete(KindName::add_up_to(), &[demand(3)])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Outdated(_)), "{error:?}");
}
