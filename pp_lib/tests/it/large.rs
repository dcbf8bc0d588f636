//! Works with large arguments and results on their way through the parts: what one call of the store carries ends by
//! bytes, and no work is missed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pp_conformance::scripted::{Call, ScriptedStore};
use pp_lib::broker::memory::Memory;
use pp_lib::cache::memory::MemoryCache;
use pp_lib::cache::{Cache as _, CacheOptions, Entry, EntryOrLease};
use pp_lib::domain::{Json, KindName, Origin, PART_BYTES, Principal, Status, Work, WorkId, parts};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::kinds::{Context, Handler, Handling, Policy};
use pp_lib::maintenance::{DispatchSettings, Dispatcher};
use pp_lib::runtime::{Health, new_message_id, new_work_code};
use pp_lib::serving::{CreateWork, Refresher, StoreHandle, StoreOptions};
use pp_lib::store::{AnyStore, Changed, NewWork};
use pp_lib::worker::{ConsumeSettings, Consumer};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);
const LARGE: usize = Json::USUAL_LIMIT;
const WORKS: usize = 300;
/// The most text of one call, written out, with its names and short values.
const MOST: usize = PART_BYTES + 2 * LARGE + WORKS * 1024;

on_both! {
    a_worker_records_large_results_in_parts
    requests_for_large_works_are_batched_in_parts
    a_refresher_reads_large_works_in_parts
}

fn mail() -> KindName {
    "mail".parse().unwrap()
}

fn large(letter: &str) -> Json {
    Json::accepted(format!("\"{}\"", letter.repeat(LARGE - 2)))
}

/// Creates works with large arguments.
async fn created(store: &AnyStore) -> Vec<Work> {
    let new = || NewWork {
        kind: mail(),
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        args: large("a"),
        run_at: None,
        unique: None,
        notify: None,
    };
    let new: Vec<NewWork> = std::iter::repeat_with(new).take(WORKS).collect();
    store
        .declare(&Principal::Open, &mail(), &Json::accepted("{}"))
        .await
        .unwrap();
    let mut works = Vec::new();
    for part in parts(&new, WORKS, PART_BYTES, NewWork::bytes) {
        let created = store.create(part).await.unwrap().into_iter();
        works.extend(created.map(|created| created.unwrap().work));
    }
    works
}

/// Calls that were asked or that answered with no more than one part, of which some had more than one work.
fn are_parts(texts: &[String]) {
    let longest = texts.iter().map(String::len).max().unwrap();
    assert!((4 * LARGE..=MOST).contains(&longest), "{longest}");
}

async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LIMIT, waiting).await.is_ok(), "{what}");
}

struct Answering;

impl Handler for Answering {
    fn handle(&self, _: Json, _: Context) -> Handling {
        Box::pin(async { Ok(large("r")) })
    }
}

async fn a_worker_records_large_results_in_parts(store: AnyStore) {
    let works = created(&store).await;
    let scripted = ScriptedStore::new(store);
    let store: AnyStore = scripted.clone();
    let (broker, feed) = (Arc::new(Memory::default()), Arc::new(MemoryFeed::new()));
    let shutdown = CancellationToken::new();
    let dispatching = DispatchSettings {
        within: Duration::from_secs(3600),
        poll: Duration::from_millis(50),
        max_lost_leases: 5,
        retain: Duration::MAX,
    };
    let consuming = ConsumeSettings {
        prefetch: 2000,
        prefetch_bytes: 64 << 20,
        batch_wait: Duration::from_millis(50),
        args_limit: LARGE,
        policy: Policy {
            places: 1000,
            ..Policy::DEFAULT
        },
        grace: Duration::from_secs(1),
    };
    let dispatcher = Dispatcher::new(store.clone(), broker.clone(), feed.clone(), dispatching);
    let consumer = Consumer::new(store.clone(), broker, feed, mail(), Arc::new(Answering), consuming);
    let health = Health::new();
    let running = [
        tokio::spawn(dispatcher.run(health.part("dispatcher", true), shutdown.clone())),
        tokio::spawn(consumer.run(health.part("consumer", true), shutdown.clone())),
    ];
    for work in &works {
        until("all are done", async || {
            store.by_ids(&[work.id]).await.unwrap()[0].status == Status::Done
        })
        .await;
    }
    shutdown.cancel();
    for part in running {
        timeout(LIMIT, part).await.unwrap().unwrap();
    }
    are_parts(&scripted.asked(Call::Complete));
    // The works that were claimed, with their arguments.
    are_parts(&scripted.answered(Call::Complete));
    let done = store.by_ids(&[works[0].id]).await.unwrap();
    assert_eq!(done[0].result, Some(large("r")));
}

async fn requests_for_large_works_are_batched_in_parts(store: AnyStore) {
    let scripted = ScriptedStore::new(store);
    let (any, feed): (AnyStore, AnyFeed) = (scripted.clone(), Arc::new(MemoryFeed::new()));
    let (actor, handle) = StoreHandle::start(&any, &feed, StoreOptions::default());
    let held = scripted.hold(&[Call::Create, Call::ByIds, Call::ByCodes]);
    let ending = async {
        scripted.is_called(Call::Create, 1).await;
        held.let_go(10_000);
    };
    let creating = (0..WORKS).map(|_| {
        let wanted = CreateWork {
            kind: mail(),
            args: Some(large("a")),
            ..CreateWork::default()
        };
        handle.create(wanted, new_message_id())
    });
    let (works, ()) = tokio::join!(join_all(creating), ending);
    let works: Vec<Work> = works.into_iter().map(|created| created.unwrap().work).collect();
    are_parts(&scripted.asked(Call::Create));

    let by_id = join_all(works.iter().map(|work| handle.by_id(work.id))).await;
    let by_code = join_all(works.iter().map(|work| handle.by_code(work.work_code.clone()))).await;
    for (work, found) in works.iter().chain(&works).zip(by_id.into_iter().chain(by_code)) {
        assert!(found.unwrap().unwrap() == *work);
    }
    let unknown = WorkId(works.iter().map(|work| work.id.0).max().unwrap() + 1);
    assert_eq!(handle.by_id(unknown).await.unwrap(), None);
    are_parts(&scripted.answered(Call::ByIds));
    are_parts(&scripted.answered(Call::ByCodes));
    actor.stop().await;
}

async fn a_refresher_reads_large_works_in_parts(store: AnyStore) {
    let works = created(&store).await;
    let scripted = ScriptedStore::new(store);
    let store: AnyStore = scripted.clone();
    let staleness = Duration::from_secs(60);
    let cache = Arc::new(MemoryCache::new(CacheOptions {
        ttl: Duration::from_secs(600),
        staleness,
    }));
    cache.clear(&store.head().await.unwrap()).await.unwrap();
    let held = works.iter().map(|work| (work.id, Entry::Work(work.clone())));
    let since = cache.now().await.unwrap();
    cache.put(&held.collect::<Vec<_>>(), since).await.unwrap();
    let (deleted, cancelled) = works.split_first().unwrap();
    for work in cancelled {
        assert!(matches!(
            store.cancel(&Principal::Open, work.id, None).await.unwrap(),
            Changed::Applied(_)
        ));
    }
    store.delete(&Principal::Open, deleted.id, None).await.unwrap();

    let shutdown = CancellationToken::new();
    let refresher = Refresher::new(store.clone(), cache.clone(), Arc::new(MemoryFeed::new()), staleness);
    let running = tokio::spawn(refresher.run(Health::new().part("refresher", false), shutdown.clone()));
    let ids: Vec<WorkId> = works.iter().map(|work| work.id).collect();
    until("the cache is fresh", async || cache.look_up(&ids).await.unwrap().fresh).await;
    let found = cache.look_up(&ids).await.unwrap().found;
    assert!(found[0] == EntryOrLease::Entry(Entry::Deleted));
    for found in &found[1..] {
        let EntryOrLease::Entry(Entry::Work(work)) = found else {
            panic!("no work");
        };
        assert_eq!((work.status, work.version), (Status::Cancelled, 2));
    }
    are_parts(&scripted.answered(Call::ByIds));
    shutdown.cancel();
    timeout(LIMIT, running).await.unwrap().unwrap();
}
