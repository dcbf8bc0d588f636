//! The store's actor: creations are committed in groups, and look-ups, keys and counters that wait are merged into one
//! statement. No kind of request waits behind another.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{AddUpTo, DeadLetter, DeadLetterId, Event, Stats, Work, WorkCode, WorkId};
use crate::feed::AnyFeed;
use crate::log_repeated;
use crate::serving::ActorError;
use crate::serving::actors::mailbox::{Ask, Keeping, Mailbox, Reply, open};
use crate::store::{
    Answer, Answered, AnyStore, Begin, Begun, Changed, NewWork, RequestKey, Search, Selection, StoreError,
};

/// How long an updated work waits for more updates before it is computed.
const UPDATE_PAUSE: Duration = Duration::from_millis(100);
/// How long whoever works on a request with a key may be silent: longer than any request may take within the store.
const HOLD: Duration = Duration::from_secs(20);

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
    /// How many statements of each other kind run at once.
    pub read_lanes: usize,
    /// How long the answer to a request with an idempotency key is remembered.
    pub idempotency_ttl: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            mailbox: 1024,
            batch: 512,
            write_lanes: 1,
            read_lanes: 2,
            idempotency_ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The running actor, owned by whoever stops it.
#[derive(Debug)]
pub struct StoreActor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The way to the store for everything that answers requests. Creations, look-ups, keys and counters are batched; the
/// other calls go straight to the store.
#[derive(Clone)]
pub struct StoreHandle {
    creates: Mailbox<NewWork, Option<Work>>,
    ids: Mailbox<WorkId, Option<Work>>,
    codes: Mailbox<WorkCode, Option<Work>>,
    begins: Mailbox<Begin, Begun>,
    answers: Mailbox<Answered, Option<Answer>>,
    stats: Mailbox<(), Stats>,
    store: AnyStore,
    feed: AnyFeed,
}

impl StoreActor {
    /// Starts the actor on the runtime this is called from. The feed is poked once after each change that makes
    /// something due.
    pub fn start(store: &AnyStore, feed: &AnyFeed, options: StoreOptions) -> (Self, StoreHandle) {
        let actor = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let opening = Opening {
            store,
            feed,
            options,
            actor: &actor,
        };
        let handle = opening.all();
        (actor, handle)
    }

    /// Answers what waits, refuses what still comes, and returns when nothing is under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What the mailboxes are opened with.
struct Opening<'a> {
    store: &'a AnyStore,
    feed: &'a AnyFeed,
    options: StoreOptions,
    actor: &'a StoreActor,
}

impl Opening<'_> {
    fn all(&self) -> StoreHandle {
        let (writes, reads) = (self.options.write_lanes, self.options.read_lanes);
        let ttl = self.options.idempotency_ttl;
        StoreHandle {
            creates: self.batched("store: create", writes, create),
            ids: self.batched("store: by id", reads, |store, _, asks| by_ids(store, asks)),
            codes: self.batched("store: by code", reads, |store, _, asks| by_codes(store, asks)),
            begins: self.batched("store: begin", writes, move |store, _, asks| async move {
                let (requests, replies) = apart(asks);
                give_each(logged("store: begin", store.begin(&requests, HOLD, ttl).await), replies);
            }),
            answers: self.batched("store: keep answers", writes, |store, _, asks| async move {
                let (answered, replies) = apart(asks);
                let kept = logged("store: keep answers", store.keep_answers(&answered).await);
                give_each(kept, replies);
            }),
            stats: self.batched("store: stats", 1, |store, _, asks| stats(store, asks)),
            store: Arc::clone(self.store),
            feed: Arc::clone(self.feed),
        }
    }

    /// A mailbox whose questions are answered together.
    fn batched<Q, A, H, F>(&self, name: &'static str, lanes: usize, answer_all: H) -> Mailbox<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        H: Fn(AnyStore, AnyFeed, Vec<Ask<Q, A>>) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let keeping = Keeping {
            name,
            capacity: self.options.mailbox,
            batch: self.options.batch,
            lanes,
        };
        let (store, feed) = (Arc::clone(self.store), Arc::clone(self.feed));
        open(keeping, &self.actor.tasks, &self.actor.stop, move |asks| {
            answer_all(Arc::clone(&store), Arc::clone(&feed), asks)
        })
    }
}

impl StoreHandle {
    /// Inserts a work, due at once or at its time; `None` where another work has its code.
    pub(in crate::serving) async fn insert(&self, work: NewWork) -> Result<Option<Work>, ActorError> {
        self.creates.ask(work).await
    }

    /// Inserts all of these works or, where another work has one of the codes, none.
    pub(in crate::serving) async fn insert_all(&self, works: &[NewWork]) -> Result<Option<Vec<Work>>, ActorError> {
        self.due("store: create all", self.store.create_all(works)).await
    }

    /// Gives a work another bound, only at this version if given.
    ///
    /// # Errors
    /// When the store refuses it or cannot be reached.
    pub async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        let update = self.store.update(id, add_up_to, version, UPDATE_PAUSE);
        self.due("store: update", update).await
    }

    /// Ends a pending or running work, only at this version if given.
    ///
    /// # Errors
    /// When the store refuses it or cannot be reached.
    pub async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        self.changed("store: cancel", self.store.cancel(id, version)).await
    }

    /// Starts a failed or cancelled work over, only at this version if given.
    ///
    /// # Errors
    /// When the store refuses it or cannot be reached.
    pub async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        self.due("store: retry", self.store.retry(id, version)).await
    }

    /// Cancels and removes a work, only at this version if given.
    ///
    /// # Errors
    /// When the store refuses it or cannot be reached.
    pub async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        self.changed("store: delete", self.store.delete(id, version)).await
    }

    /// The work with this id.
    ///
    /// # Errors
    /// When the store cannot be reached or too much waits for it.
    pub async fn by_id(&self, id: WorkId) -> Result<Option<Work>, ActorError> {
        self.ids.ask(id).await
    }

    /// The work with this code.
    ///
    /// # Errors
    /// When the store cannot be reached or too much waits for it.
    pub async fn by_code(&self, code: WorkCode) -> Result<Option<Work>, ActorError> {
        self.codes.ask(code).await
    }

    /// The works that match, newest first.
    pub(in crate::serving) async fn search(&self, search: &Search) -> Result<Vec<Work>, ActorError> {
        logged("store: search", self.store.search(search).await)
    }

    /// The events of a work above `after`, oldest first, or `None` when there is no such work.
    pub(in crate::serving) async fn events(
        &self,
        id: WorkId,
        after: i64,
        limit: u16,
    ) -> Result<Option<Vec<Event>>, ActorError> {
        logged("store: events", self.store.events_after(id, after, limit).await)
    }

    /// The dead letters below `before`, newest first.
    pub(in crate::serving) async fn dead_letters(
        &self,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>, ActorError> {
        logged("store: dead letters", self.store.dead_letters(before, limit).await)
    }

    /// Runs dead letters again; the number of letters.
    pub(in crate::serving) async fn redrive(&self, which: &Selection) -> Result<u64, ActorError> {
        self.due("store: redrive", self.store.redrive(which)).await
    }

    /// Forgets dead letters; the number of letters.
    pub(in crate::serving) async fn drop_letters(&self, which: &Selection) -> Result<u64, ActorError> {
        logged("store: drop dead letters", self.store.drop_letters(which).await)
    }

    /// Begins a request; one key may be asked for once at a time.
    pub(in crate::serving) async fn begin(&self, request: Begin) -> Result<Begun, ActorError> {
        self.begins.ask(request).await
    }

    /// Keeps the answer to a request; the one that counts.
    pub(in crate::serving) async fn keep_answer(&self, answered: Answered) -> Result<Option<Answer>, ActorError> {
        self.answers.ask(answered).await
    }

    /// Releases the key of a request that failed.
    pub(in crate::serving) async fn let_go(&self, key: &RequestKey, seed: &str) -> Result<(), ActorError> {
        logged("store: let go", self.store.let_go(key, seed).await)
    }

    /// The counters. All callers that wait while they are read share the next reading.
    pub(in crate::serving) async fn stats(&self) -> Result<Stats, ActorError> {
        self.stats.ask(()).await
    }

    /// Makes a change after which something may be due.
    async fn due<T>(
        &self,
        name: &'static str,
        change: impl Future<Output = crate::store::Result<T>>,
    ) -> Result<T, ActorError> {
        let changed = change.await;
        self.feed.poke();
        logged(name, changed)
    }

    /// Makes a change after which nothing more is due.
    async fn changed<T>(
        &self,
        name: &'static str,
        change: impl Future<Output = crate::store::Result<T>>,
    ) -> Result<T, ActorError> {
        let changed = change.await;
        self.feed.announce();
        logged(name, changed)
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
        match logged("store: create", created) {
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
    give_out(logged("store: by id", found), &ids, replies, |work| &work.id);
}

async fn by_codes(store: AnyStore, asks: Vec<Ask<WorkCode, Option<Work>>>) {
    let (codes, replies) = apart(asks);
    let found = store.by_codes(&distinct(&codes)).await;
    give_out(logged("store: by code", found), &codes, replies, |work| &work.work_code);
}

async fn stats(store: AnyStore, asks: Vec<Ask<(), Stats>>) {
    let stats = logged("store: stats", store.stats().await);
    asks.into_iter().for_each(|ask| answer(ask.reply, stats.clone()));
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

/// Gives each who asked the answer at its own place.
fn give_each<A>(answers: Result<Vec<A>, ActorError>, replies: Vec<Reply<A>>) {
    match answers {
        Ok(answers) => replies
            .into_iter()
            .zip(answers)
            .for_each(|(reply, one)| answer(reply, Ok(one))),
        Err(error) => replies.into_iter().for_each(|reply| answer(reply, Err(error.clone()))),
    }
}

/// Logs an error once, for all the callers of a batch.
fn logged<T>(what: &str, done: crate::store::Result<T>) -> Result<T, ActorError> {
    done.map_err(|error| {
        log_repeated!(Warn, what.to_owned(), "{error}");
        ActorError::Store(error)
    })
}

/// Answers, unless nobody waits any more.
fn answer<A>(reply: Reply<A>, answer: Result<A, ActorError>) {
    let _ = reply.send(answer);
}
