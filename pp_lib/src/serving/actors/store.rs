//! The store's actor: creations are committed in groups, reads of single works are merged into one statement, and
//! everything else runs beside them, so that none of these waits behind another kind.

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

/// How everybody else talks to the store.
#[derive(Clone)]
pub struct StoreHandle {
    creates: Mailbox<NewWork, Option<Work>>,
    bulks: Mailbox<Vec<NewWork>, Option<Vec<Work>>>,
    updates: Mailbox<(WorkId, AddUpTo, Option<i64>), Changed<Work>>,
    cancels: Mailbox<(WorkId, Option<i64>), Changed<Work>>,
    retries: Mailbox<(WorkId, Option<i64>), Changed<Work>>,
    deletes: Mailbox<(WorkId, Option<i64>), Changed<()>>,
    ids: Mailbox<WorkId, Option<Work>>,
    codes: Mailbox<WorkCode, Option<Work>>,
    searches: Mailbox<Search, Vec<Work>>,
    histories: Mailbox<(WorkId, i64, u16), Option<Vec<Event>>>,
    letters: Mailbox<(Option<DeadLetterId>, u16), Vec<DeadLetter>>,
    redrives: Mailbox<Selection, u64>,
    drops: Mailbox<Selection, u64>,
    begins: Mailbox<Begin, Begun>,
    answers: Mailbox<Answered, Option<Answer>>,
    let_goes: Mailbox<(RequestKey, String), ()>,
    stats: Mailbox<(), Stats>,
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
        let ttl = self.options.idempotency_ttl;
        StoreHandle {
            creates: self.merged("store: create", self.options.write_lanes, create),
            bulks: self.changing("store: create all", poke, |store, works: Vec<NewWork>| async move {
                store.create_all(&works).await
            }),
            updates: self.changing("store: update", poke, |store, (id, add_up_to, version)| async move {
                store.update(id, add_up_to, version, UPDATE_PAUSE).await
            }),
            cancels: self.changing("store: cancel", announce, |store, (id, version)| async move {
                store.cancel(id, version).await
            }),
            retries: self.changing("store: retry", poke, |store, (id, version)| async move {
                store.retry(id, version).await
            }),
            deletes: self.changing("store: delete", announce, |store, (id, version)| async move {
                store.delete(id, version).await
            }),
            ids: self.merged("store: by id", self.options.read_lanes, |store, _, asks| {
                by_ids(store, asks)
            }),
            codes: self.merged("store: by code", self.options.read_lanes, |store, _, asks| {
                by_codes(store, asks)
            }),
            searches: self.single("store: search", |store, search: Search| async move {
                store.search(&search).await
            }),
            histories: self.single("store: events", |store, (id, after, limit)| async move {
                store.events_after(id, after, limit).await
            }),
            letters: self.single("store: dead letters", |store, (before, limit)| async move {
                store.dead_letters(before, limit).await
            }),
            redrives: self.changing("store: redrive", poke, |store, which: Selection| async move {
                store.redrive(&which).await
            }),
            drops: self.single("store: drop dead letters", |store, which: Selection| async move {
                store.drop_letters(&which).await
            }),
            begins: self.merged(
                "store: begin",
                self.options.write_lanes,
                move |store, _, asks| async move {
                    let (requests, replies) = apart(asks);
                    give_each(logged("store: begin", store.begin(&requests, HOLD, ttl).await), replies);
                },
            ),
            answers: self.merged(
                "store: keep answers",
                self.options.write_lanes,
                |store, _, asks| async move {
                    let (answered, replies) = apart(asks);
                    give_each(
                        logged("store: keep answers", store.keep_answers(&answered).await),
                        replies,
                    );
                },
            ),
            let_goes: self.single("store: let go", |store, (key, seed): (RequestKey, String)| async move {
                store.let_go(&key, &seed).await
            }),
            stats: self.merged("store: stats", 1, |store, _, asks| stats(store, asks)),
        }
    }

    /// A mailbox whose questions are answered together.
    fn merged<Q, A, H, F>(&self, name: &'static str, lanes: usize, answer_all: H) -> Mailbox<Q, A>
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

    /// A mailbox whose questions are answered one by one, on as many lanes as reads have.
    fn single<Q, A, C, F>(&self, name: &'static str, call: C) -> Mailbox<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        C: Fn(AnyStore, Q) -> F + Send + Sync + 'static,
        F: Future<Output = crate::store::Result<A>> + Send + 'static,
    {
        let keeping = Keeping {
            name,
            capacity: self.options.mailbox,
            batch: 1,
            lanes: self.options.read_lanes,
        };
        let (store, call) = (Arc::clone(self.store), Arc::new(call));
        open(
            keeping,
            &self.actor.tasks,
            &self.actor.stop,
            move |asks: Vec<Ask<Q, A>>| {
                let (store, call) = (Arc::clone(&store), Arc::clone(&call));
                async move {
                    for Ask { question, reply } in asks {
                        answer(reply, logged(name, call(Arc::clone(&store), question).await));
                    }
                }
            },
        )
    }

    /// The same for what the feed is told of afterwards: that something became due, or only that something changed.
    fn changing<Q, A, C, F>(&self, name: &'static str, tell: fn(&AnyFeed), call: C) -> Mailbox<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        C: Fn(AnyStore, Q) -> F + Send + Sync + 'static,
        F: Future<Output = crate::store::Result<A>> + Send + 'static,
    {
        let feed = Arc::clone(self.feed);
        self.single(name, move |store, question| {
            let (feed, changing) = (Arc::clone(&feed), call(store, question));
            async move {
                let changed = changing.await;
                tell(&feed);
                changed
            }
        })
    }
}

impl StoreHandle {
    /// Inserts a work, due at once; `None` where another work has its code.
    pub async fn create(&self, work: NewWork) -> Result<Option<Work>, ActorError> {
        self.creates.ask(work).await
    }

    /// Inserts all of these works or, where another work has one of the codes, none.
    pub async fn create_all(&self, works: Vec<NewWork>) -> Result<Option<Vec<Work>>, ActorError> {
        self.bulks.ask(works).await
    }

    /// Gives a work another bound, only at this version if given.
    pub async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        self.updates.ask((id, add_up_to, version)).await
    }

    /// Ends a pending or running work, only at this version if given.
    pub async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        self.cancels.ask((id, version)).await
    }

    /// Starts a failed or cancelled work over, only at this version if given.
    pub async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        self.retries.ask((id, version)).await
    }

    /// Cancels and removes a work, only at this version if given.
    pub async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        self.deletes.ask((id, version)).await
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

    /// The events of a work above `after`, oldest first, or `None` when there is no such work.
    pub async fn events(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>, ActorError> {
        self.histories.ask((id, after, limit)).await
    }

    /// The dead letters below `before`, newest first.
    pub async fn dead_letters(&self, before: Option<DeadLetterId>, limit: u16) -> Result<Vec<DeadLetter>, ActorError> {
        self.letters.ask((before, limit)).await
    }

    /// Runs dead letters again; how many.
    pub async fn redrive(&self, which: Selection) -> Result<u64, ActorError> {
        self.redrives.ask(which).await
    }

    /// Forgets dead letters; how many.
    pub async fn drop_letters(&self, which: Selection) -> Result<u64, ActorError> {
        self.drops.ask(which).await
    }

    /// Begins a request; no two callers may ask for one key at once.
    pub async fn begin(&self, request: Begin) -> Result<Begun, ActorError> {
        self.begins.ask(request).await
    }

    /// Keeps the answer to a request; the one that counts.
    pub async fn keep_answer(&self, answered: Answered) -> Result<Option<Answer>, ActorError> {
        self.answers.ask(answered).await
    }

    /// Lets go of a request that came to nothing.
    pub async fn let_go(&self, key: RequestKey, seed: String) -> Result<(), ActorError> {
        self.let_goes.ask((key, seed)).await
    }

    /// The counters; all who ask while they are read share the next reading.
    pub async fn stats(&self) -> Result<Stats, ActorError> {
        self.stats.ask(()).await
    }
}

fn poke(feed: &AnyFeed) {
    feed.poke();
}

fn announce(feed: &AnyFeed) {
    feed.announce();
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

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
