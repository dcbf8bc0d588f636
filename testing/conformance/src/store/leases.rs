//! Leases by name: one holder at a time, and none that falls silent.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::HOLD;
use pp_lib::store::AnyStore;

const MOMENT: Duration = Duration::from_millis(50);

async fn hold(store: &AnyStore, name: &str, holder: &str, hold: Duration) -> bool {
    store.hold(name, holder, hold).await.unwrap()
}

pub async fn one_of_many_gets_a_lease(store: AnyStore) {
    let asking = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { hold(&store, "refresher", &format!("holder {number}"), HOLD).await })
    });
    let mut got = 0;
    for one in asking.collect::<Vec<_>>() {
        got += usize::from(one.await.unwrap());
    }
    assert_eq!(got, 1);
    assert!(hold(&store, "another", "holder 9", HOLD).await, "of another name");
}

pub async fn a_holder_extends_its_lease_and_no_other_one(store: AnyStore) {
    assert!(hold(&store, "refresher", "one", MOMENT).await);
    assert!(hold(&store, "refresher", "one", HOLD).await, "however much was left");
    assert!(!hold(&store, "refresher", "two", HOLD).await);
    tokio::time::sleep(MOMENT * 2).await;
    assert!(!hold(&store, "refresher", "two", HOLD).await, "it was extended");
    assert!(hold(&store, "refresher", "one", HOLD).await);
}

pub async fn a_lease_whose_holder_is_silent_runs_out(store: AnyStore) {
    assert!(hold(&store, "refresher", "one", MOMENT).await);
    eventually!(hold(&store, "refresher", "two", HOLD).await);
    assert!(!hold(&store, "refresher", "one", HOLD).await, "it is another one's now");
}

pub async fn a_lease_is_let_go_by_its_holder_only(store: AnyStore) {
    assert!(hold(&store, "refresher", "one", HOLD).await);
    store.release("refresher", "two").await.unwrap();
    store.release("another", "one").await.unwrap();
    assert!(!hold(&store, "refresher", "two", HOLD).await);
    store.release("refresher", "one").await.unwrap();
    assert!(hold(&store, "refresher", "two", HOLD).await);
}

pub async fn leases_that_are_held_are_counted_by_their_beginning(store: AnyStore) {
    for name in ["filler/1", "filler/2", "filler%", "refresher"] {
        assert!(hold(&store, name, "one", HOLD).await);
    }
    assert!(hold(&store, "filler/3", "one", MOMENT).await);
    eventually!(store.held("filler/").await.unwrap() == 2);
    for (prefix, held) in [
        ("", 4),
        ("filler", 3),
        ("filler%", 1),
        ("refresher", 1),
        ("refreshers", 0),
    ] {
        assert_eq!(store.held(prefix).await.unwrap(), held, "{prefix}");
    }
    store.release("filler/1", "one").await.unwrap();
    assert_eq!(store.held("filler/").await.unwrap(), 1);
}
