//! The store's actor: creations are committed in groups, reads of single works are merged into one statement, and
//! searches and histories run beside them, so that none of these waits behind another kind.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ActorError;
use super::mailbox::{Ask, Keeping, Mailbox, Reply, open};
use crate::domain::{Event, Work, WorkCode, WorkId};
use crate::feed::AnyFeed;
use crate::store::{AnyStore, NewWork, Search, StoreError};

/// How much the actor takes on.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// How many requests of a kind may wait; one more is refused.
    pub mailbox: usize,
    /// How many requests become one statement at most.
    pub batch: usize,
    /// How many groups of creations are committed at once. One suffices: what arrives meanwhile makes the next group
    /// larger.
    pub write_lanes: usize,
    /// How many statements of each kind of read run at once.
    pub read_lanes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            mailbox: 1024,
            batch: 512,
            write_lanes: 1,
            read_lanes: 2,
        }
    }
}

/// The running actor, owned by whoever stops it.
#[derive(Debug)]
pub struct StoreActor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How everybody else talks to the store.
#[derive(Clone)]
pub struct StoreHandle {
    creates: Mailbox<NewWork, Option<Work>>,
    ids: Mailbox<WorkId, Option<Work>>,
    codes: Mailbox<WorkCode, Option<Work>>,
    searches: Mailbox<Search, Vec<Work>>,
    histories: Mailbox<WorkId, Option<Vec<Event>>>,
}

impl StoreActor {
    /// Starts the actor on the runtime this is called from. The feed is poked once after each group of creations.
    pub fn start(store: &AnyStore, feed: &AnyFeed, options: StoreOptions) -> (Self, StoreHandle) {
        let actor = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let handle = actor.open_all(store, feed, options);
        (actor, handle)
    }

    /// Answers what waits, refuses what still comes, and returns when nothing is under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn open_all(&self, store: &AnyStore, feed: &AnyFeed, options: StoreOptions) -> StoreHandle {
        let StoreOptions {
            mailbox: capacity,
            batch,
            write_lanes,
            read_lanes: lanes,
        } = options;
        let merged = |name| Keeping {
            name,
            capacity,
            batch,
            lanes,
        };
        let single = |name| Keeping {
            name,
            capacity,
            batch: 1,
            lanes,
        };
        let creates = Keeping {
            lanes: write_lanes,
            ..merged("store: create")
        };
        let (tasks, stop, feed) = (&self.tasks, &self.stop, Arc::clone(feed));
        let [a, b, c, d, e] = [(); 5].map(|()| Arc::clone(store));
        StoreHandle {
            creates: open(creates, tasks, stop, move |asks| {
                create(Arc::clone(&a), Arc::clone(&feed), asks)
            }),
            ids: open(merged("store: by id"), tasks, stop, move |asks| {
                by_ids(Arc::clone(&b), asks)
            }),
            codes: open(merged("store: by code"), tasks, stop, move |asks| {
                by_codes(Arc::clone(&c), asks)
            }),
            searches: open(single("store: search"), tasks, stop, move |asks| {
                search(Arc::clone(&d), asks)
            }),
            histories: open(single("store: events"), tasks, stop, move |asks| {
                events(Arc::clone(&e), asks)
            }),
        }
    }
}

impl StoreHandle {
    /// Inserts a work, due at once; `None` where another work has its code.
    pub async fn create(&self, work: NewWork) -> Result<Option<Work>, ActorError> {
        self.creates.ask(work).await
    }

    /// The work with this id.
    pub async fn get(&self, id: WorkId) -> Result<Option<Work>, ActorError> {
        self.ids.ask(id).await
    }

    /// The work with this code.
    pub async fn by_code(&self, code: WorkCode) -> Result<Option<Work>, ActorError> {
        self.codes.ask(code).await
    }

    /// The works that match, newest first.
    pub async fn search(&self, search: Search) -> Result<Vec<Work>, ActorError> {
        self.searches.ask(search).await
    }

    /// The events of a work, oldest first, or `None` when there is no such work.
    pub async fn events(&self, id: WorkId) -> Result<Option<Vec<Event>>, ActorError> {
        self.histories.ask(id).await
    }
}

async fn create(store: AnyStore, feed: AnyFeed, asks: Vec<Ask<NewWork, Option<Work>>>) {
    let (works, replies) = apart(asks);
    let mut replies = replies.into_iter();
    // What is refused as a whole is tried in halves, the first one first, until only the culprits are refused.
    let mut parts = vec![works.as_slice()];
    while let Some(part) = parts.pop() {
        let created = store.create(part).await;
        if matches!(created, Err(StoreError::Rejected(_))) && part.len() > 1 {
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second, first]);
            continue;
        }
        let group: Vec<_> = replies.by_ref().take(part.len()).collect();
        match logged("create", created) {
            Ok(works) => group
                .into_iter()
                .zip(works)
                .for_each(|(reply, work)| answer(reply, Ok(work))),
            Err(error) => group.into_iter().for_each(|reply| answer(reply, Err(error.clone()))),
        }
    }
    feed.poke();
}

async fn by_ids(store: AnyStore, asks: Vec<Ask<WorkId, Option<Work>>>) {
    let (ids, replies) = apart(asks);
    let found = store.by_ids(&distinct(&ids)).await;
    give_out(logged("by id", found), &ids, replies, |work| &work.id);
}

async fn by_codes(store: AnyStore, asks: Vec<Ask<WorkCode, Option<Work>>>) {
    let (codes, replies) = apart(asks);
    let found = store.by_codes(&distinct(&codes)).await;
    give_out(logged("by code", found), &codes, replies, |work| &work.work_code);
}

async fn search(store: AnyStore, asks: Vec<Ask<Search, Vec<Work>>>) {
    for ask in asks {
        answer(ask.reply, logged("search", store.search(&ask.question).await));
    }
}

async fn events(store: AnyStore, asks: Vec<Ask<WorkId, Option<Vec<Event>>>>) {
    for ask in asks {
        answer(ask.reply, logged("events", store.events(ask.question).await));
    }
}

fn apart<Q, A>(asks: Vec<Ask<Q, A>>) -> (Vec<Q>, Vec<Reply<A>>) {
    asks.into_iter().map(|ask| (ask.question, ask.reply)).unzip()
}

fn distinct<K: Ord + Clone>(keys: &[K]) -> Vec<K> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Gives each who asked the work with the key asked for.
fn give_out<K: Ord>(
    found: Result<Vec<Work>, ActorError>,
    keys: &[K],
    replies: Vec<Reply<Option<Work>>>,
    key_of: impl Fn(&Work) -> &K,
) {
    let found = found.map(|mut works| {
        works.sort_unstable_by(|a, b| key_of(a).cmp(key_of(b)));
        works
    });
    for (key, reply) in keys.iter().zip(replies) {
        let one = |works: &Vec<Work>| {
            let place = works.binary_search_by(|work| key_of(work).cmp(key));
            place.ok().map(|place| works[place].clone())
        };
        answer(reply, found.as_ref().map(one).map_err(ActorError::clone));
    }
}

/// Logs an error once, for all the callers of a batch.
fn logged<T>(what: &str, done: crate::store::Result<T>) -> Result<T, ActorError> {
    done.map_err(|error| {
        log::warn!("store: {what}: {error}");
        ActorError::Store(error)
    })
}

/// Answers, unless nobody waits any more.
fn answer<A>(reply: Reply<A>, answer: Result<A, ActorError>) {
    let _ = reply.send(answer);
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
