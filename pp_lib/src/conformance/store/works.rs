//! Works created, read and searched.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use super::fixtures::{
    bound, by_code, claim, created, done, everything, history, ids, new_work, settle_one, without_row,
};
use crate::domain::{Origin, Status, Variable, Work, WorkCodePrefix, WorkId};
use crate::flow::new_work_code;
use crate::store::{AnyStore, NewWork, Search};

pub async fn creates_works_due_at_once_with_their_event(store: AnyStore) {
    let wanted = [
        new_work(Origin::Api, 4),
        new_work(Origin::Api, 5),
        new_work(Origin::Consumer, 6),
    ];
    let works: Vec<Work> = store
        .create(&wanted)
        .await
        .unwrap()
        .into_iter()
        .map(Option::unwrap)
        .collect();
    for (work, wanted) in works.iter().zip(&wanted) {
        assert_eq!((&work.work_code, work.add_up_to), (&wanted.work_code, wanted.add_up_to));
        assert_eq!((work.status, work.result, work.version), (Status::Pending, None, 1));
        assert_eq!(work.created_on, work.updated_on);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        assert!(
            (now - 60..=now + 60).contains(&work.created_on),
            "{} is not about now",
            work.created_on
        );
    }
    assert_eq!(
        history(&store, works[0].id).await,
        [(Variable::WorkCreated, "4".to_owned())]
    );
    assert_eq!(
        history(&store, works[2].id).await,
        [],
        "a demand's row is no news of the API"
    );
    assert_eq!(claim(&store).await.len(), 3);
}

pub async fn creating_again_is_no_second_work(store: AnyStore) {
    let wanted = [new_work(Origin::Api, 4), new_work(Origin::Api, 5)];
    let first = store.create(&wanted[..1]).await.unwrap();
    let again: Vec<NewWork> = wanted
        .iter()
        .map(|wanted| NewWork {
            work_code: new_work_code(Origin::Api),
            ..wanted.clone()
        })
        .collect();
    let second = store.create(&again).await.unwrap();
    assert_eq!(first[0], second[0], "the work as it is, with its first code");
    assert_eq!(second[1].as_ref().unwrap().work_code, again[1].work_code);
    assert_eq!(ids(&store, everything()).await.len(), 2);
    assert_eq!(history(&store, first[0].as_ref().unwrap().id).await.len(), 1);
}

pub async fn a_taken_code_is_said_and_changes_nothing(store: AnyStore) {
    let first = new_work(Origin::Api, 4);
    store.create(std::slice::from_ref(&first)).await.unwrap();
    let other = NewWork {
        work_code: first.work_code.clone(),
        ..new_work(Origin::Api, 5)
    };
    let third = new_work(Origin::Api, 6);
    let answers = store.create(&[other, third]).await.unwrap();
    assert!(answers[0].is_none());
    assert_eq!(answers[1].as_ref().unwrap().add_up_to, bound(6));
    assert_eq!(by_code(&store, &first.work_code).await.unwrap().add_up_to, bound(4));
}

pub async fn reads_by_id_and_code_leave_out_what_is_not_there(store: AnyStore) {
    let works = created(&store, &[1, 2]).await;
    let wanted = [works[1].id, WorkId(i64::MAX), WorkId(0), WorkId(-5), works[0].id];
    let mut found = store.by_ids(&wanted).await.unwrap();
    found.sort_by_key(|work| work.id);
    assert_eq!(found, works);
    let codes = [new_work_code(Origin::Api), works[0].work_code.clone()];
    assert_eq!(store.by_codes(&codes).await.unwrap(), works[..1]);
    assert!(store.by_ids(&[]).await.unwrap().is_empty() && store.by_codes(&[]).await.unwrap().is_empty());
    assert_eq!(store.events(WorkId(i64::MAX)).await.unwrap(), None);
}

pub async fn searches_newest_first_by_every_filter(store: AnyStore) {
    let works = created(&store, &[1, 2, 3]).await;
    let finished = without_row(4, done(4));
    settle_one(&store, finished.clone()).await;
    let finished = by_code(&store, &finished.work_code).await.unwrap();
    let all: Vec<i64> = [finished.id, works[2].id, works[1].id, works[0].id]
        .map(|id| id.0)
        .to_vec();
    assert!(all.is_sorted_by(|a, b| a > b));
    assert_eq!(ids(&store, everything()).await, all);
    assert_eq!(
        ids(
            &store,
            Search {
                limit: 2,
                ..everything()
            }
        )
        .await,
        all[..2]
    );
    assert_eq!(
        ids(
            &store,
            Search {
                before: Some(works[2].id),
                ..everything()
            }
        )
        .await,
        all[2..]
    );
    for (status, wanted, expected) in [
        (Status::Done, true, &all[..1]),
        (Status::Done, false, &all[1..]),
        (Status::Pending, true, &all[1..]),
        (Status::Failed, true, &[]),
        (Status::Cancelled, true, &[]),
    ] {
        assert_eq!(
            ids(
                &store,
                Search {
                    status: Some((status, wanted)),
                    ..everything()
                }
            )
            .await,
            expected
        );
    }
    let since = |since| Search {
        since: Some(since),
        ..everything()
    };
    assert_eq!(ids(&store, since(works[0].created_on)).await, all, "inclusive");
    assert!(ids(&store, since(finished.created_on + 1)).await.is_empty());
    assert!(ids(&store, since(i64::MAX)).await.is_empty());
    assert_eq!(ids(&store, since(i64::MIN)).await, all);
}

pub async fn prefixes_are_literal(store: AnyStore) {
    let works = created(&store, &[1, 2]).await;
    settle_one(&store, without_row(3, done(3))).await;
    let found = |prefix: &str| {
        let search = Search {
            work_code: WorkCodePrefix::parse(prefix),
            ..everything()
        };
        let store = store.clone();
        async move { ids(&store, search).await.len() }
    };
    assert_eq!(found("").await, 3);
    assert_eq!((found("a").await, found("api-").await), (2, 2));
    assert_eq!((found("consumer").await, found("consumer-").await), (1, 1));
    let code = works[0].work_code.as_str();
    assert_eq!((found(code).await, found(&code[..9]).await), (1, 1));
    for nothing in [
        "%",
        "api_",
        "api-%",
        "_",
        "api-'",
        "' OR 1=1 --",
        "api-\\",
        "\u{0}",
        "API-",
        "x",
    ] {
        assert_eq!(found(nothing).await, 0, "{nothing}");
    }
}
