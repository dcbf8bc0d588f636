//! Clients that were cut, lag or return late get every change once, or are told to start again.

use pp_lib::domain::Principal;

use super::*;

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
        store.delete(&Principal::Open, work.id, None).await.unwrap();
    }
    let end = place.quiet_end().await;
    let mut reading = place.subscribe(Some(beginning.clone()));
    assert_eq!(next(&mut reading).await, Some(Message::Started(beginning.clone())));
    changes(&mut reading, 1).await;

    let (deadline, mut went) = (Instant::now() + PATIENCE, 0);
    while went < works.len() as u64 {
        assert!(Instant::now() < deadline, "{went} works went");
        went += store
            .purge(WorkId(0), &RetentionTimes::all(Duration::ZERO), 1000)
            .await
            .unwrap()
            .works;
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

on_both! {
    a_cut_client_gets_everything_once
    a_late_client_gets_everything_at_once
    a_lagging_client_is_disconnected_and_resumes
    an_unknown_position_is_a_reset_and_the_stream_continues
    a_feed_that_cannot_be_continued_resets_all_clients
    purged_events_reset_the_clients_that_missed_them
}
