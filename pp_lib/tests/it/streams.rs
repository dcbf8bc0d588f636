//! Live streams over real stores: clients get every change once and in order, even if they are cut, lag or return late.

mod clients;
mod continuing;
mod on_servers;

use std::sync::Arc;
use std::time::Duration;

use pp_conformance::scripted::{Call, ScriptedStore, Step};
use pp_conformance::store::new_works;
use pp_lib::domain::{Position, Snapshot, Status, Work, WorkCodePrefix, WorkId};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::feed::postgres::PostgresFeed;
use pp_lib::store::{AnyStore, Change, Page, RetentionTimes, StoreError};
use pp_lib::streams::StreamedChange;
use pp_lib::streams::sse::{Frame, Parser};
use pp_lib::streams::{Filter, Message, Streams, StreamsError, StreamsOptions, Subscription};
use rand::RngExt as _;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A generous time limit.
const PATIENCE: Duration = Duration::from_secs(60);
/// Too long to elapse in a test.
const NEVER: Duration = Duration::from_secs(3600);

/// The store calls that read the feed.
const FEED: [Call; 2] = [Call::Head, Call::Changes];

/// Streams over a store, and their parts.
struct Place {
    store: AnyStore,
    between: Arc<ScriptedStore>,
    feed: AnyFeed,
    streams: Streams,
    shutdown: CancellationToken,
}

impl Place {
    fn new(store: AnyStore, options: StreamsOptions) -> Self {
        let between = ScriptedStore::new(store.clone());
        let feed: AnyFeed = Arc::new(MemoryFeed::new());
        let shutdown = CancellationToken::new();
        let streams = Streams::start(between.clone(), feed.clone(), options, shutdown.clone());
        Self {
            store,
            between,
            feed,
            streams,
            shutdown,
        }
    }

    fn subscribe(&self, after: Option<Position>) -> Subscription {
        self.streams.subscribe(Filter::default(), after).unwrap()
    }

    /// A subscription that has started, and its start position.
    async fn started(&self, filter: Filter) -> (Subscription, Position) {
        let mut subscription = self.streams.subscribe(filter, None).unwrap();
        match next(&mut subscription).await {
            Some(Message::Started(at)) => (subscription, at),
            other => panic!("{other:?}"),
        }
    }

    async fn create(&self, count: usize) -> Vec<Work> {
        let works = create(&self.store, count).await;
        self.feed.poke();
        works
    }

    /// The end of the feed, once no transaction is open on the shared server.
    async fn quiet_end(&self) -> Position {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let end = self.end().await;
            if end.seen().open.is_empty() {
                return end;
            }
            assert!(Instant::now() < deadline, "transactions stay open");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The end of the feed.
    async fn end(&self) -> Position {
        self.store.head().await.unwrap()
    }

    fn reads(&self) -> usize {
        self.between.calls(Call::Head) + self.between.calls(Call::Changes)
    }
}

async fn create(store: &AnyStore, count: usize) -> Vec<Work> {
    store
        .create(&new_works(vec![1; count]))
        .await
        .unwrap()
        .into_iter()
        .map(|created| created.unwrap().work)
        .collect()
}

async fn next(subscription: &mut Subscription) -> Option<Message> {
    timeout(PATIENCE, subscription.next()).await.expect("nothing comes")
}

/// The next change as a client reads it, with its position.
async fn change(subscription: &mut Subscription) -> (Position, StreamedChange) {
    match next(subscription).await {
        Some(Message::Change(bytes)) => read(&bytes),
        other => panic!("{other:?}"),
    }
}

fn read(bytes: &[u8]) -> (Position, StreamedChange) {
    let mut parser = Parser::new(bytes);
    let Some(Frame::Event { name, data }) = parser.next_frame().unwrap() else {
        panic!("{bytes:?}")
    };
    assert_eq!(name, "", "a browser's onmessage gets it");
    let position = parser.last_id().unwrap().parse().unwrap();
    (position, serde_json::from_str(&data).unwrap())
}

async fn changes(subscription: &mut Subscription, count: usize) -> Vec<(Position, StreamedChange)> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(change(subscription).await);
    }
    all
}

/// The ids of all events after a position.
async fn everything(store: &AnyStore, mut after: Position) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let page = store.changes(&after, 1000).await.unwrap().unwrap();
        after = page.position;
        all.extend(page.items.iter().map(|change| change.event.id));
        if page.complete {
            return all;
        }
    }
}

fn ids(changes: &[(Position, StreamedChange)]) -> Vec<i64> {
    changes.iter().map(|(_, change)| change.id).collect()
}

/// Readers may see the events of different works in different orders.
fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}
