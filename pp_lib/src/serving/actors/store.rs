//! The store's actor: commits creations in groups, and merges waiting look-ups, keys and counter reads into one
//! statement each. No kind of request waits behind another.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Actor, ActorError};
use crate::domain::{
    CreatedWork, DeadLetter, DeadLetterId, Event, Json, KindName, LetterGroup, PART_BYTES, Principal, Seconds, Stats,
    Unique, Work, WorkCode, WorkId, is_full, parts,
};
use crate::feed::AnyFeed;
use crate::log_repeated;
use crate::serving::actors::mailbox::{Mailbox, MailboxOptions, Reply, open};
use crate::store::{
    Answer, Answered, AnyStore, Begin, Begun, Changed, KeyWorks, LetterFilter, NewWork, RequestKey, Search, Selection,
    StoreError, WorksCounted,
};

/// The delay before an updated work is computed. Further updates within it cost no extra computation.
const UPDATE_PAUSE: Duration = Duration::from_millis(100);
/// The number of concurrent group commits. One suffices: requests that arrive meanwhile enlarge the next group.
const WRITE_LANES: usize = 1;
/// The time for which a process holds a request key: longer than any request may take in the store.
const HOLD: Duration = Duration::from_secs(20);

/// The limits of the store's actor.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// The maximum number of waiting requests of each kind; further ones are refused.
    pub mailbox: usize,
    /// The maximum number of requests in one statement.
    pub batch: usize,
    /// The number of concurrent statements of each kind, except for creations and answers.
    pub read_lanes: usize,
    /// The retention of answers to requests with an idempotency key.
    pub idempotency_ttl: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            mailbox: 1024,
            batch: 512,
            read_lanes: 2,
            idempotency_ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Sends requests to the store. Creations, look-ups, keys, counts and counter reads are batched; other calls go straight to the
/// store.
#[derive(Clone)]
pub struct StoreHandle {
    creates: Mailbox<NewWork, Option<CreatedWork>>,
    ids: Mailbox<WorkId, Option<Work>>,
    codes: Mailbox<WorkCode, Option<Work>>,
    begins: Mailbox<Begin, Begun>,
    answers: Mailbox<Answered, Option<Answer>>,
    counts: Mailbox<KeyWorks, WorksCounted>,
    stats: Mailbox<(), Stats>,
    store: AnyStore,
    feed: AnyFeed,
}

struct MailboxOpener<'a> {
    actor: &'a Actor,
    store: &'a AnyStore,
    feed: &'a AnyFeed,
    options: StoreOptions,
}

impl MailboxOpener<'_> {
    /// Opens a mailbox for a batched call.
    fn batched<Q, A, H, F>(&self, name: &'static str, lanes: usize, answer_all: H) -> Mailbox<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        H: Fn(AnyStore, AnyFeed, Vec<Q>, Vec<Reply<A>>) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let options = MailboxOptions {
            name,
            capacity: self.options.mailbox,
            batch: self.options.batch,
            lanes,
        };
        let (store, feed) = (Arc::clone(self.store), Arc::clone(self.feed));
        open(self.actor, options, move |questions, replies| {
            answer_all(Arc::clone(&store), Arc::clone(&feed), questions, replies)
        })
    }
}

impl StoreHandle {
    /// Starts the actor on the current runtime. It pokes the feed once after each change that makes works due.
    pub fn start(store: &AnyStore, feed: &AnyFeed, options: StoreOptions) -> (Actor, Self) {
        let actor = Actor::default();
        let (reads, ttl) = (options.read_lanes, options.idempotency_ttl);
        let opener = MailboxOpener {
            actor: &actor,
            store,
            feed,
            options,
        };
        let handle = Self {
            creates: opener.batched("store: create", WRITE_LANES, create),
            ids: opener.batched("store: by id", reads, |store, _, ids, replies| {
                by_ids(store, ids, replies)
            }),
            codes: opener.batched("store: by code", reads, |store, _, codes, replies| {
                by_codes(store, codes, replies)
            }),
            begins: opener.batched(
                "store: begin",
                WRITE_LANES,
                move |store, _, requests: Vec<_>, replies| async move {
                    let begun = store.begin(&requests, HOLD, ttl).await;
                    answer_in_order(logged("store: begin", begun), replies);
                },
            ),
            answers: opener.batched(
                "store: keep answers",
                WRITE_LANES,
                |store, _, answered: Vec<Answered>, replies| async move {
                    let mut replies = replies.into_iter();
                    for part in parts(&answered, answered.len(), PART_BYTES, |one| one.answer.body.len()) {
                        let kept = store.keep_answers(part).await;
                        let of_part = replies.by_ref().take(part.len()).collect();
                        answer_in_order(logged("store: keep answers", kept), of_part);
                    }
                },
            ),
            counts: opener.batched(
                "store: count works",
                WRITE_LANES,
                |store, _, counts: Vec<KeyWorks>, replies| async move {
                    let counted = store.count_works(&counts).await;
                    answer_in_order(logged("store: count works", counted), replies);
                },
            ),
            stats: opener.batched("store: stats", 1, |store, _, _, replies| stats(store, replies)),
            store: Arc::clone(store),
            feed: Arc::clone(feed),
        };
        (actor, handle)
    }

    /// Inserts a work, due at once or at its scheduled time; `None` if its code is taken.
    pub(in crate::serving) async fn insert(&self, work: NewWork) -> Result<Option<CreatedWork>, ActorError> {
        self.creates.ask(work).await
    }

    /// Inserts all of these works; none if one of their codes is taken.
    pub(in crate::serving) async fn insert_all(
        &self,
        works: &[NewWork],
    ) -> Result<Option<Vec<CreatedWork>>, ActorError> {
        self.due("store: create all", self.store.create_all(works)).await
    }

    /// Changes the arguments of a work. A given `version` must match.
    pub async fn update(
        &self,
        by: &Principal,
        id: WorkId,
        args: &Json,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        let update = self.store.update(by, id, args, version, UPDATE_PAUSE);
        self.due("store: update", update).await
    }

    pub(in crate::serving) async fn cancel(
        &self,
        by: &Principal,
        id: WorkId,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        self.changed("store: cancel", self.store.cancel(by, id, version)).await
    }

    pub(in crate::serving) async fn retry(
        &self,
        by: &Principal,
        id: WorkId,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        self.due("store: retry", self.store.retry(by, id, version)).await
    }

    pub(in crate::serving) async fn delete(
        &self,
        by: &Principal,
        id: WorkId,
        version: Option<i64>,
    ) -> Result<Changed<()>, ActorError> {
        self.changed("store: delete", self.store.delete(by, id, version)).await
    }

    /// The work with this id.
    pub async fn by_id(&self, id: WorkId) -> Result<Option<Work>, ActorError> {
        self.ids.ask(id).await
    }

    /// The work with this code.
    pub async fn by_code(&self, code: WorkCode) -> Result<Option<Work>, ActorError> {
        self.codes.ask(code).await
    }

    /// The newest work of this kind with this `unique` that is unfinished, or was since this Unix second.
    pub(in crate::serving) async fn by_unique(
        &self,
        kind: &KindName,
        unique: &Unique,
        since: i64,
    ) -> Result<Option<Work>, ActorError> {
        logged("store: by unique", self.store.by_unique(kind, unique, since).await)
    }

    pub(in crate::serving) async fn search(&self, search: &Search) -> Result<Vec<Work>, ActorError> {
        logged("store: search", self.store.search(search).await)
    }

    pub(in crate::serving) async fn count(&self, search: &Search, most: u32) -> Result<u32, ActorError> {
        logged("store: count", self.store.count(search, most).await)
    }

    pub(in crate::serving) async fn events(
        &self,
        id: WorkId,
        after: i64,
        limit: u16,
    ) -> Result<Option<Vec<Event>>, ActorError> {
        logged("store: events", self.store.events_after(id, after, limit).await)
    }

    pub(in crate::serving) async fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>, ActorError> {
        let letters = self.store.dead_letters(filter, before, limit).await;
        logged("store: dead letters", letters)
    }

    pub(in crate::serving) async fn letter_groups(
        &self,
        kind: Option<&KindName>,
        limit: u16,
    ) -> Result<Vec<LetterGroup>, ActorError> {
        let groups = self.store.letter_groups(kind, limit).await;
        logged("store: groups of dead letters", groups)
    }

    /// Redrives letters, or counts those that would be. Returns their number.
    pub(in crate::serving) async fn redrive(
        &self,
        by: &Principal,
        which: &Selection,
        dry_run: bool,
    ) -> Result<u64, ActorError> {
        if dry_run {
            return logged("store: count dead letters", self.store.count_redrivable(which).await);
        }
        self.due("store: redrive", self.store.redrive(by, which)).await
    }

    /// Drops letters, or counts those that would be. Returns their number.
    pub(in crate::serving) async fn drop_letters(
        &self,
        by: &Principal,
        which: &Selection,
        dry_run: bool,
    ) -> Result<u64, ActorError> {
        if dry_run {
            return logged("store: count dead letters", self.store.count_letters(which).await);
        }
        logged("store: drop dead letters", self.store.drop_letters(by, which).await)
    }

    /// Begins a request with a key. A key may have one call under way at a time.
    pub(in crate::serving) async fn begin(&self, request: Begin) -> Result<Begun, ActorError> {
        self.begins.ask(request).await
    }

    pub(in crate::serving) async fn keep_answer(&self, answered: Answered) -> Result<Option<Answer>, ActorError> {
        self.answers.ask(answered).await
    }

    pub(in crate::serving) async fn release_key(&self, key: &RequestKey, seed: &str) -> Result<(), ActorError> {
        logged("store: release key", self.store.release_key(key, seed).await)
    }

    /// Counts works that a key is about to create.
    pub(in crate::serving) async fn count_works(&self, works: KeyWorks) -> Result<(), ActorError> {
        match self.counts.ask(works).await? {
            WorksCounted::Within => Ok(()),
            WorksCounted::Beyond { next_day_in } => Err(ActorError::TooManyToday {
                most: works.most,
                next_day_in,
            }),
        }
    }

    /// The counters of all works. Callers that wait during a read share the next one.
    pub(in crate::serving) async fn stats(&self) -> Result<Stats, ActorError> {
        self.stats.ask(()).await
    }

    /// The counters of one kind.
    pub(in crate::serving) async fn stats_of(&self, kind: &KindName) -> Result<Stats, ActorError> {
        logged("store: stats of a kind", self.store.stats(Some(kind)).await)
    }

    /// What was done in each of the last seconds.
    pub(in crate::serving) async fn seconds(&self) -> Result<Seconds, ActorError> {
        logged("store: seconds", self.store.seconds().await)
    }

    /// Makes a change that may make works due, and pokes the feed.
    async fn due<T>(
        &self,
        name: &'static str,
        change: impl Future<Output = crate::store::Result<T>>,
    ) -> Result<T, ActorError> {
        let changed = change.await;
        self.feed.poke();
        logged(name, changed)
    }

    /// Makes a change that makes no work due, and announces it.
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

async fn create(store: AnyStore, feed: AnyFeed, works: Vec<NewWork>, replies: Vec<Reply<Option<CreatedWork>>>) {
    let mut replies = replies.into_iter();
    // A refused group is split in halves, the first one first, until only the culprits are refused.
    let mut parts: Vec<&[NewWork]> = parts(&works, works.len(), PART_BYTES, NewWork::bytes).collect();
    parts.reverse();
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

async fn by_ids(store: AnyStore, ids: Vec<WorkId>, replies: Vec<Reply<Option<Work>>>) {
    let mut waiting: Vec<_> = ids.into_iter().zip(replies).collect();
    while !waiting.is_empty() {
        let found = store.by_ids(&distinct(&waiting)).await;
        waiting = answer_by_key(logged("store: by id", found), waiting, |work| &work.id);
    }
}

async fn by_codes(store: AnyStore, codes: Vec<WorkCode>, replies: Vec<Reply<Option<Work>>>) {
    let mut waiting: Vec<_> = codes.into_iter().zip(replies).collect();
    while !waiting.is_empty() {
        let found = store.by_codes(&distinct(&waiting)).await;
        waiting = answer_by_key(logged("store: by code", found), waiting, |work| &work.work_code);
    }
}

async fn stats(store: AnyStore, replies: Vec<Reply<Stats>>) {
    let stats = logged("store: stats", store.stats(None).await);
    replies.into_iter().for_each(|reply| answer(reply, stats.clone()));
}

fn distinct<K: Ord + Clone, A>(waiting: &[(K, Reply<A>)]) -> Vec<K> {
    let mut keys: Vec<K> = waiting.iter().map(|(key, _)| key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Answers each question with the work of its key. Returns those to ask again, because a read ended early.
fn answer_by_key<K: Ord>(
    found: Result<Vec<Work>, ActorError>,
    waiting: Vec<(K, Reply<Option<Work>>)>,
    key_of: impl Fn(&Work) -> &K,
) -> Vec<(K, Reply<Option<Work>>)> {
    let mut works = match found {
        Ok(works) => works,
        Err(error) => {
            let replies = waiting.into_iter().map(|(_, reply)| reply);
            replies.for_each(|reply| answer(reply, Err(error.clone())));
            return Vec::new();
        }
    };
    let full = is_full(&works, PART_BYTES, Work::bytes);
    works.sort_unstable_by(|a, b| key_of(a).cmp(key_of(b)));
    let mut again = Vec::new();
    for (key, reply) in waiting {
        match works.binary_search_by(|work| key_of(work).cmp(&key)) {
            Ok(place) => answer(reply, Ok(Some(works[place].clone()))),
            Err(_) if full => again.push((key, reply)),
            Err(_) => answer(reply, Ok(None)),
        }
    }
    again
}

/// Answers each question with the answer at its position.
fn answer_in_order<A>(answers: Result<Vec<A>, ActorError>, replies: Vec<Reply<A>>) {
    match answers {
        Ok(answers) => replies
            .into_iter()
            .zip(answers)
            .for_each(|(reply, one)| answer(reply, Ok(one))),
        Err(error) => replies.into_iter().for_each(|reply| answer(reply, Err(error.clone()))),
    }
}

/// Logs an error once for all callers of a batch.
fn logged<T>(what: &str, done: crate::store::Result<T>) -> Result<T, ActorError> {
    done.map_err(|error| {
        log_repeated!(Warn, what.to_owned(), "{error}");
        ActorError::Store(error)
    })
}

fn answer<A>(reply: Reply<A>, answer: Result<A, ActorError>) {
    // The send fails if the caller no longer waits.
    let _ = reply.send(answer);
}
