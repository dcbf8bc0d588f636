//! The one writer of the file: a thread that runs all changes that wait in one transaction, each in a savepoint of its
//! own, and answers after the commit. A disk write costs the same for one change as for hundreds, and changes that the
//! disk need not have yet wait for none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult};
use tokio::sync::{mpsc, oneshot};

use super::connection::{connect_writer, refusal};
use crate::store::StoreError;
use crate::store::refusal::Refusal;

/// The most changes that wait, and the most that share a commit.
const WAITING: usize = 1024;

/// The result of a change.
type Result<T> = std::result::Result<T, Refusal>;

/// The way to the writing thread, which ends when this is dropped.
pub(super) struct Writer {
    changes: mpsc::Sender<Box<dyn Change>>,
}

impl Writer {
    /// Opens the file and starts the thread.
    pub(super) fn open(path: &str) -> crate::store::Result<Self> {
        let connection = connect_writer(path)?;
        let (changes, waiting) = mpsc::channel(WAITING);
        let path = path.to_owned();
        thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || run(&path, connection, waiting))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { changes })
    }

    /// Runs a change within the next commit.
    pub(super) async fn write<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        self.send(change, Commit::Synchronous).await
    }

    /// Runs something outside of any transaction.
    pub(super) async fn alone<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> T + Send + 'static,
    {
        let change = |connection: &mut SqliteConnection| Ok(change(connection));
        self.send(change, Commit::Alone).await
    }

    /// Runs a change, and answers after it is committed in this way.
    pub(super) async fn send<T, F>(&self, change: F, commit: Commit) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        let gone = || unavailable("the writer of the database file has ended");
        let (reply, answer) = oneshot::channel();
        let statement = Statement {
            change: Some(change),
            outcome: None,
            reply,
            commit,
        };
        self.changes.send(Box::new(statement)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// How a change is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    /// In no transaction.
    Alone,
    /// With others, and the disk has it before the answer.
    Synchronous,
    /// With others, and the operating system has it before the answer. Later changes that are on disk bring it along.
    NotSynchronous,
}

/// A change that waits for its commit.
trait Change: Send {
    fn commit(&self) -> Commit;
    /// Runs it and keeps what it answered.
    fn run(&mut self, connection: &mut SqliteConnection);
    /// Answers its caller.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Statement<T, F> {
    change: Option<F>,
    outcome: Option<QueryResult<T>>,
    reply: oneshot::Sender<Result<T>>,
    commit: Commit,
}

impl<T, F> Change for Statement<T, F>
where
    T: Send,
    F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send,
{
    fn commit(&self) -> Commit {
        self.commit
    }

    fn run(&mut self, connection: &mut SqliteConnection) {
        self.outcome = self.change.take().map(|change| {
            if self.commit == Commit::Alone {
                change(connection)
            } else {
                connection.transaction(change)
            }
        });
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let nothing = || Err(unavailable("the change was not run"));
        let outcome = self.outcome.map_or_else(nothing, |outcome| outcome.map_err(refusal));
        // Its own error says more than the commit's, which it may have caused.
        let _ = self.reply.send(outcome.and_then(|value| committed.map(|()| value)));
    }
}

fn run(path: &str, connection: SqliteConnection, mut waiting: mpsc::Receiver<Box<dyn Change>>) {
    let mut connection = Some(connection);
    let mut next = waiting.blocking_recv();
    while let Some(first) = next.take() {
        let mut batch = vec![first];
        while batch[0].commit() != Commit::Alone && batch.len() < WAITING {
            match waiting.try_recv() {
                Ok(change) if change.commit() == Commit::Alone => {
                    next = Some(change);
                    break;
                }
                Ok(change) => batch.push(change),
                Err(_) => break,
            }
        }
        let committed = commit(path, &mut connection, &mut batch);
        for change in batch {
            change.answer(committed.clone());
        }
        if next.is_none() {
            next = waiting.blocking_recv();
        }
    }
}

/// Runs a batch in one transaction. After an error or a panic the connection is made anew: its transaction may be in
/// any state, as after a full disk.
fn commit(path: &str, connection: &mut Option<SqliteConnection>, batch: &mut [Box<dyn Change>]) -> Result<()> {
    let mut usable = match connection.take() {
        Some(connection) => connection,
        None => connect_writer(path)?,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        if batch[0].commit() == Commit::Alone {
            batch[0].run(&mut usable);
            return Ok(());
        }
        let unsynced = batch.iter().all(|change| change.commit() == Commit::NotSynchronous);
        if unsynced {
            usable.batch_execute("PRAGMA synchronous = NORMAL")?;
        }
        usable.immediate_transaction(|connection| {
            batch.iter_mut().for_each(|change| change.run(connection));
            QueryResult::Ok(())
        })?;
        if unsynced {
            usable.batch_execute("PRAGMA synchronous = FULL")?;
        }
        Ok(())
    }));
    match outcome {
        Ok(Ok(())) => {
            *connection = Some(usable);
            Ok(())
        }
        Ok(Err(error)) => Err(refusal(error)),
        Err(_) => Err(unavailable("a change of the database panicked")),
    }
}

fn unavailable(why: &str) -> Refusal {
    Refusal::Known(StoreError::Unavailable(why.to_owned()))
}
