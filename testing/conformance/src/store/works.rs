//! Works created, read and searched.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{
    HOLD, LEASE, bound, by_code, claim, complete_one, completion, created, done, everything, failed, history, ids,
    names, new_work, now, without_row, work_of,
};
use pp_lib::domain::{AddUpTo, KindName, Origin, Principal, Status, Variable, Work, WorkCodePrefix, WorkId};
use pp_lib::runtime::new_work_code;
use pp_lib::store::{AnyStore, Changed, Completed, Completion, NewWork, Outcome, Search};

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
        .map(|created| created.unwrap().work)
        .collect();
    for (work, wanted) in works.iter().zip(&wanted) {
        assert_eq!(
            (&work.work_code, work.add_up_to().unwrap()),
            (&wanted.work_code, AddUpTo::of_args(&wanted.args).unwrap())
        );
        assert_eq!((work.status, &work.result, work.version), (Status::Pending, &None, 1));
        assert_eq!(work.created_on, work.updated_on);
        assert!(
            (now() - 60..=now() + 60).contains(&work.created_on),
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
    assert_eq!(answers[1].as_ref().unwrap().add_up_to(), Some(bound(6)));
    assert_eq!(
        by_code(&store, &first.work_code).await.unwrap().add_up_to(),
        Some(bound(4))
    );
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

pub async fn a_history_is_read_in_parts(store: AnyStore) {
    let works = created(&store, &[1, 2]).await;
    let id = works[0].id;
    for number in 2..=5 {
        let changed = store
            .update(&Principal::Open, id, &bound(number).args(), None, Duration::ZERO)
            .await
            .unwrap();
        assert!(matches!(changed, Changed::Applied(_)));
    }
    let all = store.events(id).await.unwrap().unwrap();
    assert_eq!(all.len(), 5);
    let part = async |after, limit| store.events_after(id, after, limit).await.unwrap().unwrap();
    assert_eq!(part(0, 3).await, all[..3]);
    assert_eq!(part(all[2].id, 3).await, all[3..]);
    assert_eq!(part(i64::MIN, 1).await, all[..1]);
    assert!(part(all[4].id, 3).await.is_empty());
    assert!(part(i64::MAX, 3).await.is_empty());
    let missing = store.events_after(WorkId(i64::MAX), 0, 3).await.unwrap();
    assert_eq!(missing, None);
}

pub async fn searches_newest_first_by_every_filter(store: AnyStore) {
    let works = created(&store, &[1, 2, 3]).await;
    let finished = without_row(4, done(4));
    complete_one(&store, finished.clone()).await;
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

pub async fn works_of_applications_have_their_event_and_are_found(store: AnyStore) {
    let wanted = [new_work(Origin::App, 4), new_work(Origin::Api, 5)];
    let works = store.create_all(&wanted).await.unwrap().unwrap();
    assert!(works[0].work_code.as_str().starts_with("app-"));
    let created = [(Variable::WorkCreated, "4".to_owned())];
    assert_eq!(history(&store, works[0].id).await, created);
    for (prefix, found) in [("a", 2), ("ap", 2), ("app", 1), ("app-", 1), ("api-", 1), ("app_", 0)] {
        let search = Search {
            work_code: WorkCodePrefix::parse(prefix),
            ..everything()
        };
        assert_eq!(ids(&store, search).await.len(), found, "{prefix}");
    }
    let stats = store.stats(None).await.unwrap();
    assert_eq!((stats.works.app.pending, stats.works.api.pending), (1, 1));
    let claims = claim(&store).await;
    assert_eq!(claims.len(), 2);
    assert_eq!(
        complete_one(&store, completion(&claims[0], done(4))).await,
        Completed::Applied
    );
}

pub async fn prefixes_are_literal(store: AnyStore) {
    let works = created(&store, &[1, 2]).await;
    complete_one(&store, without_row(3, done(3))).await;
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

fn scheduled(number: i64, run_at: i64) -> NewWork {
    NewWork {
        run_at: Some(run_at),
        ..new_work(Origin::Api, number)
    }
}

pub async fn a_scheduled_work_is_due_at_its_time_and_not_before(store: AnyStore) {
    let run_at = now() + 1;
    let work = store.create(&[scheduled(4, run_at)]).await.unwrap().remove(0).unwrap();
    assert_eq!((work.run_at, work.status), (Some(run_at), Status::Pending));
    let mut claims = Vec::new();
    eventually!({
        let before = now();
        claims.extend(claim(&store).await);
        assert!(
            claims.is_empty() || now() >= run_at,
            "claimed at {before}, to run at {run_at}"
        );
        !claims.is_empty()
    });
    assert_eq!((claims.len(), claims[0].id), (1, work.id));
    assert_eq!(
        complete_one(&store, completion(&claims[0], done(4))).await,
        Completed::Applied
    );
    assert_eq!(work_of(&store, work.id).await.run_at, Some(run_at));
    assert_eq!(by_code(&store, &work.work_code).await.unwrap().run_at, Some(run_at));
    assert_eq!(store.search(&everything()).await.unwrap()[0].run_at, Some(run_at));
}

pub async fn a_work_scheduled_for_the_past_is_due_at_once(store: AnyStore) {
    let moments = [now(), now() - 3600, 0, -1, i64::MIN];
    let works: Vec<NewWork> = moments.iter().map(|moment| scheduled(4, *moment)).collect();
    let created = store.create(&works).await.unwrap();
    assert!(created.iter().all(Option::is_some));
    // Nothing of it counts as long overdue.
    let within = store
        .claim(&[], Some(Duration::from_secs(60)), HOLD, 1000)
        .await
        .unwrap();
    assert_eq!(within.len(), moments.len());
}

pub async fn a_work_scheduled_for_never_waits(store: AnyStore) {
    let works = [
        scheduled(4, i64::MAX),
        scheduled(5, now() + 3600),
        new_work(Origin::Api, 6),
    ];
    let created = store.create_all(&works).await.unwrap().unwrap();
    let claims = claim(&store).await;
    assert_eq!((claims.len(), claims[0].id), (1, created[2].id));
    assert_eq!(created[1].run_at, works[1].run_at);
}

pub async fn all_of_several_works_are_created_in_their_order(store: AnyStore) {
    let wanted: Vec<NewWork> = (1..=50).rev().map(|number| new_work(Origin::Api, number)).collect();
    let works = store.create_all(&wanted).await.unwrap().unwrap();
    for (work, wanted) in works.iter().zip(&wanted) {
        assert_eq!(
            (&work.work_code, work.add_up_to().unwrap()),
            (&wanted.work_code, AddUpTo::of_args(&wanted.args).unwrap())
        );
        assert_eq!(names(&history(&store, work.id).await), ["work/created"]);
    }
    assert_eq!((works.len(), claim(&store).await.len()), (50, 50));
    assert_eq!(store.create_all(&[]).await.unwrap(), Some(Vec::new()));
}

pub async fn creating_all_again_answers_the_same_works(store: AnyStore) {
    let wanted = [new_work(Origin::Api, 4), new_work(Origin::Api, 5)];
    let first = store.create_all(&wanted).await.unwrap().unwrap();
    let again = wanted.clone().map(|wanted| NewWork {
        work_code: new_work_code(Origin::Api),
        ..wanted
    });
    assert_eq!(
        store.create_all(&again).await.unwrap().unwrap(),
        first,
        "with their first codes"
    );
    let third = new_work(Origin::Api, 6);
    let more = [wanted[1].clone(), third, wanted[0].clone()];
    let works = store.create_all(&more).await.unwrap().unwrap();
    assert_eq!((&works[0], &works[2]), (&first[1], &first[0]));
    assert_eq!(ids(&store, everything()).await.len(), 3);
    assert_eq!(history(&store, first[0].id).await.len(), 1);
}

pub async fn of_several_works_with_a_taken_code_none_is_created(store: AnyStore) {
    let first = new_work(Origin::Api, 4);
    store.create(std::slice::from_ref(&first)).await.unwrap();
    let taken = NewWork {
        work_code: first.work_code.clone(),
        ..new_work(Origin::Api, 5)
    };
    let mut works: Vec<NewWork> = (10..30).map(|number| new_work(Origin::Api, number)).collect();
    works.insert(10, taken);
    assert_eq!(store.create_all(&works).await.unwrap(), None);
    assert_eq!(ids(&store, everything()).await.len(), 1);
    assert_eq!(claim(&store).await.len(), 1);
    works[10].work_code = new_work_code(Origin::Api);
    assert_eq!(store.create_all(&works).await.unwrap().unwrap().len(), 21);
}

/// A mix of all statuses and origins, some deleted, more than a search with `since` looks at around that moment.
async fn a_mix(store: &AnyStore) -> Vec<Work> {
    let new: Vec<NewWork> = (0..700)
        .map(|number| {
            let origin = if number % 3 == 0 { Origin::Consumer } else { Origin::Api };
            new_work(origin, 1 + number % 50)
        })
        .collect();
    store.create(&new).await.unwrap();
    let mut claims = claim(store).await;
    claims.sort_by_key(|claim| claim.id);
    let outcome = |index: usize| match index % 5 {
        0 => Some(done(i64::from(AddUpTo::of_args(&claims[index].args).unwrap().get()))),
        1 => Some(failed("no luck")),
        2 => Some(Outcome::running(LEASE)),
        _ => None,
    };
    let completions: Vec<Completion> = (0..claims.len())
        .filter_map(|index| Some(completion(&claims[index], outcome(index)?)))
        .collect();
    store.complete(KindName::add_up_to(), &completions).await.unwrap();
    let by_themselves: Vec<Completion> = (1..=600).map(|number| without_row(number, done(number))).collect();
    store.complete(KindName::add_up_to(), &by_themselves).await.unwrap();
    for (index, claim) in claims.iter().enumerate() {
        match index % 14 {
            3 | 8 => drop(store.cancel(&Principal::Open, claim.id, None).await.unwrap()),
            1 | 5 | 13 => drop(store.delete(&Principal::Open, claim.id, None).await.unwrap()),
            _ => {}
        }
    }
    let ids: Vec<WorkId> = (1..=2000).map(WorkId).collect();
    let mut works = store.by_ids(&ids).await.unwrap();
    works.sort_by_key(|work| std::cmp::Reverse(work.id));
    assert_eq!(works.len(), 1300 - 150);
    works
}

pub async fn a_search_finds_what_a_look_at_every_work_finds(store: AnyStore) {
    let works = a_mix(&store).await;
    let one = works[works.len() / 2].work_code.as_str().to_owned();
    let prefixes = [
        "",
        "api-",
        "consumer-",
        "c",
        "x",
        &one[..one.find('-').unwrap() + 2],
        &one[..12],
        &one,
    ];
    let moments = works.iter().map(|work| work.created_on);
    let (first, last) = (moments.clone().min().unwrap(), moments.max().unwrap());
    let statuses = Status::ALL.map(|status| Some((status, true)));
    let statuses = [&statuses[..], &[None, Some((Status::Done, false))]].concat();
    for prefix in prefixes {
        for status in &statuses {
            for since in [None, Some(0), Some(first), Some(last), Some(last + 1), Some(i64::MAX)] {
                for before in [None, Some(works[40].id), Some(WorkId(i64::MIN)), Some(WorkId(i64::MAX))] {
                    let search = Search {
                        work_code: WorkCodePrefix::parse(prefix),
                        kind: None,
                        status: *status,
                        since,
                        before,
                        limit: 37,
                    };
                    let matches = |work: &&Work| {
                        work.work_code.as_str().starts_with(prefix)
                            && status.is_none_or(|(named, within)| (work.status == named) == within)
                            && since.is_none_or(|since| work.created_on >= since)
                            && before.is_none_or(|before| work.id < before)
                    };
                    let expected: Vec<Work> = works.iter().filter(matches).take(37).cloned().collect();
                    assert_eq!(store.search(&search).await.unwrap(), expected, "{search:?}");
                    let all = works.iter().filter(matches).count();
                    for most in [0, 36, 100_000] {
                        let counted = store.count(&search, most).await.unwrap() as usize;
                        assert_eq!(counted, all.min(most as usize), "{search:?} at most {most}");
                    }
                }
            }
        }
    }
}

pub async fn every_page_of_a_search_by_time_is_found(store: AnyStore) {
    let works = a_mix(&store).await;
    let since = works.iter().map(|work| work.created_on).min();
    for status in [None, Some((Status::Done, true)), Some((Status::Done, false))] {
        let (mut before, mut found) = (None, Vec::new());
        loop {
            let search = Search {
                status,
                since,
                before,
                limit: 100,
                ..everything()
            };
            let page = store.search(&search).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            found.extend(page);
        }
        let wanted = |work: &&Work| status.is_none_or(|(named, within)| (work.status == named) == within);
        let expected: Vec<Work> = works.iter().filter(wanted).cloned().collect();
        assert!(found == expected, "{status:?}: {} of {}", found.len(), expected.len());
    }
}
