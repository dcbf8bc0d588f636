//! Tests of kinds without servers and without waiting (feature `testing`).
//!
//! To test a handler alone, call its `run` with [`Context::test`](crate::kinds::Context::test).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, RunQueryDsl as _, sql_query};
use tempfile::TempDir;

use crate::domain::{KindName, Status, Work, WorkId};
use crate::feed::AnyFeed;
use crate::feed::memory::MemoryFeed;
use crate::kinds::{Kind, Kinds, name_of};
use crate::store::sqlite::SqliteStore;
use crate::store::{AnyStore, Search};
use crate::worker::{declare, work_off};

/// The most runs of one drain: works that put themselves off for ever end the test.
const MOST_RUNS: usize = 10_000;
/// The most works that are looked at.
const MOST_WORKS: u16 = 1_000;
const HOLD: Duration = Duration::from_secs(60);

/// The works of a test, in a database of their own, which is removed at the end.
///
/// Its methods panic where a database fails, as a test should.
pub struct Jobs {
    store: AnyStore,
    feed: AnyFeed,
    kinds: Kinds,
    file: PathBuf,
    _folder: TempDir,
}

#[expect(clippy::missing_panics_doc, reason = "said once, above")]
impl Jobs {
    /// No works, and handlers for these kinds.
    pub async fn new(kinds: Kinds) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(&file.to_string_lossy(), 2, Duration::from_secs(5)).expect("a database");
        store.migrate().await.expect("a database with PP's schema");
        let store: AnyStore = Arc::new(store);
        declare(&store, &kinds).await.expect("declared kinds");
        Self {
            store,
            feed: Arc::new(MemoryFeed::new()),
            kinds,
            file,
            _folder: folder,
        }
    }

    /// A connection to the database, for code of the application that puts works in within its own transaction.
    pub fn connection(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(&self.file.to_string_lossy()).expect("a connection");
        sql_query("PRAGMA busy_timeout = 5000")
            .execute(&mut connection)
            .expect("a connection that waits for others");
        connection
    }

    /// Puts a work in.
    pub async fn enqueue<K: Kind>(&self, kind: &K) -> Work {
        let enqueued = kind.enqueue(&mut self.connection()).expect("a created work");
        self.work(enqueued.id).await
    }

    /// Works off all works of a kind, those included that are to run later, until all are finished: retries and snoozes
    /// follow at once. Returns the works of the kind, in the order of their creation.
    pub async fn drain<K: Kind>(&self) -> Vec<Work> {
        let name = name_of::<K>();
        let kind = self
            .kinds
            .get(&name)
            .unwrap_or_else(|| panic!("{name} has no handler here"));
        let mut runs = 0;
        loop {
            self.make_due(&name);
            let claimed = self
                .store
                .claim(&[], None, HOLD, MOST_WORKS)
                .await
                .expect("claimed works");
            let (claims, others): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|claim| claim.kind == name);
            self.store.give_back(&others).await.expect("works given back");
            if claims.is_empty() {
                return self.works::<K>().await;
            }
            runs += claims.len();
            assert!(runs <= MOST_RUNS, "{name}: not finished after {MOST_RUNS} runs");
            work_off(&self.store, &self.feed, kind, claims)
                .await
                .expect("recorded outcomes");
        }
    }

    /// The works of a kind, in the order of their creation, at most 1,000.
    pub async fn works<K: Kind>(&self) -> Vec<Work> {
        let search = Search {
            kind: Some(name_of::<K>()),
            work_code: None,
            status: None,
            since: None,
            before: None,
            limit: MOST_WORKS,
        };
        let mut works = self.store.search(&search).await.expect("found works");
        works.reverse();
        works
    }

    /// A work as it is now.
    pub async fn work(&self, id: WorkId) -> Work {
        let mut works = self.store.by_ids(&[id]).await.expect("a read work");
        works.pop().unwrap_or_else(|| panic!("there is no work {id}"))
    }

    /// Asserts that an unfinished work of this kind has such arguments.
    pub async fn assert_enqueued<K: Kind>(&self, mut is_wanted: impl FnMut(&K) -> bool) {
        let works = self.works::<K>().await;
        let unfinished = |work: &&Work| matches!(work.status, Status::Pending | Status::Running);
        let mut args = works
            .iter()
            .filter(unfinished)
            .filter_map(|work| work.args.read::<K>().ok());
        assert!(
            args.any(|args| is_wanted(&args)),
            "no such work of {} among {works:?}",
            K::NAME
        );
    }

    fn make_due(&self, kind: &KindName) {
        sql_query(
            "UPDATE works SET due_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), sent_at = NULL
             WHERE status = 'pending' AND kind = ?",
        )
        .bind::<Text, _>(kind.as_str())
        .execute(&mut self.connection())
        .expect("works that are due");
    }
}
