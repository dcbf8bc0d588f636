//! Idempotency keys: begun, answered, let go, forgotten.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use bytes::Bytes;
use std::time::Duration;

use super::fixtures::HOLD;
use pp_lib::store::{Answer, Answered, AnyStore, Begin, Begun, RequestKey};

const KEEP: Duration = Duration::from_secs(3600);
const AT_ONCE: Duration = Duration::ZERO;

fn key(name: &str) -> RequestKey {
    RequestKey {
        scope: "POST /work nobody".to_owned(),
        key: name.to_owned(),
    }
}

fn request(name: &str, seed: &str) -> Begin {
    Begin {
        key: key(name),
        fingerprint: b"the body's hash\0\xff".to_vec(),
        seed: seed.to_owned(),
    }
}

fn mine(seed: &str) -> Begun {
    Begun::Mine { seed: seed.to_owned() }
}

fn answer(status: u16, body: &'static [u8]) -> Answer {
    Answer {
        status,
        headers: vec![
            ("location".to_owned(), "/work/1".to_owned()),
            ("etag".to_owned(), "\"1\"\t,".to_owned()),
            ("etag".to_owned(), String::new()),
        ],
        body: Bytes::from_static(body),
    }
}

fn answered(name: &str, seed: &str, answer: Answer) -> Answered {
    Answered {
        key: key(name),
        seed: seed.to_owned(),
        answer,
    }
}

async fn begin(store: &AnyStore, request: Begin) -> Begun {
    store.begin(&[request], HOLD, KEEP).await.unwrap().remove(0)
}

async fn keep(store: &AnyStore, answered: Answered) -> Option<Answer> {
    store.keep_answers(&[answered]).await.unwrap().remove(0)
}

pub async fn a_request_begins_once(store: AnyStore) {
    assert_eq!(begin(&store, request("a", "first")).await, mine("first"));
    assert_eq!(begin(&store, request("a", "second")).await, Begun::InFlight);
    assert_eq!(begin(&store, request("a", "third")).await, Begun::InFlight);
    let elsewhere = Begin {
        key: RequestKey {
            scope: "POST /work somebody".to_owned(),
            key: "a".to_owned(),
        },
        ..request("a", "fourth")
    };
    assert_eq!(
        begin(&store, elsewhere).await,
        mine("fourth"),
        "the same key in another scope"
    );
    assert_eq!(begin(&store, request("A", "fifth")).await, mine("fifth"), "another key");
}

pub async fn the_same_call_repeated_begins_again(store: AnyStore) {
    for _ in 0..3 {
        assert_eq!(begin(&store, request("a", "first")).await, mine("first"));
    }
    assert_eq!(begin(&store, request("a", "second")).await, Begun::InFlight);
}

pub async fn a_key_belongs_to_what_was_asked_for(store: AnyStore) {
    let other = |seed| Begin {
        fingerprint: b"another hash".to_vec(),
        ..request("a", seed)
    };
    begin(&store, request("a", "first")).await;
    assert_eq!(begin(&store, other("second")).await, Begun::OtherRequest, "in flight");
    assert_eq!(
        begin(&store, other("first")).await,
        Begun::OtherRequest,
        "whatever its seed"
    );
    store.release_key(&key("a"), "first").await.unwrap();
    assert_eq!(begin(&store, other("second")).await, Begun::OtherRequest, "let go");
    assert_eq!(begin(&store, request("a", "third")).await, mine("first"));
    keep(&store, answered("a", "first", answer(200, b"{}"))).await;
    assert_eq!(begin(&store, other("second")).await, Begun::OtherRequest, "answered");
}

pub async fn an_answer_is_given_again_byte_for_byte(store: AnyStore) {
    for (name, body) in [("a", &b"{\"id\":1}"[..]), ("b", b""), ("c", b"\0\xff\xfe")] {
        begin(&store, request(name, "seed")).await;
        let given = answer(201, body);
        assert_eq!(
            keep(&store, answered(name, "seed", given.clone())).await,
            Some(given.clone())
        );
        for seed in ["seed", "another"] {
            assert_eq!(begin(&store, request(name, seed)).await, Begun::Answered(given.clone()));
        }
    }
}

pub async fn the_first_answer_counts(store: AnyStore) {
    begin(&store, request("a", "seed")).await;
    let first = answer(200, b"first");
    keep(&store, answered("a", "seed", first.clone())).await;
    let second = keep(&store, answered("a", "seed", answer(503, b"second"))).await;
    assert_eq!(second, Some(first.clone()));
    store.release_key(&key("a"), "seed").await.unwrap();
    assert_eq!(
        begin(&store, request("a", "other")).await,
        Begun::Answered(first),
        "what is answered is not let go"
    );
}

pub async fn an_answer_needs_the_key_and_the_seed_it_was_begun_with(store: AnyStore) {
    begin(&store, request("a", "seed")).await;
    assert_eq!(keep(&store, answered("a", "other", answer(200, b"x"))).await, None);
    assert_eq!(keep(&store, answered("b", "seed", answer(200, b"x"))).await, None);
    assert_eq!(
        begin(&store, request("a", "second")).await,
        Begun::InFlight,
        "and changes nothing"
    );
    keep(&store, answered("a", "seed", answer(200, b"x"))).await;
    assert_eq!(
        keep(&store, answered("a", "other", answer(200, b"y"))).await,
        None,
        "nor gives another's away"
    );
}

pub async fn a_request_of_somebody_silent_is_taken_over_with_its_seed(store: AnyStore) {
    let silent = Duration::from_millis(20);
    assert_eq!(
        store.begin(&[request("a", "first")], silent, KEEP).await.unwrap(),
        [mine("first")]
    );
    let mut second;
    eventually!({
        second = begin(&store, request("a", "second")).await;
        second != Begun::InFlight
    });
    assert_eq!(second, mine("first"));
    assert_eq!(begin(&store, request("a", "third")).await, Begun::InFlight, "held anew");
    // Whoever wakes up too late made the same things, and whoever answers first is heard.
    let late = answer(200, b"late");
    assert_eq!(
        keep(&store, answered("a", "first", late.clone())).await,
        Some(late.clone())
    );
    assert_eq!(
        keep(&store, answered("a", "first", answer(200, b"later"))).await,
        Some(late)
    );
}

pub async fn what_is_let_go_begins_again_at_once(store: AnyStore) {
    begin(&store, request("a", "first")).await;
    store.release_key(&key("a"), "other").await.unwrap();
    assert_eq!(
        begin(&store, request("a", "second")).await,
        Begun::InFlight,
        "not by somebody else"
    );
    store.release_key(&key("a"), "first").await.unwrap();
    assert_eq!(begin(&store, request("a", "second")).await, mine("first"));
    assert_eq!(begin(&store, request("a", "third")).await, Begun::InFlight);
    store.release_key(&key("nobody's"), "first").await.unwrap();
}

pub async fn an_expired_key_is_as_good_as_new(store: AnyStore) {
    let soon = Duration::from_millis(20);
    let other = |seed: &str| Begin {
        fingerprint: b"another hash".to_vec(),
        ..request("a", seed)
    };
    store.begin(&[request("a", "first")], HOLD, soon).await.unwrap();
    keep(&store, answered("a", "first", answer(200, b"first"))).await;
    let mut second;
    eventually!({
        second = begin(&store, other("second")).await;
        second != Begun::OtherRequest
    });
    assert_eq!(second, mine("second"));
    assert_eq!(
        keep(&store, answered("a", "first", answer(200, b"first"))).await,
        None,
        "of the key's former life"
    );
    assert_eq!(begin(&store, other("third")).await, Begun::InFlight);
    assert_eq!(begin(&store, request("a", "first")).await, Begun::OtherRequest);
    assert_eq!(store.forget_expired(100).await.unwrap(), 0, "it has begun anew");
}

pub async fn expiry_counts_from_the_first_beginning(store: AnyStore) {
    store
        .begin(&[request("a", "first")], AT_ONCE, Duration::from_millis(200))
        .await
        .unwrap();
    // Were each of these to begin the time anew, it would not end.
    let mut last;
    eventually!({
        last = store
            .begin(&[request("a", "second")], AT_ONCE, KEEP)
            .await
            .unwrap()
            .remove(0);
        assert!(last == mine("first") || last == mine("second"));
        last == mine("second")
    });
}

pub async fn expired_keys_are_forgotten(store: AnyStore) {
    let some: Vec<Begin> = (0..10).map(|number| request(&number.to_string(), "seed")).collect();
    store.begin(&some, HOLD, AT_ONCE).await.unwrap();
    begin(&store, request("kept", "seed")).await;
    let mut forgotten = 0;
    eventually!({
        let some = store.forget_expired(4).await.unwrap();
        assert!(some <= 4);
        forgotten += some;
        forgotten == 10
    });
    assert_eq!(store.forget_expired(4).await.unwrap(), 0);
    assert_eq!(begin(&store, request("kept", "other")).await, Begun::InFlight);
    assert_eq!(keep(&store, answered("0", "seed", answer(200, b"x"))).await, None);
    assert_eq!(begin(&store, request("0", "new")).await, mine("new"));
}

pub async fn a_batch_of_requests_is_answered_in_its_order(store: AnyStore) {
    begin(&store, request("d", "earlier")).await;
    begin(&store, request("b", "earlier")).await;
    let kept = answer(200, b"kept");
    keep(&store, answered("b", "earlier", kept.clone())).await;
    let other = Begin {
        fingerprint: b"another hash".to_vec(),
        ..request("d", "now")
    };
    let batch = [
        request("e", "e"),
        request("b", "now"),
        other,
        request("a", "a"),
        request("c", "c"),
    ];
    let begun = store.begin(&batch, HOLD, KEEP).await.unwrap();
    let expected = [
        mine("e"),
        Begun::Answered(kept.clone()),
        Begun::OtherRequest,
        mine("a"),
        mine("c"),
    ];
    assert_eq!(begun, expected);
    let answers = [
        answered("e", "e", answer(200, b"e")),
        answered("nobody's", "e", answer(200, b"x")),
        answered("b", "earlier", answer(200, b"x")),
        answered("a", "a", answer(404, b"a")),
    ];
    let counted = store.keep_answers(&answers).await.unwrap();
    assert_eq!(
        counted,
        [Some(answer(200, b"e")), None, Some(kept), Some(answer(404, b"a"))]
    );
    assert!(store.begin(&[], HOLD, KEEP).await.unwrap().is_empty());
    assert!(store.keep_answers(&[]).await.unwrap().is_empty());
}

pub async fn of_many_that_begin_at_once_one_may(store: AnyStore) {
    for round in 0..10 {
        let beginning = (0..16).map(|number| {
            let store = store.clone();
            // Two keys at once, by half of them the other way round.
            let mut batch = ["x", "y"].map(|name| request(&format!("{name}{round}"), &format!("{name}{number}")));
            if number % 2 == 0 {
                batch.reverse();
            }
            tokio::spawn(async move { store.begin(&batch, HOLD, KEEP).await.unwrap() })
        });
        let mut begun = Vec::new();
        for some in beginning.collect::<Vec<_>>() {
            begun.extend(some.await.unwrap());
        }
        let mine = begun.iter().filter(|begun| matches!(begun, Begun::Mine { .. })).count();
        let others = begun.iter().filter(|begun| **begun == Begun::InFlight).count();
        assert_eq!((mine, others), (2, 30), "one of each key");
    }
}
