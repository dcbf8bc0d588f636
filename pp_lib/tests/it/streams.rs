//! Live streams over real stores: clients get every change once and in order, even if they are cut, lag or return late.

use std::sync::Arc;
use std::time::Duration;

use pp_conformance::scripted::{Call, ScriptedStore, Step};
use pp_lib::domain::{AddUpTo, Origin, Position, Snapshot, Status, Work, WorkCodePrefix, WorkId};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::feed::postgres::PostgresFeed;
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{AnyStore, Change, NewWork, Page, StoreError};
use pp_lib::streams::StreamedChange;
use pp_lib::streams::sse::{Parser, Told};
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
    let work = |_| NewWork {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        add_up_to: AddUpTo::MIN,
        run_at: None,
    };
    let works: Vec<NewWork> = (0..count).map(work).collect();
    store
        .create(&works)
        .await
        .unwrap()
        .into_iter()
        .map(Option::unwrap)
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
    let Some(Told::Event { name, data }) = parser.told().unwrap() else {
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

/// Four tasks write while a client is cut repeatedly and returns with the last id it saw.
async fn a_cut_client_gets_everything_once(store: AnyStore) {
    const WRITERS: usize = 4;
    let place = Place::new(
        store,
        StreamsOptions {
            page: 7,
            ..StreamsOptions::default()
        },
    );
    let (_, beginning) = place.started(Filter::default()).await;
    let writing: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, feed) = (place.store.clone(), place.feed.clone());
            tokio::spawn(async move {
                for count in (1..=3).cycle().take(100) {
                    create(&store, count).await;
                    feed.poke();
                }
            })
        })
        .collect();
    let (mut seen, mut after, mut cuts) = (Vec::new(), beginning.clone(), 0);
    while cuts < 25 || !writing.iter().all(|writer| writer.is_finished()) {
        let mut subscription = place.subscribe(Some(after.clone()));
        assert_eq!(next(&mut subscription).await, Some(Message::Started(after.clone())));
        for _ in 0..rand::rng().random_range(0..40) {
            // There may be no more events for now.
            let Ok(message) = timeout(Duration::from_millis(50), subscription.next()).await else {
                break;
            };
            let Some(Message::Change(bytes)) = message else { break };
            let (position, change) = read(&bytes);
            seen.push(change.id);
            after = position;
        }
        cuts += 1;
    }
    for writer in writing {
        writer.await.unwrap();
    }
    let all = everything(&place.store, beginning).await;
    assert_eq!(all.len(), WRITERS * 199);
    let mut rest = place.subscribe(Some(after.clone()));
    assert_eq!(next(&mut rest).await, Some(Message::Started(after)));
    seen.extend(ids(&changes(&mut rest, all.len() - seen.len()).await));
    assert_eq!(sorted(seen), sorted(all));
}

/// Readers may see the events of different works in different orders.
fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

/// The client is many pages behind, and no new event pokes the feed.
async fn a_late_client_gets_everything_at_once(store: AnyStore) {
    let place = Place::new(store, StreamsOptions::default());
    let beginning = place.end().await;
    let created = place.create(350).await;
    place.end().await;
    let first = place.subscribe(Some(beginning.clone()));
    let _listening = place.started(Filter::default()).await;
    let second = place.subscribe(Some(beginning.clone()));
    for mut late in [first, second] {
        assert_eq!(next(&mut late).await, Some(Message::Started(beginning.clone())));
        let got = changes(&mut late, created.len()).await;
        assert!(
            got.iter()
                .zip(&created)
                .all(|((_, change), work)| change.work_id == work.id)
        );
    }
}

async fn all_clients_share_one_read_of_the_store(store: AnyStore) {
    const CLIENTS: usize = 300;
    const WRITES: usize = 20;
    let options = StreamsOptions {
        poll: NEVER,
        ..StreamsOptions::default()
    };
    let place = Place::new(store, options);
    let (first, beginning) = place.started(Filter::default()).await;
    let mut clients = vec![first];
    while clients.len() < CLIENTS {
        clients.push(place.started(Filter::default()).await.0);
    }
    let mut created = Vec::new();
    for _ in 0..WRITES {
        created.extend(place.create(3).await);
        change(&mut clients[0]).await;
    }
    let all = everything(&place.store, beginning).await;
    assert_eq!(all.len(), created.len());
    changes(&mut clients[0], all.len() - WRITES).await;
    for client in &mut clients[1..] {
        let got = changes(client, all.len()).await;
        assert_eq!(ids(&got), all);
        assert!(
            got.iter()
                .zip(&created)
                .all(|((_, change), work)| change.work_id == work.id)
        );
    }
    // There are a few reads per write, not one per client.
    assert!(place.reads() < CLIENTS * WRITES / 4, "{} reads", place.reads());
}

async fn an_unknown_position_is_a_reset_and_the_stream_continues(store: AnyStore) {
    let place = Place::new(store, StreamsOptions::default());
    place.create(3).await;
    let head = place.end().await;
    let ahead = Snapshot {
        next: head.seen().next + 1_000_000,
        ..Snapshot::clone(head.seen())
    };
    for other in [
        Position::at(head.epoch() + 1, Arc::clone(head.seen())),
        Position::at(head.epoch() - 1, Arc::clone(head.seen())),
        Position::at(head.epoch(), Arc::new(ahead)),
        // A position of an older version.
        format!("{}-0-2", head.epoch()).parse().unwrap(),
    ] {
        let mut subscription = place.subscribe(Some(other.clone()));
        let Some(Message::Reset(at)) = next(&mut subscription).await else {
            panic!("no reset from {other}")
        };
        assert!(at.includes(&head));
        let work = place.create(1).await.remove(0);
        assert_eq!(change(&mut subscription).await.1.work_id, work.id);
    }
}

async fn a_feed_that_cannot_be_continued_resets_all_clients(store: AnyStore) {
    let place = Place::new(store, StreamsOptions::default());
    let (mut one, _) = place.started(Filter::default()).await;
    let (mut other, _) = place
        .started(Filter {
            work: Some(WorkId(1)),
            ..Filter::default()
        })
        .await;
    place
        .between
        .next(Call::Changes, 1, || Step::answer(None::<Page<Change>>));
    for subscription in [&mut one, &mut other] {
        assert!(matches!(next(subscription).await, Some(Message::Reset(_))));
    }
    let work = place.create(1).await.remove(0);
    assert_eq!(change(&mut one).await.1.work_id, work.id);
}

/// One client returns too late, one is in the middle of the purged events, and one has seen them all.
async fn purged_events_reset_the_clients_that_missed_them(store: AnyStore) {
    let place = Place::new(store.clone(), StreamsOptions::default());
    let beginning = place.end().await;
    let works = place.create(250).await;
    for work in &works {
        store.delete(work.id, None).await.unwrap();
    }
    let end = place.quiet_end().await;
    let mut reading = place.subscribe(Some(beginning.clone()));
    assert_eq!(next(&mut reading).await, Some(Message::Started(beginning.clone())));
    changes(&mut reading, 1).await;

    let (deadline, mut went) = (Instant::now() + PATIENCE, 0);
    while went < works.len() as u64 {
        assert!(Instant::now() < deadline, "{went} works went");
        went += store.purge(WorkId(0), Duration::ZERO, 1000).await.unwrap().works;
    }
    let mut late = place.subscribe(Some(beginning));
    assert!(matches!(next(&mut late).await, Some(Message::Reset(at)) if at.includes(&end)));
    // Events that were already read are delivered completely.
    let mut seen = 1;
    let reset = loop {
        match next(&mut reading).await {
            Some(Message::Change(_)) => seen += 1,
            other => break other,
        }
    };
    assert!(
        matches!(reset, Some(Message::Reset(ref at)) if at.includes(&end)),
        "{reset:?}"
    );
    assert!(seen < 2 * works.len(), "the purge came before the end");
    let mut up_to_date = place.subscribe(Some(end.clone()));
    assert_eq!(next(&mut up_to_date).await, Some(Message::Started(end)));
    let work = place.create(1).await.remove(0);
    for mut subscription in [late, reading, up_to_date] {
        assert_eq!(change(&mut subscription).await.1.work_id, work.id);
    }
}

async fn filters_pass_only_matching_changes(store: AnyStore) {
    let place = Place::new(store, StreamsOptions::default());
    let beginning = place.store.head().await.unwrap();
    let works = place.create(3).await;
    for work in &works {
        place.store.delete(work.id, None).await.unwrap();
    }
    let by_code = Filter {
        work_code: WorkCodePrefix::parse(works[0].work_code.as_str()),
        ..Filter::default()
    };
    let by_work = Filter {
        work: Some(works[1].id),
        ..Filter::default()
    };
    let by_status = Filter {
        status: Some(Status::Cancelled),
        ..Filter::default()
    };
    let by_both = Filter {
        status: Some(Status::Cancelled),
        ..by_work.clone()
    };
    let no_code = Filter {
        work_code: WorkCodePrefix::parse("consumer-"),
        ..Filter::default()
    };
    let [a, b, c] = [works[0].id, works[1].id, works[2].id];
    for (filter, expected) in [
        (by_code, vec![a, a]),
        (by_work, vec![b, b]),
        (by_status, vec![a, b, c]),
        (by_both, vec![b]),
        (no_code, vec![]),
    ] {
        let mut late = place
            .streams
            .subscribe(filter.clone(), Some(beginning.clone()))
            .unwrap();
        assert_eq!(next(&mut late).await, Some(Message::Started(beginning.clone())));
        let got = changes(&mut late, expected.len()).await;
        assert_eq!(
            got.iter().map(|(_, change)| change.work_id).collect::<Vec<_>>(),
            expected,
            "{filter:?}"
        );
        let status = filter.status;
        assert!(
            got.iter()
                .all(|(_, change)| status.is_none() || change.status == status)
        );
    }
    // Live and paged changes are filtered alike.
    let (mut live, _) = place
        .started(Filter {
            status: Some(Status::Cancelled),
            ..Filter::default()
        })
        .await;
    let work = place.create(2).await.remove(1);
    place.store.delete(work.id, None).await.unwrap();
    place.feed.poke();
    let (position, heard) = change(&mut live).await;
    assert_eq!((heard.work_id, heard.status), (work.id, Some(Status::Cancelled)));
    assert_eq!(live.position(), Some(&position));
}

async fn a_lagging_client_is_disconnected_and_resumes(store: AnyStore) {
    let options = StreamsOptions {
        behind: 2,
        page: 5,
        ..StreamsOptions::default()
    };
    let place = Place::new(store, options);
    let (mut slow, beginning) = place.started(Filter::default()).await;
    place.create(1).await;
    let mut seen = ids(&changes(&mut slow, 1).await);
    place.create(100).await;
    // The start of another client shows how far the hub has read: more than it keeps.
    let deadline = Instant::now() + PATIENCE;
    while !everything(&place.store, place.started(Filter::default()).await.1)
        .await
        .is_empty()
    {
        assert!(Instant::now() < deadline, "the reader does not get to the end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while let Some(message) = next(&mut slow).await {
        let Message::Change(bytes) = message else {
            panic!("{message:?}")
        };
        seen.push(read(&bytes).1.id);
    }
    let all = everything(&place.store, beginning).await;
    assert!(seen.len() < all.len(), "it was not ended");
    let last = slow.position().unwrap().clone();
    let mut again = place.subscribe(Some(last.clone()));
    assert_eq!(next(&mut again).await, Some(Message::Started(last)));
    seen.extend(ids(&changes(&mut again, all.len() - seen.len()).await));
    assert_eq!(seen, all);
}

async fn database_failures_end_no_stream(store: AnyStore) {
    let place = Place::new(store, StreamsOptions::default());
    let (mut live, beginning) = place.started(Filter::default()).await;
    place.between.fail(&FEED, StoreError::Unavailable("not now".to_owned()));
    let before = place.reads();
    let mut late = place.subscribe(Some(beginning.clone()));
    let work = place.create(1).await.remove(0);
    let deadline = Instant::now() + PATIENCE;
    while place.reads() < before + 5 {
        assert!(Instant::now() < deadline, "no retry");
        // A call that is dropped and repeated continues.
        assert!(timeout(Duration::from_millis(5), late.next()).await.is_err());
    }
    place.between.pass_on(&FEED);
    assert_eq!(next(&mut late).await, Some(Message::Started(beginning)));
    for subscription in [&mut late, &mut live] {
        assert_eq!(change(subscription).await.1.work_id, work.id);
    }
}

async fn the_poll_finds_new_events_without_a_poke(store: AnyStore) {
    let place = Place::new(store, StreamsOptions::default());
    let (mut live, _) = place.started(Filter::default()).await;
    for _ in 0..3 {
        let work = create(&place.store, 1).await.remove(0);
        assert_eq!(change(&mut live).await.1.work_id, work.id);
    }
}

async fn streams_without_clients_read_nothing(store: AnyStore) {
    let options = StreamsOptions {
        poll: Duration::from_millis(5),
        ..StreamsOptions::default()
    };
    let place = Place::new(store, options);
    place.create(1).await;
    assert!(unread(&place).await && place.reads() == 0, "before the first one");
    let (mut live, _) = place.started(Filter::default()).await;
    place.create(1).await;
    change(&mut live).await;
    drop(live);
    let deadline = Instant::now() + PATIENCE;
    while !unread(&place).await {
        assert!(Instant::now() < deadline, "still read after the last one went");
    }
    // A new client begins with new events.
    place.create(1).await;
    let (mut live, _) = place.started(Filter::default()).await;
    let work = place.create(1).await.remove(0);
    assert_eq!(change(&mut live).await.1.work_id, work.id);
}

/// True if the store was not read during many polls and pokes.
async fn unread(place: &Place) -> bool {
    let before = place.reads();
    for _ in 0..20 {
        place.feed.poke();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    place.reads() == before
}

async fn a_client_above_the_limit_is_refused_until_another_leaves(store: AnyStore) {
    let place = Place::new(
        store,
        StreamsOptions {
            clients: 2,
            ..StreamsOptions::default()
        },
    );
    let (one, _) = place.started(Filter::default()).await;
    let _two = place.started(Filter::default()).await;
    let refused = place.streams.subscribe(Filter::default(), None).map(drop);
    assert_eq!(refused, Err(StreamsError::TooMany));
    drop(one);
    place.started(Filter::default()).await;
}

async fn the_shutdown_ends_all_streams_at_once(store: AnyStore) {
    let place = Place::new(
        store,
        StreamsOptions {
            poll: NEVER,
            ..StreamsOptions::default()
        },
    );
    let (mut waiting, beginning) = place.started(Filter::default()).await;
    place.between.fail(&FEED, StoreError::Unavailable("not now".to_owned()));
    let mut paging = place.subscribe(Some(beginning));
    assert!(timeout(Duration::from_millis(20), paging.next()).await.is_err());
    place.shutdown.cancel();
    assert_eq!(next(&mut waiting).await, None);
    assert_eq!(next(&mut paging).await, None);
}

/// Expands to a test of each case over both stores.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _folder) = crate::store::embedded::fresh().await;
                super::$case(store).await;
            })*
        }
        mod on_servers {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _database) = crate::store::on_servers::fresh().await;
                super::$case(store).await;
            })*

            /// One transaction is open in this database, and one in another database of the server.
            #[tokio::test(flavor = "multi_thread")]
            async fn an_open_transaction_delays_only_its_own_streamed_events() {
                let (store, database) = crate::store::on_servers::fresh().await;
                let (_, other) = crate::store::on_servers::fresh().await;
                let place = Place::new(store, StreamsOptions::default());
                let first = place.create(1).await.remove(0);
                let (mut live, beginning) = place.started(Filter::default()).await;
                let clients = [database.client().await, other.client().await];
                for client in &clients {
                    client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
                }
                let event = "INSERT INTO events (work_id, generation, variable) VALUES ($1, 1, 'compute/start')";
                clients[0].execute(event, &[&first.id.0]).await.unwrap();
                let mut works = Vec::new();
                for _ in 0..5 {
                    works.push(place.create(1).await.remove(0).id);
                    let heard = change(&mut live).await.1;
                    assert_eq!(Some(&heard.work_id), works.last());
                }
                for client in &clients {
                    client.batch_execute("COMMIT").await.unwrap();
                }
                let (position, heard) = change(&mut live).await;
                assert_eq!((heard.work_id, heard.variable.as_str()), (first.id, "compute/start"));
                // Reconnected clients get it as well, and nothing twice.
                let mut late = place.subscribe(Some(beginning));
                next(&mut late).await;
                let mut seen: Vec<_> = changes(&mut late, 6).await.iter().map(|(_, change)| change.work_id).collect();
                seen.sort_unstable();
                works.insert(0, first.id);
                assert_eq!(seen, works);
                let mut up_to_date = place.subscribe(Some(position));
                next(&mut up_to_date).await;
                let work = place.create(1).await.remove(0);
                assert_eq!(change(&mut up_to_date).await.1.work_id, work.id);
            }

            /// Transactions overlap, and a client is cut again and again at random.
            #[tokio::test(flavor = "multi_thread")]
            async fn a_cut_client_beside_open_transactions_gets_everything_once_and_in_the_order_of_its_work() {
                const EVENTS: i64 = 40;
                let (store, database) = crate::store::on_servers::fresh().await;
                let options = StreamsOptions { page: 5, ..StreamsOptions::default() };
                let place = Place::new(store, options);
                let works = place.create(4).await;
                let (_, beginning) = place.started(Filter::default()).await;
                let mut writing = Vec::new();
                for work in works.iter().chain(&works) {
                    let (client, work, feed) = (database.client().await, work.id.0, place.feed.clone());
                    writing.push(tokio::spawn(async move {
                        for _ in 0..EVENTS {
                            client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
                            let pause = rand::rng().random_range(0..4);
                            tokio::time::sleep(Duration::from_millis(pause)).await;
                            let row = "UPDATE works SET version = version + 1 WHERE id = $1";
                            client.execute(row, &[&work]).await.unwrap();
                            let event =
                                "INSERT INTO events (work_id, generation, variable) VALUES ($1, 1, 'compute/start')";
                            client.execute(event, &[&work]).await.unwrap();
                            client.batch_execute("COMMIT").await.unwrap();
                            feed.poke();
                        }
                    }));
                }
                let (mut seen, mut after) = (Vec::new(), beginning);
                let expected = usize::try_from(EVENTS).unwrap() * writing.len();
                let deadline = Instant::now() + PATIENCE;
                while seen.len() < expected {
                    assert!(Instant::now() < deadline, "{} of {expected} events", seen.len());
                    let mut subscription = place.subscribe(Some(after.clone()));
                    assert_eq!(next(&mut subscription).await, Some(Message::Started(after.clone())));
                    for _ in 0..rand::rng().random_range(0..30) {
                        let Ok(message) = timeout(Duration::from_millis(20), subscription.next()).await else {
                            break;
                        };
                        let Some(Message::Change(bytes)) = message else { break };
                        let (position, change) = read(&bytes);
                        seen.push((change.work_id, change.id));
                        after = position;
                    }
                }
                for writer in writing {
                    writer.await.unwrap();
                }
                for work in works {
                    let told: Vec<i64> = seen.iter().filter(|(of, _)| *of == work.id).map(|(_, id)| *id).collect();
                    let history = place.store.events(work.id).await.unwrap().unwrap();
                    let started = history.iter().skip(1).map(|event| event.id);
                    assert_eq!(told, started.collect::<Vec<_>>());
                }
            }

            /// The listening connection is terminated repeatedly, and changes still arrive.
            #[tokio::test(flavor = "multi_thread")]
            async fn a_terminated_listener_costs_no_change() {
                let (store, database) = crate::store::on_servers::fresh().await;
                let feed: AnyFeed = Arc::new(PostgresFeed::connect(&database.url).unwrap());
                let shutdown = CancellationToken::new();
                let streams = Streams::start(store.clone(), feed, StreamsOptions::default(), shutdown);
                let mut live = streams.subscribe(Filter::default(), None).unwrap();
                assert!(matches!(next(&mut live).await, Some(Message::Started(_))));
                let client = database.client().await;
                for _ in 0..5 {
                    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'pp feed'";
                    client.query(terminate, &[]).await.unwrap();
                    let work = create(&store, 1).await.remove(0);
                    assert_eq!(change(&mut live).await.1.work_id, work.id);
                }
            }
        }
    };
}

on_both! {
    a_cut_client_gets_everything_once
    a_late_client_gets_everything_at_once
    all_clients_share_one_read_of_the_store
    an_unknown_position_is_a_reset_and_the_stream_continues
    a_feed_that_cannot_be_continued_resets_all_clients
    purged_events_reset_the_clients_that_missed_them
    filters_pass_only_matching_changes
    a_lagging_client_is_disconnected_and_resumes
    database_failures_end_no_stream
    the_poll_finds_new_events_without_a_poke
    streams_without_clients_read_nothing
    a_client_above_the_limit_is_refused_until_another_leaves
    the_shutdown_ends_all_streams_at_once
}
