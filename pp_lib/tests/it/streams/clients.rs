//! What clients share, ask for and are refused, and how their streams end.

use pp_lib::domain::Principal;

use super::*;

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

async fn filters_pass_only_matching_changes(store: AnyStore) {
    let place = Place::new(store, StreamsOptions::default());
    let beginning = place.store.head().await.unwrap();
    let works = place.create(3).await;
    for work in &works {
        place.store.delete(&Principal::Open, work.id, None).await.unwrap();
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
    let by_kind = Filter {
        kind: Some(works[0].kind.clone()),
        ..by_work.clone()
    };
    let no_kind = Filter {
        kind: Some("other".parse().unwrap()),
        ..Filter::default()
    };
    let [a, b, c] = [works[0].id, works[1].id, works[2].id];
    for (filter, expected) in [
        (by_code, vec![a, a]),
        (by_work, vec![b, b]),
        (by_status, vec![a, b, c]),
        (by_both, vec![b]),
        (no_code, vec![]),
        (by_kind, vec![b, b]),
        (no_kind, vec![]),
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
    place.store.delete(&Principal::Open, work.id, None).await.unwrap();
    place.feed.poke();
    let (position, heard) = change(&mut live).await;
    assert_eq!((heard.work_id, heard.status), (work.id, Some(Status::Cancelled)));
    assert_eq!(live.position(), Some(&position));
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

on_both! {
    all_clients_share_one_read_of_the_store
    filters_pass_only_matching_changes
    database_failures_end_no_stream
    the_poll_finds_new_events_without_a_poke
    streams_without_clients_read_nothing
    a_client_above_the_limit_is_refused_until_another_leaves
    the_shutdown_ends_all_streams_at_once
}
