//! Requests with keys over SQLite: concurrent, repeated, after failures, after expiry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pp_conformance::scripted::{Call, ScriptedStore, Step};
use pp_conformance::store::everything;
use pp_lib::domain::{ApiKeyId, MessageId, Principal, Work};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::serving::{Actor, ActorError, StoreHandle, StoreOptions};
use pp_lib::serving::{
    CreateWork, IdempotentRequests, KeyError, KeyedAnswer, KeyedRequest, Scope, forget_expired_keys,
};
use pp_lib::store::{Answer, Answered, AnyStore, Begin, Begun, IdempotencyKeys as _, StoreError, WorkRows as _};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The wait for another process that executes the same key.
const PATIENCE: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(24 * 3600);
const LONG: Duration = Duration::from_secs(20);
const SCOPE: Scope<'_> = Scope {
    method: "POST",
    path: "/work",
    principal: &Principal::Open,
};

/// A store with its actor, and the requests of two processes.
struct Place {
    store: Arc<ScriptedStore>,
    works: StoreHandle,
    requests: IdempotentRequests,
    of_another: IdempotentRequests,
    executed: Arc<AtomicUsize>,
    _actors: [Actor; 2],
    _folder: TempDir,
}

async fn place() -> Place {
    place_with(DAY).await
}

async fn place_with(idempotency_ttl: Duration) -> Place {
    let (store, folder) = crate::store::embedded::fresh().await;
    let store = ScriptedStore::new(store);
    let feed: AnyFeed = Arc::new(MemoryFeed::new());
    let options = StoreOptions {
        idempotency_ttl,
        ..StoreOptions::default()
    };
    let start = || StoreHandle::start(&(store.clone() as AnyStore), &feed, options);
    let ((actor, handle), (other_actor, other_handle)) = (start(), start());
    Place {
        store,
        works: handle.clone(),
        requests: IdempotentRequests::over(handle.clone()),
        of_another: IdempotentRequests::over(other_handle),
        executed: Arc::default(),
        _actors: [actor, other_actor],
        _folder: folder,
    }
}

impl Place {
    /// Executes a request that creates a work and answers with it.
    async fn create(&self, requests: &IdempotentRequests, key: &str, body: &str) -> Result<KeyedAnswer, KeyError> {
        let (works, executed) = (self.works.clone(), Arc::clone(&self.executed));
        requests
            .answer(keyed(key, body), move |seed| async move {
                executed.fetch_add(1, Ordering::SeqCst);
                Ok(answer(&works.create(CreateWork::default(), seed).await?.work))
            })
            .await
    }

    async fn works(&self) -> Vec<Work> {
        self.store.search(&everything()).await.unwrap()
    }

    fn executed(&self) -> usize {
        self.executed.load(Ordering::SeqCst)
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("it trips".to_owned())
}

fn keyed(key: &str, body: &str) -> KeyedRequest {
    KeyedRequest::new(SCOPE, key.to_owned(), "", body.as_bytes())
}

fn answer(work: &Work) -> Answer {
    Answer {
        status: 200,
        headers: vec![("location".to_owned(), format!("/work/{}", work.id))],
        body: work.work_code.to_string().into(),
    }
}

/// Begins a request as a process that then crashes. Others may take it over after `hold`.
async fn abandoned(place: &Place, hold: Duration, keep: Duration) -> Answered {
    let KeyedRequest { key, fingerprint } = keyed("k", "a");
    let answered = Answered {
        key: key.clone(),
        seed: "seed of the dead".to_owned(),
        answer: Answer {
            status: 200,
            headers: Vec::new(),
            body: "late".into(),
        },
    };
    let seed = answered.seed.clone();
    let begin = Begin { key, fingerprint, seed };
    let begun = place.store.begin(&[begin], hold, keep).await.unwrap();
    assert!(matches!(begun[..], [Begun::Mine { .. }]), "{begun:?}");
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_requests_create_one_work_and_get_one_answer() {
    let place = Arc::new(place().await);
    let asks = (0..100).map(|number| {
        let place = Arc::clone(&place);
        tokio::spawn(async move {
            let requests = [&place.requests, &place.of_another][number % 2];
            place.create(requests, "k", "a").await.unwrap()
        })
    });
    let mut given = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        given.push(ask.await.unwrap());
    }
    assert_eq!((place.works().await.len(), place.executed()), (1, 1));
    assert!(given.iter().all(|one| one.answer == given[0].answer), "{given:?}");
    assert_eq!(given.iter().filter(|one| !one.replayed).count(), 1);

    let later = place.create(&place.of_another, "k", "a").await.unwrap();
    assert_eq!((later.answer, later.replayed), (given[0].answer.clone(), true));
}

#[tokio::test]
async fn another_body_is_refused_during_and_after_the_first_request() {
    let place = place().await;
    let (first, other) = tokio::join!(
        place.create(&place.requests, "k", "a"),
        place.create(&place.requests, "k", "b")
    );
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(other, Err(KeyError::OtherRequest)), "{other:?}");
    for requests in [&place.requests, &place.of_another] {
        let other = place.create(requests, "k", "b").await;
        assert!(matches!(other, Err(KeyError::OtherRequest)), "{other:?}");
    }
    assert!(place.create(&place.requests, "k2", "b").await.is_ok());
    assert_eq!(place.executed(), 2);
}

#[tokio::test]
async fn a_refused_body_does_not_disturb_requests_with_the_right_one() {
    let place = place().await;
    let first = place.create(&place.requests, "k", "a").await.unwrap();
    let (wrong, right) = tokio::join!(
        place.create(&place.requests, "k", "b"),
        place.create(&place.requests, "k", "a")
    );
    assert!(matches!(wrong, Err(KeyError::OtherRequest)), "{wrong:?}");
    assert_eq!(right.unwrap().answer, first.answer);
}

#[tokio::test]
async fn scope_and_content_distinguish_requests() {
    let base = keyed("k", "a");
    let with = |scope| KeyedRequest::new(scope, "k".to_owned(), "", b"a").key;
    let path = "/work/bulk";
    assert_ne!(with(Scope { path, ..SCOPE }), base.key);
    let of = |id| Principal::Key {
        id: ApiKeyId(id),
        name: "the same".parse().unwrap(),
    };
    let (one, other) = (of(1), of(2));
    let one = with(Scope {
        principal: &one,
        ..SCOPE
    });
    assert_ne!(one, base.key);
    assert_ne!(
        one,
        with(Scope {
            principal: &other,
            ..SCOPE
        })
    );
    let query = KeyedRequest::new(SCOPE, "k".to_owned(), "a", b"");
    assert_eq!(query.key, base.key);
    assert_ne!(query.fingerprint, base.fingerprint);
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_finds_the_same_work() {
    let place = place().await;
    place.store.next(Call::KeepAnswers, 1, || Step::Fail(gone()));
    let failed = place.create(&place.requests, "k", "a").await;
    assert!(
        matches!(failed, Err(KeyError::Actor(ActorError::Store(_)))),
        "{failed:?}"
    );
    let first = place.works().await;
    let again = place.create(&place.requests, "k", "a").await.unwrap();
    assert_eq!((again.answer, again.replayed), (answer(&first[0]), false));
    assert_eq!((place.works().await, place.executed()), (first, 2));
}

#[tokio::test]
async fn a_begin_with_a_lost_reply_blocks_no_retry() {
    let place = place().await;
    place.store.next(Call::Begin, 1, || Step::Lose(gone()));
    place.create(&place.requests, "k", "a").await.unwrap_err();
    place.create(&place.of_another, "k", "a").await.unwrap();
    assert_eq!((place.works().await.len(), place.executed()), (1, 1));
}

#[tokio::test]
async fn a_failed_request_may_be_retried_at_once() {
    let place = place().await;
    let fails = |_| async { Err(ActorError::Overloaded.into()) };
    let failed = place.requests.answer(keyed("k", "a"), fails).await;
    assert!(
        matches!(failed, Err(KeyError::Actor(ActorError::Overloaded))),
        "{failed:?}"
    );
    let given = place.create(&place.of_another, "k", "a").await.unwrap();
    assert!(!given.replayed);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_unavailable_store() {
    let place = place().await;
    place.store.next(Call::KeepAnswers, 1, || Step::Fail(gone()));
    place.store.fail(&[Call::ReleaseKey], gone());
    place.create(&place.requests, "k", "a").await.unwrap_err();
    let stopped = tokio::time::timeout(Duration::from_millis(800), place.requests.finished());
    stopped.await.expect("the key is let go no more");
}

#[tokio::test]
async fn a_panic_fails_its_own_request_only() {
    let place = place().await;
    let panics = |_| async { panic!("on demand") };
    let failed = place.requests.answer(keyed("k", "a"), panics).await;
    assert!(matches!(failed, Err(KeyError::Actor(ActorError::Failed))), "{failed:?}");
    place.create(&place.requests, "k2", "a").await.unwrap();
}

#[tokio::test]
async fn an_abandoned_request_is_still_executed() {
    let place = place().await;
    let asking = place.create(&place.requests, "k", "a");
    // The request is polled once and dropped.
    assert!(tokio::time::timeout(Duration::ZERO, asking).await.is_err());
    place.requests.finished().await;
    assert_eq!((place.works().await.len(), place.executed()), (1, 1));
    assert!(place.create(&place.of_another, "k", "a").await.unwrap().replayed);
}

#[tokio::test]
async fn a_key_in_flight_elsewhere_is_reported_after_a_short_wait() {
    let place = place().await;
    abandoned(&place, LONG, DAY).await;
    let started = Instant::now();
    let refused = place.create(&place.requests, "k", "a").await;
    assert!(matches!(refused, Err(KeyError::InFlight)), "{refused:?}");
    assert!((PATIENCE..LONG).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(place.executed(), 0);
}

#[tokio::test]
async fn a_crashed_request_is_taken_over_with_its_seed() {
    let place = place().await;
    abandoned(&place, Duration::from_millis(300), DAY).await;
    let seed = MessageId::try_from("seed of the dead".to_owned()).unwrap();
    let before = place.works.create(CreateWork::default(), seed).await.unwrap();
    let given = place.create(&place.requests, "k", "a").await.unwrap();
    assert_eq!((given.answer, given.replayed), (answer(&before), false));
    assert_eq!(place.works().await, [before.work]);
}

#[tokio::test]
async fn an_expired_key_creates_a_new_work() {
    let place = place_with(Duration::from_millis(1)).await;
    let first = place.create(&place.requests, "k", "a").await.unwrap();
    let second = place.create(&place.requests, "k", "b").await.unwrap();
    assert_ne!(first.answer, second.answer);
    assert!(!second.replayed);
}

#[tokio::test]
async fn expired_keys_are_forgotten_in_the_background() {
    let place = place().await;
    let answered = [abandoned(&place, LONG, Duration::from_secs(1)).await];
    let kept = place.store.keep_answers(&answered).await.unwrap();
    assert_eq!(kept, [Some(answered[0].answer.clone())]);
    let deadline = Instant::now() + LONG;
    while place.store.keep_answers(&answered).await.unwrap() != [None] {
        assert!(Instant::now() < deadline, "not forgotten in time");
        // The first cleaning round starts at once.
        let _ = tokio::time::timeout(
            Duration::from_millis(100),
            forget_expired_keys(place.store.clone(), CancellationToken::new()),
        )
        .await;
    }
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    forget_expired_keys(place.store.clone(), shutdown).await;
}
